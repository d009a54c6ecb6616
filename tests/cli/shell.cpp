// Output goes through files, so that neither stream can block the other.
#include "cli/shell.h"

#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace slim {

std::string read_file(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

void write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

Outcome Shell::run(const std::string& arguments) const {
  const std::filesystem::path out = path("stdout");
  const std::filesystem::path err = path("stderr");
  const std::string command = "cd '" + folder_.string() + "' && { " + SLIM_BINARY + " " +
                              arguments + "; } >'" + out.string() + "' 2>'" + err.string() + "'";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 1000, read_file(out), read_file(err)};
}

void Shell::expect_failure(const std::string& arguments, int status,
                           const std::string& about) const {
  const Outcome outcome = run(arguments);
  EXPECT_EQ(outcome.status, status) << arguments << ": " << outcome.err;
  EXPECT_NE(outcome.err.find(about), std::string::npos) << arguments << ": " << outcome.err;
  EXPECT_EQ(outcome.out, "") << arguments;
}

}  // namespace slim
