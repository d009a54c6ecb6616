// MappedFile: the bytes of a file, or a sentence why not.
#include "base/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <memory>
#include <string>

#include "error_matchers.h"
#include "temporary_folder.h"

namespace slim {
namespace {

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(MappedFile, HasTheBytesOfTheFile) {
  const TemporaryFolder folder;
  const std::string text("first\0second\n", 13);
  const auto file = MappedFile::open(folder.write("a", text));
  EXPECT_EQ(text_of(*file), text);
  EXPECT_EQ(file->path(), folder.path() / "a");
  file->drop_pages();
  EXPECT_EQ(text_of(*file), text);
}

TEST(MappedFile, OutlivesTheName) {
  const TemporaryFolder folder;
  const auto file = MappedFile::open(folder.write("a", "bytes"));
  std::filesystem::remove(folder.path() / "a");
  EXPECT_EQ(text_of(*file), "bytes");
}

TEST(MappedFile, OfNoBytesIsEmpty) {
  const TemporaryFolder folder;
  const auto file = MappedFile::open(folder.write("empty", ""));
  EXPECT_TRUE(file->bytes().empty());
  file->drop_pages();
}

TEST(MappedFile, SaysWhyItCannotBe) {
  const TemporaryFolder folder;
  const auto open = [](const std::filesystem::path& path) {
    return [path] { MappedFile::open(path); };
  };
  EXPECT_TRUE(
      fails_with(ErrorCode::bad_file, {"absent", "No such file"}, open(folder.path() / "absent")));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"Is a directory"}, open(folder.path())));
  folder.write("a", "bytes");
  EXPECT_TRUE(
      fails_with(ErrorCode::bad_file, {"Not a directory"}, open(folder.path() / "a" / "b")));
  const std::string with_zero = (folder.path() / "a").string() + std::string("\0b", 2);
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"zero byte"}, open(with_zero)));
}

TEST(MappedFile, DoesNotWaitForAPipe) {
  const TemporaryFolder folder;
  const std::filesystem::path pipe = folder.path() / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_TRUE(
      fails_with(ErrorCode::bad_file, {"not a regular file"}, [&] { MappedFile::open(pipe); }));
}

}  // namespace
}  // namespace slim
