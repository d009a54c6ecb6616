// Runs the binary in a shell, in a folder: exit statuses, sentences, files.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace slim {

struct Outcome {
  int status = 0;  // 1000: ended by a signal
  std::string out;
  std::string err;
};

std::string read_file(const std::filesystem::path& path);
void write_file(const std::filesystem::path& path, const std::string& bytes);

class Shell {
 public:
  explicit Shell(std::filesystem::path folder) : folder_(std::move(folder)) {}

  std::filesystem::path path(const std::string& name) const { return folder_ / name; }
  // `slim arguments`; what stands after it may redirect stdin or go on with a pipe.
  Outcome run(const std::string& arguments) const;
  // Fails with this status, one sentence naming `about`, and nothing on stdout.
  void expect_failure(const std::string& arguments, int status, const std::string& about) const;

 private:
  std::filesystem::path folder_;
};

}  // namespace slim
