// GGUF: what another writer wrote is read exactly, what is not well-formed is refused with a
// sentence. Golden data: tools/make_golden_gguf.py.
#include "weights/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "error_matchers.h"
#include "temporary_folder.h"
#include "weights/weights_text.h"

namespace slim {
namespace {

using Shape = std::vector<int64_t>;
const std::filesystem::path kTiny = SLIM_TEST_DATA "/golden/gguf/tiny.gguf";

void read(std::string_view text) {
  const MemoryFile memory(text);
  const auto checkpoint = read_gguf(memory.file());
  for (const auto& name : checkpoint->names()) checkpoint->get(name).to_f32();
}

testing::AssertionResult refuses(std::string_view why, std::string_view text) {
  return fails_with(ErrorCode::bad_file, {"memory", why}, [&] { read(text); });
}
testing::AssertionResult cannot(std::string_view why, std::string_view text) {
  return fails_with(ErrorCode::unsupported_model, {"memory", why}, [&] { read(text); });
}

const std::string kData(256, '\0');

// One tensor over 256 bytes of data.
std::string one(const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset = 0) {
  return GgufText().claim("w", sizes, type, offset).with(kData);
}

// What the package wrote -----------------------------------------------------------------------

TEST(Gguf, ReadsWhatAnotherWriterWrote) {
  const int64_t before = host_device().allocated_bytes();
  const auto weights = Checkpoint::open(kTiny);
  EXPECT_EQ(host_device().allocated_bytes(), before) << "all tensors stay in the file";
  EXPECT_EQ(weights->format(), "gguf");
  EXPECT_EQ(weights->content(), "llama");
  EXPECT_EQ(weights->path(), kTiny);
  const std::string layer = "decoder.layers.1.";
  const struct {
    std::string name;
    Shape shape;
    DType type;
  } expected[] = {{"decoder.embed.weight", {6, 4}, DType::f32},
                  {layer + "mlp.down.weight", {2, 256}, DType::q6_k},
                  {layer + "mlp.gate.weight", {2, 256}, DType::q4_k},
                  {layer + "mlp.up.weight", {2, 256}, DType::q5_k},
                  {layer + "self.k.weight", {2, 4}, DType::f16},
                  {layer + "self.out.weight", {2, 32}, DType::q4_0},
                  {layer + "self.q.weight", {4, 4}, DType::f16},
                  {layer + "self.v.weight", {2, 32}, DType::q8_0},
                  {"decoder.norm.weight", {4}, DType::f32},
                  {"head.weight", {3, 2}, DType::bf16},
                  {"own.name", {1, 2, 3}, DType::f32},
                  {"rope.factors", {2}, DType::f32}};
  EXPECT_EQ(weights->names().size(), std::size(expected));
  for (const auto& [name, shape, type] : expected) {
    EXPECT_EQ(weights->get(name, shape).type(), type) << name;
  }
}

TEST(Gguf, ReadsValues) {
  const auto weights = Checkpoint::open(kTiny);
  EXPECT_EQ(values_of(weights->get("head.weight")), (std::vector<float>{1, -2, 0.5, 3, 0, 1.5}));
  const struct {
    std::string name;
    int first;         // the sine's argument
    double tolerance;  // half a unit in the last place of values below 1
  } sines[] = {{"decoder.embed.weight", 0, 0x1p-24},
               {"rope.factors", 2, 0x1p-24},
               {"decoder.layers.1.self.q.weight", 3, 0x1p-11}};
  for (const auto& [name, first, tolerance] : sines) {
    const auto values = values_of(weights->get(name));
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(values[i], std::sin(static_cast<double>(i) + first), tolerance) << name;
    }
  }
}

TEST(Gguf, IsFoundByItsFileOrItsDirectory) {
  const TemporaryFolder folder;
  const auto file = folder.write("some.gguf", GgufText().with());
  EXPECT_EQ(Checkpoint::open(file)->format(), "gguf");
  EXPECT_EQ(Checkpoint::open(folder.path())->path(), file);
  folder.write("other.gguf", GgufText().with());
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {folder.path().string(), "several GGUF files"},
                         [&] { Checkpoint::open(folder.path()); }));
  folder.write("model.safetensors", safetensors_text("{}", ""));
  EXPECT_EQ(Checkpoint::open(folder.path())->format(), "safetensors");
  EXPECT_EQ(Checkpoint::open(folder.path())->metadata(), nullptr);
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"absent.gguf", "No such file"},
                         [&] { Checkpoint::open(folder.path() / "absent.gguf"); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"bad.gguf", "begin with 'GGUF'"},
                         [&] { Checkpoint::open(folder.write("bad.gguf", "nonsense")); }));
}

TEST(Gguf, RenamingKeepsTheMetadata) {
  const auto weights = Checkpoint::open(kTiny)->renamed({{"own.", "your."}});
  EXPECT_TRUE(weights->has("your.name"));
  ASSERT_NE(weights->metadata(), nullptr);
  EXPECT_EQ(weights->metadata()->string("general.architecture"), "llama");
}

// Names ----------------------------------------------------------------------------------------

TEST(Gguf, NamesAreCanonical) {
  const std::pair<std::string_view, std::string_view> names[] = {
      {"token_embd.weight", "decoder.embed.weight"},
      {"token_embd_norm.bias", "decoder.embed_norm.bias"},
      {"position_embd.weight", "decoder.positions.weight"},
      {"output_norm.weight", "decoder.norm.weight"},
      {"output.weight", "head.weight"},
      {"output.bias", "head.bias"},
      {"rope_freqs.weight", "rope.factors"},
      {"rope_factors_long.weight", "rope.factors_long"},
      {"rope_factors_short.weight", "rope.factors_short"},
      {"blk.0.attn_norm.weight", "decoder.layers.0.self.norm.weight"},
      {"blk.12.attn_qkv.bias", "decoder.layers.12.self.qkv.bias"},
      {"blk.3.attn_q.weight", "decoder.layers.3.self.q.weight"},
      {"blk.3.attn_k.weight", "decoder.layers.3.self.k.weight"},
      {"blk.3.attn_v.weight", "decoder.layers.3.self.v.weight"},
      {"blk.3.attn_output.weight", "decoder.layers.3.self.out.weight"},
      {"blk.3.attn_q_norm.weight", "decoder.layers.3.self.q_norm.weight"},
      {"blk.3.attn_k_norm.weight", "decoder.layers.3.self.k_norm.weight"},
      {"blk.3.post_attention_norm.weight", "decoder.layers.3.self.post_norm.weight"},
      {"blk.3.ffn_norm.weight", "decoder.layers.3.mlp.norm.weight"},
      {"blk.3.ffn_gate.weight", "decoder.layers.3.mlp.gate.weight"},
      {"blk.3.ffn_up.weight", "decoder.layers.3.mlp.up.weight"},
      {"blk.3.ffn_down.bias", "decoder.layers.3.mlp.down.bias"},
      {"blk.3.post_ffw_norm.weight", "decoder.layers.3.mlp.post_norm.weight"}};
  for (const auto& [stored, canonical] : names) {
    EXPECT_EQ(canonical_gguf_name(stored, false), canonical);
  }
  for (const std::string own :
       {"", "weight", ".weight", "blk", "blk.", "blk..weight", "blk.weight", "blk.3.weight",
        "blk.x.attn_q.weight", "blk.3attn_q.weight", "blk.3.attn_q", "blk.3.attn_q.scale",
        "blk.3.attn_norm_2.weight", "blk.3.ffn_gate_exps.weight", "rope_freqs", "token_embd"}) {
    EXPECT_EQ(canonical_gguf_name(own, false), own);
  }
}

TEST(Gguf, TheSecondOfTwoNormsIsAttentions) {
  EXPECT_EQ(canonical_gguf_name("blk.3.attn_norm.bias", true), "decoder.layers.3.mlp.norm.bias");
  EXPECT_EQ(canonical_gguf_name("blk.3.attn_norm_2.weight", true),
            "decoder.layers.3.self.norm.weight");
  EXPECT_EQ(canonical_gguf_name("blk.3.attn_k.weight", true), "decoder.layers.3.self.k.weight");
  const MemoryFile memory(GgufText()
                              .claim("blk.0.attn_norm.weight", {2}, GgufText::type_f32, 0)
                              .claim("blk.0.attn_norm_2.weight", {2}, GgufText::type_f32, 32)
                              .with(std::string(32, '\0') + bytes_of(std::vector<float>{1, 2})));
  const auto weights = read_gguf(memory.file());
  EXPECT_EQ(values_of(weights->get("decoder.layers.0.self.norm.weight")),
            (std::vector<float>{1, 2}));
  EXPECT_EQ(values_of(weights->get("decoder.layers.0.mlp.norm.weight")),
            (std::vector<float>{0, 0}));
}

// Hostile files --------------------------------------------------------------------------------

TEST(Gguf, CutAtEveryLengthIsRefused) {
  const auto file = MappedFile::open(kTiny);
  const std::string whole(reinterpret_cast<const char*>(file->bytes().data()),
                          file->bytes().size());
  const size_t padding = 24;  // behind the last tensor, of 2 * 3 * 2 bytes: nothing needs it
  for (size_t length = 0; length + padding < whole.size(); ++length) {
    EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"memory"}, [&] {
      read(std::string_view(whole).substr(0, length));
    })) << length;
  }
}

TEST(Gguf, RefusesBrokenHeaders) {
  EXPECT_NO_THROW(read(GgufText().with()));
  EXPECT_TRUE(refuses("cut: 4 bytes are due at byte 0", ""));
  EXPECT_TRUE(refuses("does not begin with 'GGUF'", std::string(100, 'x')));
  GgufText text;
  text.version = 2;
  EXPECT_NO_THROW(read(text.with()));
  for (const uint32_t version : {1U, 4U, 0U, 0x03000000U}) {
    text.version = version;
    EXPECT_TRUE(cannot(version == 0x03000000U ? "big-endian" : "version", text.with()));
  }
}

TEST(Gguf, RefusesCountsBeyondTheFile) {
  for (const uint64_t count : {uint64_t{3}, uint64_t{1} << 20, uint64_t{1} << 32, UINT64_MAX}) {
    GgufText tensors;
    tensors.tensor_count = count;
    EXPECT_TRUE(refuses(count == 3 ? "memory" : "more than it can hold", tensors.with()));
    GgufText keys;
    keys.key_count = count;
    EXPECT_TRUE(refuses(count == 3 ? "memory" : "more than it can hold", keys.with()));
    const auto list =
        GgufText().list_key("k", GgufText::f64, count, std::string(16, 'x')).with({}, 1);
    EXPECT_TRUE(refuses("elements for key 'k'", list));
    const auto strings = GgufText().list_key("k", GgufText::text, count, "").with({}, 1);
    EXPECT_TRUE(refuses("elements for key 'k'", strings));
    EXPECT_TRUE(refuses("cut", GgufText().key("k", GgufText::text, bytes_of(count)).with({}, 1)));
    EXPECT_TRUE(
        refuses("cut", GgufText()
                           .list_key("k", GgufText::text, 2, GgufText::string("") + bytes_of(count))
                           .with({}, 1)));
  }
}

TEST(Gguf, RefusesBrokenKeys) {
  const auto with = [](uint32_t type, const std::string& value) {
    return GgufText().key("k", type, value).with();
  };
  EXPECT_TRUE(refuses("Key 'k' has a value of the unknown type 13", with(13, "x")));
  EXPECT_TRUE(refuses("unknown type 4294967295", with(UINT32_MAX, "x")));
  EXPECT_TRUE(refuses("neither 0 nor 1", with(GgufText::boolean, "\2")));
  EXPECT_TRUE(refuses("unknown type 99", GgufText().list_key("k", 99, 0, "").with()));
  EXPECT_TRUE(
      refuses("neither 0 nor 1",
              GgufText().list_key("k", GgufText::boolean, 2, std::string("\1\3", 2)).with()));
  EXPECT_TRUE(cannot("Key 'k' is a list of lists",
                     GgufText().list_key("k", GgufText::list, 1, std::string(12, '\0')).with()));
  EXPECT_TRUE(refuses("Key 'k' is given twice",
                      GgufText().key("k", GgufText::u8, "x").key("k", GgufText::u8, "x").with()));
  for (const std::string& name : {std::string(), std::string("a\0b", 3), std::string("a b"),
                                  std::string("\x1b[2J"), std::string(513, 'a')}) {
    EXPECT_TRUE(refuses("printable", GgufText().key(name, GgufText::u8, "x").with()));
  }
}

TEST(Gguf, RefusesContentsThatAreNoNames) {
  const auto of = [](uint32_t type, const std::string& value) {
    std::string text = "GGUF" + bytes_of(uint32_t{3}) + bytes_of(uint64_t{0}) +
                       bytes_of(uint64_t{1}) + GgufText::string("general.architecture");
    return text + bytes_of(type) + value;
  };
  EXPECT_NO_THROW(read(of(GgufText::text, GgufText::string("llama"))));
  EXPECT_TRUE(refuses("printable", of(GgufText::text, GgufText::string("\x1b[2J"))));
  EXPECT_TRUE(refuses("'general.architecture' must be a string", of(GgufText::u64, kData)));
  EXPECT_TRUE(refuses("'general.architecture' is missing",
                      "GGUF" + bytes_of(uint32_t{3}) + std::string(16, '\0')));
}

TEST(Gguf, FollowsTheAlignment) {
  const auto aligned = [](uint32_t alignment, uint64_t offset, size_t real) {
    return GgufText()
        .key("general.alignment", GgufText::u32, bytes_of(alignment))
        .claim("w", {1}, GgufText::type_f32, offset)
        .with(std::string(offset, '\0') + bytes_of(1.5F), real);
  };
  for (const uint32_t alignment : {1U, 8U, 32U, 4096U}) {
    for (const uint64_t times : {0U, 1U, 3U}) {
      const MemoryFile memory(aligned(alignment, alignment * times, alignment));
      EXPECT_EQ(values_of(read_gguf(memory.file())->get("w")), std::vector<float>{1.5F});
    }
  }
  EXPECT_TRUE(refuses("no multiple of the alignment 8", aligned(8, 4, 8)));
  EXPECT_TRUE(refuses("Tensor 'w' lies outside the file", aligned(1 << 20, 0, 1)));
  EXPECT_TRUE(refuses("'general.alignment' is not a power of two", aligned(24, 0, 24)));
  for (const uint32_t alignment : {0U, 1U << 21, UINT32_MAX}) {
    EXPECT_TRUE(refuses("'general.alignment' is", aligned(alignment, 0, 32)));
  }
  EXPECT_TRUE(
      refuses("'general.alignment' must be an integer",
              GgufText().key("general.alignment", GgufText::text, GgufText::string("32")).with()));
}

TEST(Gguf, RefusesPartsOfSplitModels) {
  const auto parts = [](uint16_t count) {
    return GgufText().key("split.count", GgufText::u16, bytes_of(count)).with();
  };
  EXPECT_NO_THROW(read(parts(0)));
  EXPECT_NO_THROW(read(parts(1)));
  EXPECT_TRUE(cannot("one of 3 parts", parts(3)));
}

TEST(Gguf, RefusesWrongTypes) {
  EXPECT_NO_THROW(read(one({8}, GgufText::type_f32)));
  EXPECT_TRUE(cannot("Tensor 'w' is of type Q5_0, but only F32, F16", one({32}, 6)));
  EXPECT_TRUE(cannot("type IQ4_XS", one({256}, 23)));
  EXPECT_TRUE(cannot("type I32", one({1}, 26)));
  for (const uint32_t type : {4U, 5U, 31U, 42U, UINT32_MAX}) {
    EXPECT_TRUE(
        refuses("Tensor 'w' is of the unknown type " + std::to_string(type), one({32}, type)));
  }
}

TEST(Gguf, RefusesWrongShapes) {
  constexpr uint64_t kHuge = uint64_t{1} << 32;
  constexpr auto kF32 = GgufText::type_f32;
  EXPECT_NO_THROW(read(one({}, kF32)));
  EXPECT_NO_THROW(read(one({4, 0}, kF32)));
  EXPECT_TRUE(refuses("more than 8 axes", one(std::vector<uint64_t>(9, 1), kF32)));
  EXPECT_TRUE(refuses("64 bits", one({UINT64_MAX}, kF32)));
  EXPECT_TRUE(refuses("64 bits", one({kHuge, kHuge}, kF32)));
  EXPECT_TRUE(refuses("64 bits", one({0, kHuge, kHuge}, kF32)));
  EXPECT_TRUE(refuses("64 bits", one({kHuge, kHuge}, GgufText::type_q4_0)));
  EXPECT_TRUE(refuses("64 bits", one({kHuge, kHuge / 2, 0}, GgufText::type_q8_0)));
  EXPECT_TRUE(refuses("rows of 48 elements, but q4_0 stores them in blocks of 32",
                      one({48, 2}, GgufText::type_q4_0)));
  EXPECT_TRUE(refuses("rows of 32 elements, but q4_k", one({32, 8}, GgufText::type_q4_k)));
  EXPECT_TRUE(refuses("rows of 1 elements", one({}, GgufText::type_q8_0)));
}

TEST(Gguf, RefusesWrongOffsets) {
  EXPECT_NO_THROW(read(one({8}, GgufText::type_f32, 224)));
  EXPECT_NO_THROW(read(one({64}, GgufText::type_f32, 0)));
  EXPECT_TRUE(refuses("outside the file", one({65}, GgufText::type_f32, 0)));
  EXPECT_TRUE(refuses("outside the file", one({9}, GgufText::type_f32, 224)));
  EXPECT_TRUE(refuses("outside the file", one({1}, GgufText::type_f32, 256)));
  EXPECT_TRUE(refuses("outside the file", one({1}, GgufText::type_f32, UINT64_MAX - 31)));
  EXPECT_TRUE(refuses("no multiple of the alignment", one({1}, GgufText::type_f32, 1)));
}

TEST(Gguf, RefusesOverlapsAndDuplicates) {
  const auto two = [](std::string_view first, std::string_view second, uint64_t offset) {
    return GgufText()
        .claim(first, {16}, GgufText::type_f32, 0)
        .claim(second, {16}, GgufText::type_f32, offset)
        .with(kData);
  };
  EXPECT_NO_THROW(read(two("blk.0.attn_k.weight", "blk.0.attn_v.weight", 64)));
  EXPECT_TRUE(refuses("overlaps", two("blk.0.attn_k.weight", "blk.0.attn_v.weight", 0)));
  EXPECT_TRUE(refuses("Tensor 'v' overlaps 'k'", two("k", "v", 32)));
  EXPECT_TRUE(refuses("'w' is given twice", two("w", "w", 64)));
  EXPECT_TRUE(refuses("'head.weight' is given twice", two("output.weight", "head.weight", 64)));
  EXPECT_TRUE(refuses("printable", two("a b", "w", 64)));
}

}  // namespace
}  // namespace slim
