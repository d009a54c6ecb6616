// Draws with a carriage return and an erase-line sequence, which every terminal has.
#include "progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace slim::cli {

Progress::Progress(bool wanted) : on_(wanted && isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() { clear(); }

void Progress::show(const std::string& label, double done, double total, const char* unit) {
  if (!on_ || total <= 0) return;
  constexpr int kWidth = 30;
  const double share = std::clamp(done / total, 0.0, 1.0);
  const int full = static_cast<int>(share * kWidth);
  std::fprintf(stderr, "\r\033[K[%s%s] %3.0f %%  %.0f / %.0f %s  %s",
               std::string(full, '#').c_str(), std::string(kWidth - full, ' ').c_str(), share * 100,
               done, total, unit, label.c_str());
  std::fflush(stderr);
  visible_ = true;
}

void Progress::clear() {
  if (!visible_) return;
  std::fprintf(stderr, "\r\033[K");
  std::fflush(stderr);
  visible_ = false;
}

}  // namespace slim::cli
