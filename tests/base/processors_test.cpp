// The processor quota, read from imitations of the kernel's files.
#include "base/processors.h"

#include <gtest/gtest.h>

#include <string>

#include "temporary_folder.h"

namespace slim {
namespace {

class ProcessorQuota : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) const { folder_.write(name, text); }
  int quota() const { return processor_quota(folder_.path() / "groups", folder_.path() / "mount"); }

 private:
  TemporaryFolder folder_;
};

TEST_F(ProcessorQuota, IsNoneWithoutFiles) { EXPECT_EQ(quota(), 0); }

TEST_F(ProcessorQuota, IsNoneWhereVersion2SaysMax) {
  write("groups", "0::/a\n");
  write("mount/a/cpu.max", "max 100000\n");
  EXPECT_EQ(quota(), 0);
}

TEST_F(ProcessorQuota, IsRoundedDownButNeverToNothing) {
  write("groups", "0::/a\n");
  write("mount/a/cpu.max", "250000 100000\n");
  EXPECT_EQ(quota(), 2);
  write("mount/a/cpu.max", "50000 100000\n");
  EXPECT_EQ(quota(), 1);
}

TEST_F(ProcessorQuota, IsTheStrictestOfTheGroupsAbove) {
  write("groups", "0::/a/b/c\n");
  write("mount/a/b/c/cpu.max", "800000 100000\n");
  write("mount/a/cpu.max", "300000 100000\n");
  write("mount/cpu.max", "max 100000\n");
  EXPECT_EQ(quota(), 3);
}

TEST_F(ProcessorQuota, IsFoundAtTheRootOfAContainer) {
  write("groups", "0::/host/name/of/it\n");
  write("mount/cpu.max", "400000 100000\n");
  EXPECT_EQ(quota(), 4);
}

TEST_F(ProcessorQuota, IsReadFromVersion1) {
  write("groups", "5:memory:/m\n4:cpuset:/c\n3:cpuacct,cpu:/a\n");
  write("mount/cpu/a/cpu.cfs_quota_us", "600000\n");
  write("mount/cpu/a/cpu.cfs_period_us", "100000\n");
  write("mount/cpu/c/cpu.cfs_quota_us", "100000\n");
  write("mount/cpu/c/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota(), 6);
  write("mount/cpu/a/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(quota(), 0);
}

TEST_F(ProcessorQuota, IsNoneWhereTheFilesAreNonsense) {
  write("groups", "nonsense\n0::/a\n:\n");
  write("mount/a/cpu.max", "many few\n");
  EXPECT_EQ(quota(), 0);
  write("mount/a/cpu.max", "100000 0\n");
  EXPECT_EQ(quota(), 0);
}

}  // namespace
}  // namespace slim
