// Affinity by the pthread calls; quota by reading cpu.max (version 2) or cpu.cfs_quota_us and
// cpu.cfs_period_us (version 1) of the process's control group and of all groups above it.
#include "base/processors.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>

namespace slim {
namespace {

namespace fs = std::filesystem;

// 0 for "no limit", which is also what a missing or malformed file means.
int whole_processors(int64_t quota, int64_t period) {
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::clamp<int64_t>(quota / period, 1, INT32_MAX));
}

int group_quota(const fs::path& group) {
  int64_t quota = 0;
  int64_t period = 0;
  // "max 100000" leaves the quota at 0.
  if (std::ifstream both(group / "cpu.max"); both >> quota >> period) {
    return whole_processors(quota, period);
  }
  std::ifstream quota_file(group / "cpu.cfs_quota_us");
  std::ifstream period_file(group / "cpu.cfs_period_us");
  if (quota_file >> quota && period_file >> period) return whole_processors(quota, period);
  return 0;
}

bool lists_cpu(std::string_view controllers) {
  while (!controllers.empty()) {
    const size_t comma = std::min(controllers.find(','), controllers.size());
    if (controllers.substr(0, comma) == "cpu") return true;
    controllers.remove_prefix(std::min(comma + 1, controllers.size()));
  }
  return false;
}

}  // namespace

std::vector<int> allowed_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> processors;
  if (pthread_getaffinity_np(pthread_self(), sizeof set, &set) != 0) return processors;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(static_cast<size_t>(i), &set)) processors.push_back(i);
  }
  return processors;
}

bool set_allowed_processors(unsigned long thread, const std::vector<int>& processors) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int processor : processors) CPU_SET(static_cast<size_t>(processor), &set);
  return pthread_setaffinity_np(thread, sizeof set, &set) == 0;
}

int processor_quota(const fs::path& membership, const fs::path& mount) {
  int strictest = 0;
  std::ifstream lines(membership);
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string_view controllers =
        std::string_view(line).substr(first + 1, second - first - 1);
    if (!controllers.empty() && !lists_cpu(controllers)) continue;
    const fs::path root = controllers.empty() ? mount : mount / "cpu";
    // A container may see its group under the host's name; then only the root's file is there.
    for (fs::path group = fs::path(line.substr(second + 1)).relative_path();;
         group = group.parent_path()) {
      const int quota = group_quota(root / group);
      if (quota > 0) strictest = strictest == 0 ? quota : std::min(strictest, quota);
      if (group.empty()) break;
    }
  }
  return strictest;
}

}  // namespace slim
