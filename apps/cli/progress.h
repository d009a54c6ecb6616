// Progress: a bar on stderr where that is a terminal, nothing elsewhere. It is wiped before
// anything else is printed.
#pragma once

#include <string>

namespace slim::cli {

class Progress {
 public:
  explicit Progress(bool wanted);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(const std::string& label, double done, double total, const char* unit);
  void clear();

 private:
  bool on_;
  bool visible_ = false;
};

}  // namespace slim::cli
