// stdio, so that printf and these go through one buffer.
#include "output.h"

#include <signal.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "slim/error.h"

namespace slim::cli {
namespace {

volatile sig_atomic_t interrupted = 0;

void note(int) { interrupted = 1; }

[[noreturn]] void fail(const char* what, const std::string& place) {
  throw Error(ErrorCode::bad_file, std::string(what) + " failed: " + std::strerror(errno) + ".",
              place);
}

}  // namespace

bool put(const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (written && std::fflush(stdout) == 0) return true;
  if (errno == EPIPE) return false;
  fail("Writing", "standard output");
}

void finish_output() { put(""); }

std::string read_text(const std::string& path) {
  const bool standard = path == "-";
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> opened(
      standard ? nullptr : std::fopen(path.c_str(), "rb"),
      [](std::FILE* file) { return file == nullptr ? 0 : std::fclose(file); });
  std::FILE* file = standard ? stdin : opened.get();
  if (file == nullptr) fail("Opening", path);
  std::string text;
  char block[1 << 16];
  while (const size_t count = std::fread(block, 1, sizeof block, file)) text.append(block, count);
  if (std::ferror(file) != 0) fail("Reading", path);
  return text;
}

bool read_line(std::string* line) {
  char* text = nullptr;
  size_t capacity = 0;
  const ssize_t size = ::getline(&text, &capacity, stdin);
  const std::unique_ptr<char, decltype(&std::free)> owner(text, std::free);
  if (size < 0) return false;
  line->assign(text, static_cast<size_t>(size));
  while (!line->empty() && (line->back() == '\n' || line->back() == '\r')) line->pop_back();
  return true;
}

Interrupt::Interrupt() { rearm(); }

Interrupt::~Interrupt() { ::signal(SIGINT, SIG_DFL); }

bool Interrupt::requested() const { return interrupted != 0; }

void Interrupt::rearm() {
  interrupted = 0;
  struct sigaction action = {};
  action.sa_handler = note;
  // No SA_RESTART: a line that is being read ends.
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  ::sigaction(SIGINT, &action, nullptr);
}

}  // namespace slim::cli
