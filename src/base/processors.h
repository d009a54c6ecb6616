// What the system lets this process run on: the affinity mask and the cgroup's processor quota.
#pragma once

#include <filesystem>
#include <vector>

namespace slim {

// The processors the calling thread may run on, ascending; empty if the system does not say.
std::vector<int> allowed_processors();

// Restricts a thread (a pthread_t) to these processors; false if the system refuses.
bool set_allowed_processors(unsigned long thread, const std::vector<int>& processors);

// The processors' worth of time the control group grants (at least 1, rounded down, since a thread
// above the quota only gets all of them throttled); 0 if there is no limit. The strictest limit
// from the process's own group up to the root counts. `membership` lists the groups, as
// /proc/self/cgroup does; `mount` is where version 2 is mounted, and version 1 in its folder `cpu`.
int processor_quota(const std::filesystem::path& membership = "/proc/self/cgroup",
                    const std::filesystem::path& mount = "/sys/fs/cgroup");

}  // namespace slim
