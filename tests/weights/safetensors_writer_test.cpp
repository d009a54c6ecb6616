// Writing safetensors: what is written is read back, and what fails leaves nothing behind.
#include "weights/safetensors_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "error_matchers.h"
#include "temporary_folder.h"
#include "weights/checkpoint.h"
#include "weights/weights_text.h"

namespace slim {
namespace {

template <typename T>
NamedTensor named(const std::string& name, DType type, const std::vector<T>& values,
                  std::vector<int64_t> shape) {
  Tensor tensor = Tensor::allocate(host_device(), type, std::move(shape));
  std::copy(values.begin(), values.end(), tensor.writable<T>());
  return {name, tensor};
}

size_t files_in(const TemporaryFolder& folder) {
  const std::filesystem::directory_iterator files(folder.path());
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(SafetensorsWriter, IsReadBackInPlace) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "model.safetensors";
  const std::vector<NamedTensor> tensors = {
      named<int8_t>("i8", DType::i8, {-128, 0, 127}, {3}),
      named<float>("f32", DType::f32, {1.5F, -2.0F}, {1, 2}),
      named<int16_t>("i16", DType::i16, {-32768, 32767, 5}, {3, 1}),
      named<uint16_t>("f16", DType::f16, {0x3E00}, {}),
      named<uint16_t>("bf16", DType::bf16, {0x3FC0, 0xC000}, {2}),
      named<int32_t>("i32", DType::i32, {-70000}, {1}),
      named<float>("none", DType::f32, {}, {0, 4}),
      named<int8_t>("\"quoted\\\"", DType::i8, {1}, {1})};
  write_safetensors(path, tensors, {{"format", "pt"}, {"note", "\"\xc3\xa9\n"}});
  EXPECT_EQ(files_in(folder), 1U);
  const int64_t before = host_device().allocated_bytes();
  const auto weights = Checkpoint::open(folder.path());
  EXPECT_EQ(host_device().allocated_bytes(), before) << "every tensor lies aligned";
  EXPECT_EQ(weights->names().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(weights->get(name, tensor.shape()).type(), tensor.type());
    EXPECT_EQ(values_of(weights->get(name)), values_of(tensor)) << name;
  }
  EXPECT_NE(content_of(path).find(R"("format":"pt")"), std::string::npos);
}

TEST(SafetensorsWriter, SameTensorsGiveTheSameBytes) {
  const TemporaryFolder folder;
  const std::vector<NamedTensor> tensors = {named<float>("b", DType::f32, {1.0F}, {1}),
                                            named<float>("a", DType::f32, {2.0F}, {1})};
  write_safetensors(folder.path() / "x", tensors);
  write_safetensors(folder.path() / "y", tensors);
  EXPECT_EQ(content_of(folder.path() / "x"), content_of(folder.path() / "y"));
  EXPECT_EQ(content_of(folder.path() / "x").find("__metadata__"), std::string::npos);
}

TEST(SafetensorsWriter, RefusesWhatTheFormatLacks) {
  const TemporaryFolder folder;
  const auto refuses = [&](std::string_view why, const std::vector<NamedTensor>& tensors,
                           const std::map<std::string, std::string>& metadata = {}) {
    return fails_with(ErrorCode::bad_request, {"model.safetensors", why}, [&] {
      write_safetensors(folder.path() / "model.safetensors", tensors, metadata);
    });
  };
  const NamedTensor plain = named<float>("w", DType::f32, {1.0F}, {1});
  EXPECT_TRUE(refuses("Tensor 'q' is of type q4_0",
                      {{"q", Tensor::allocate(host_device(), DType::q4_0, {32})}}));
  EXPECT_TRUE(refuses("'w' is given twice", {plain, plain}));
  EXPECT_TRUE(refuses("'__metadata__'", {{"__metadata__", plain.tensor}}));
  EXPECT_TRUE(refuses("not valid UTF-8", {plain}, {{"note", "\xff"}}));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"printable"}, [&] {
    write_safetensors(folder.path() / "model.safetensors", std::vector{NamedTensor{"a b", {}}});
  }));
  EXPECT_EQ(files_in(folder), 0U);
}

TEST(SafetensorsWriter, SaysWhyAFileCannotBeWritten) {
  const TemporaryFolder folder;
  const std::vector<NamedTensor> tensors = {named<float>("w", DType::f32, {1.0F}, {1})};
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"absent/x", "cannot be written: No such file"},
                         [&] { write_safetensors(folder.path() / "absent" / "x", tensors); }));
  std::filesystem::create_directory(folder.path() / "taken");
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"taken", "cannot be written: Is a directory"},
                         [&] { write_safetensors(folder.path() / "taken", tensors); }));
  EXPECT_EQ(files_in(folder), 1U);
}

// The limit on a file's size stands for a full disk: both stop a write halfway.
TEST(SafetensorsWriter, AFullDiskLeavesTheOldFile) {
  const TemporaryFolder folder;
  const auto path = folder.write("model.safetensors", "old");
  const std::vector<NamedTensor> tensors = {
      {"w", Tensor::allocate(host_device(), DType::i8, {1 << 20})}};
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_action = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {1 << 16, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto failed =
      fails_with(ErrorCode::bad_file, {"model.safetensors", "cannot be written: File too large"},
                 [&] { write_safetensors(path, tensors); });
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old_action);
  EXPECT_TRUE(failed);
  EXPECT_EQ(content_of(path), "old");
  EXPECT_EQ(files_in(folder), 1U);
  EXPECT_NO_THROW(write_safetensors(path, tensors));
  EXPECT_EQ(Checkpoint::open(folder.path())->get("w").elements(), 1 << 20);
}

}  // namespace
}  // namespace slim
