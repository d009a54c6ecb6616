// Safetensors: what is well-formed is read exactly, what is not is refused with a sentence.
#include "weights/safetensors.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "error_matchers.h"
#include "temporary_folder.h"
#include "weights/weights_text.h"

namespace slim {
namespace {

using Floats = std::vector<float>;

std::shared_ptr<const Checkpoint> read(std::string_view text, size_t shift = 0) {
  const MemoryFile memory(text, shift);
  CheckpointBuilder builder("safetensors", "memory");
  read_safetensors(memory.file(), builder);
  const auto checkpoint = builder.finish();
  // The bytes go out of scope here: reads every value, and keeps shapes and names only.
  for (const auto& name : checkpoint->names()) checkpoint->get(name).to_f32();
  return checkpoint;
}

testing::AssertionResult refuses(std::string_view why, std::string_view text) {
  return fails_with(ErrorCode::bad_file, {"memory", why}, [&] { read(text); });
}

// One tensor 'w' whose fields are given, over eight bytes of data.
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return safetensors_text(R"({"w": {"dtype": ")" + dtype + R"(", "shape": )" + shape +
                              R"(, "data_offsets": )" + offsets + "}}",
                          std::string(8, 'x'));
}

const std::string kSmall = safetensors_text(
    R"({"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2, 1],)"
    R"( "data_offsets": [0, 8]}, "b": {"dtype": "BF16", "shape": [3], "data_offsets": [8, 14]},)"
    R"( "none": {"dtype": "F16", "shape": [0, 4], "data_offsets": [14, 14]},)"
    R"( "scalar": {"dtype": "I8", "shape": [], "data_offsets": [14, 15]}})",
    bytes_of(Floats{1.5F, -2.0F}) + bytes_of(std::vector<uint16_t>{0x3F80, 0x4000, 0xC040}) +
        bytes_of(int8_t{-7}));

TEST(Safetensors, ReadsValuesWhateverTheAlignment) {
  for (size_t shift = 0; shift < 8; ++shift) {
    const MemoryFile memory(kSmall, shift);
    CheckpointBuilder builder("safetensors", "memory");
    EXPECT_EQ(read_safetensors(memory.file(), builder),
              (std::vector<std::string>{"a", "b", "none", "scalar"}));
    const auto weights = builder.finish();
    EXPECT_EQ(values_of(weights->get("a", {2, 1})), (Floats{1.5F, -2.0F}));
    EXPECT_EQ(values_of(weights->get("b", {3})), (Floats{1.0F, 2.0F, -3.0F}));
    EXPECT_EQ(values_of(weights->get("none", {0, 4})), Floats{});
    EXPECT_EQ(values_of(weights->get("scalar", {})), Floats{-7.0F});
    EXPECT_EQ(weights->get("scalar").type(), DType::i8);
    const auto a = reinterpret_cast<uintptr_t>(weights->get("a").data());
    EXPECT_EQ(a % 4, 0U);
  }
}

TEST(Safetensors, BorrowsAlignedBytesAndCopiesOthers) {
  const TemporaryFolder folder;
  for (size_t padding = 0; padding < 4; ++padding) {
    std::string header = R"({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})" +
                         std::string(padding, ' ');
    const bool aligned = header.size() % 4 == 0;
    folder.write("model.safetensors", safetensors_text(header, bytes_of(Floats{1.0F, 2.0F})));
    const int64_t before = host_device().allocated_bytes();
    const auto weights = Checkpoint::open(folder.path());
    EXPECT_EQ(host_device().allocated_bytes() - before, aligned ? 0 : 8);
    EXPECT_EQ(values_of(weights->get("w")), (Floats{1.0F, 2.0F}));
    EXPECT_EQ(weights->format(), "safetensors");
    EXPECT_EQ(weights->content(), "");
    EXPECT_EQ(weights->scalar("encoder.heads"), -1);
  }
}

TEST(Safetensors, CutAtEveryLengthIsRefused) {
  for (size_t length = 0; length < kSmall.size(); ++length) {
    EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"memory"}, [&] {
      read(std::string_view(kSmall).substr(0, length));
    })) << length;
  }
}

TEST(Safetensors, RefusesBrokenHeaders) {
  EXPECT_TRUE(refuses("0 bytes", ""));
  EXPECT_TRUE(refuses("7 bytes", "1234567"));
  EXPECT_TRUE(refuses("beyond the file's end", bytes_of(uint64_t{3}) + "{}"));
  EXPECT_TRUE(refuses("beyond the file's end", bytes_of(UINT64_MAX) + "{}"));
  EXPECT_TRUE(refuses("beyond the file's end", bytes_of(UINT64_MAX - 7) + "{}"));
  EXPECT_TRUE(
      refuses("limit of 100 MB", bytes_of(uint64_t{100'000'001}) + std::string(100'000'001, ' ')));
  EXPECT_TRUE(refuses("not valid JSON", safetensors_text("nonsense", "")));
  EXPECT_TRUE(refuses("not valid JSON", safetensors_text("", "")));
  EXPECT_TRUE(refuses("must be an object", safetensors_text("[]", "")));
  EXPECT_TRUE(refuses("must be an object", safetensors_text(R"({"w": 1})", "")));
  EXPECT_TRUE(
      refuses("more than 64 deep", safetensors_text("{\"w\": " + std::string(100'000, '['), "")));
  EXPECT_TRUE(refuses("is missing", safetensors_text(R"({"w": {}})", "")));
  EXPECT_TRUE(refuses("is missing", safetensors_text(R"({"w": {"dtype": "F32"}})", "")));
}

TEST(Safetensors, RefusesNamesThatCouldDeceive) {
  const auto named = [](const std::string& name) {
    return safetensors_text(
        "{\"" + name + R"(": {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]}})", "x");
  };
  EXPECT_NO_THROW(read(named("model.layers.0.weight")));
  for (const std::string name : {"", "a\\u0000b", "a b", "\\u001b[2J", "caf\xc3\xa9", "a\\nb"}) {
    EXPECT_TRUE(refuses("printable", named(name))) << name;
  }
  EXPECT_TRUE(refuses("printable", named(std::string(513, 'a'))));
}

TEST(Safetensors, RefusesWrongTypes) {
  EXPECT_NO_THROW(read(one("F32", "[2]", "[0, 8]")));
  for (const std::string type : {"F64", "U16", "f32", "F8_E4M3", ""}) {
    EXPECT_TRUE(refuses("Tensor 'w' has dtype '" + type + "'", one(type, "[1]", "[0, 8]")));
  }
}

TEST(Safetensors, LeavesOutBuffersThatNothingComputesOn) {
  for (const auto& [type, shape] : {std::pair{"BOOL", "[2, 4]"}, {"U8", "[8]"}, {"I64", "[1]"}}) {
    EXPECT_TRUE(read(one(type, shape, "[0, 8]"))->names().empty()) << type;
    EXPECT_TRUE(refuses("but its shape needs", one(type, "[3]", "[0, 8]"))) << type;
  }
}

TEST(Safetensors, RefusesWrongShapes) {
  EXPECT_TRUE(refuses("has 8 bytes, but its shape needs 4", one("F32", "[1]", "[0, 8]")));
  EXPECT_TRUE(refuses("has 0 bytes, but its shape needs 8", one("F32", "[2]", "[8, 8]")));
  EXPECT_TRUE(refuses("'w.shape[1]'", one("F32", "[2, -1]", "[0, 8]")));
  EXPECT_TRUE(refuses("'w.shape[0]'", one("F32", "[18446744073709551615]", "[0, 8]")));
  EXPECT_TRUE(refuses("'w.shape[0]'", one("F32", "[1.5]", "[0, 8]")));
  EXPECT_TRUE(refuses("more than 8 axes", one("F32", "[1,1,1,1,1,1,1,1,2]", "[0, 8]")));
  // Products that wrap to 8 or to 0 bytes, and one a size of zero would hide.
  EXPECT_TRUE(refuses("64 bits", one("F32", "[4611686018427387906, 1]", "[0, 8]")));
  EXPECT_TRUE(refuses("64 bits", one("F32", "[4294967296, 4294967296]", "[0, 0]")));
  EXPECT_TRUE(refuses("64 bits", one("F32", "[4294967296, 4294967296, 0]", "[0, 0]")));
  EXPECT_TRUE(refuses("64 bits", one("I8", "[3037000500, 3037000500]", "[0, 8]")));
}

TEST(Safetensors, RefusesWrongOffsets) {
  EXPECT_TRUE(refuses("outside the file", one("F32", "[2]", "[1, 9]")));
  EXPECT_TRUE(refuses("outside the file", one("F32", "[2]", "[8, 0]")));
  EXPECT_TRUE(
      refuses("outside the file", one("F32", "[2]", "[9223372036854775799, 9223372036854775807]")));
  EXPECT_TRUE(refuses("'w.data_offsets[0]'", one("F32", "[2]", "[-8, 0]")));
  EXPECT_TRUE(refuses("two numbers", one("F32", "[2]", "[0]")));
  EXPECT_TRUE(refuses("two numbers", one("F32", "[2]", "[0, 8, 8]")));
}

TEST(Safetensors, RefusesKeysThatAreValues) {
  const auto pair = [](const std::string& k, const std::string& v) {
    return safetensors_text(R"({"h.k": {"dtype": "F32", "shape": [2], "data_offsets": )" + k +
                                R"(}, "h.v": {"dtype": "F32", "shape": [2], "data_offsets": )" + v +
                                "}}",
                            std::string(16, 'x'));
  };
  EXPECT_NO_THROW(read(pair("[0, 8]", "[8, 16]")));
  EXPECT_NO_THROW(read(pair("[8, 16]", "[0, 8]")));
  EXPECT_TRUE(refuses("overlaps", pair("[0, 8]", "[0, 8]")));
  EXPECT_TRUE(refuses("Tensor 'h.v' overlaps 'h.k'", pair("[0, 8]", "[4, 12]")));
  EXPECT_TRUE(refuses("Tensor 'h.k' overlaps 'h.v'", pair("[7, 15]", "[0, 8]")));
}

TEST(Safetensors, RefusesDuplicates) {
  EXPECT_TRUE(
      refuses("'w' is given twice",
              safetensors_text(R"({"w": {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]},)"
                               R"( "w": {"dtype": "I8", "shape": [1], "data_offsets": [1, 2]}})",
                               "xy")));
}

// Shards -------------------------------------------------------------------------------------

std::string shard_of(const std::vector<std::string>& names) {
  std::string header;
  for (size_t i = 0; i < names.size(); ++i) {
    header += (i == 0 ? "{\"" : ", \"") + names[i] +
              R"(": {"dtype": "I8", "shape": [1], "data_offsets": [)" + std::to_string(i) + ", " +
              std::to_string(i + 1) + "]}";
  }
  return safetensors_text(header + "}", std::string(names.size(), 'x'));
}

// Opens two shards, one with a and b, two with c, under the given map.
testing::AssertionResult shards_fail(std::string_view why, const std::string& weight_map) {
  const TemporaryFolder folder;
  folder.write("one.safetensors", shard_of({"a", "b"}));
  folder.write("two.safetensors", shard_of({"c"}));
  folder.write("model.safetensors.index.json", "{\"weight_map\": " + weight_map + "}");
  return fails_with(ErrorCode::bad_file, {folder.path().string(), why},
                    [&] { Checkpoint::open(folder.path()); });
}

TEST(ShardedSafetensors, AreReadByTheIndex) {
  const TemporaryFolder folder;
  folder.write("one.safetensors", shard_of({"a", "b"}));
  folder.write("two.safetensors", shard_of({"c"}));
  folder.write("model.safetensors.index.json",
               R"({"metadata": {"total_size": 3}, "weight_map": {"a": "one.safetensors",
                  "b": "one.safetensors", "c": "two.safetensors"}})");
  const auto weights = Checkpoint::open(folder.path());
  EXPECT_EQ(weights->names(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(weights->format(), "safetensors");
}

TEST(ShardedSafetensors, MustBeWhatTheIndexSays) {
  EXPECT_TRUE(shards_fail("two.safetensors: Tensor 'd' is missing",
                          R"({"a": "one.safetensors", "b": "one.safetensors",
                              "c": "two.safetensors", "d": "two.safetensors"})"));
  EXPECT_TRUE(shards_fail("one.safetensors: Tensor 'b' is not in the index",
                          R"({"a": "one.safetensors", "c": "two.safetensors"})"));
  EXPECT_TRUE(shards_fail("Tensor 'c' is not in the index",
                          R"({"a": "one.safetensors", "b": "one.safetensors",
                              "d": "two.safetensors"})"));
  EXPECT_TRUE(shards_fail("three.safetensors: The file cannot be read: No such file",
                          R"({"a": "three.safetensors"})"));
  EXPECT_TRUE(shards_fail("'weight_map.a'", R"({"a": 1})"));
  EXPECT_TRUE(shards_fail("'weight_map'", "[]"));
}

TEST(ShardedSafetensors, MustBeNamedByPlainNames) {
  for (const std::string name : {"/etc/passwd", "../one.safetensors", "a/one.safetensors", "..",
                                 ".", "", "a\\\\b", "one.safetensors\\u0000"}) {
    EXPECT_TRUE(shards_fail("plain name", "{\"a\": \"" + name + "\"}")) << name;
  }
}

TEST(ShardedSafetensors, MustNotGiveATensorTwice) {
  const TemporaryFolder folder;
  folder.write("one.safetensors", shard_of({"a", "b"}));
  folder.write("two.safetensors", shard_of({"b", "c"}));
  folder.write("model.safetensors.index.json",
               R"({"weight_map": {"a": "one.safetensors", "b": "one.safetensors",
                                  "c": "two.safetensors"}})");
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"two.safetensors", "'b' is given twice"},
                         [&] { Checkpoint::open(folder.path()); }));
}

}  // namespace
}  // namespace slim
