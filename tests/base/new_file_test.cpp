// NewFile: whole or not at all.
#include "base/new_file.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <vector>

#include "error_matchers.h"
#include "temporary_folder.h"

namespace slim {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST(NewFile, AppearsWhenItIsFinished) {
  const TemporaryFolder folder;
  const auto path = folder.write("file", "old");
  {
    NewFile file(path);
    file.write(bytes_of("longer "));
    file.write({});
    file.write(bytes_of("than before"));
    EXPECT_EQ(std::filesystem::file_size(path), 3U);
    file.finish();
    EXPECT_EQ(std::filesystem::file_size(path), 18U);
  }
  EXPECT_EQ(std::filesystem::file_size(path), 18U);
}

TEST(NewFile, LeavesNothingWithoutBeingFinished) {
  const TemporaryFolder folder;
  { NewFile(folder.path() / "file").write(bytes_of("text")); }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(NewFile, SaysWhyItCannotBeWritten) {
  const TemporaryFolder folder;
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"absent/file", "cannot be written: No such file"},
                         [&] { NewFile(folder.path() / "absent" / "file"); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"cannot be written: File name too long"},
                         [&] { NewFile(folder.path() / std::string(255, 'a')); }));
}

}  // namespace
}  // namespace slim
