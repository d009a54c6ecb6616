// GgufMetadata: every type another writer writes, all that a tokenizer needs, and errors that name
// file and key.
#include "weights/gguf_metadata.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "error_matchers.h"
#include "weights/gguf.h"
#include "weights/weights_text.h"

namespace slim {
namespace {

using Integers = std::vector<int64_t>;
using Strings = std::vector<std::string_view>;

class TinyMetadata : public testing::Test {
 protected:
  testing::AssertionResult refuses(std::initializer_list<std::string_view> why, auto&& action) {
    return fails_with(ErrorCode::bad_file, why, action);
  }

  std::shared_ptr<const Checkpoint> weights_ =
      Checkpoint::open(SLIM_TEST_DATA "/golden/gguf/tiny.gguf");
  const GgufMetadata& keys_ = *weights_->metadata();
};

TEST_F(TinyMetadata, HasEveryType) {
  const auto integer = [&](const char* key) { return keys_.integer(key, INT64_MIN, INT64_MAX); };
  EXPECT_EQ(integer("test.u8"), 255);
  EXPECT_EQ(integer("test.i8"), -128);
  EXPECT_EQ(integer("test.u16"), 65535);
  EXPECT_EQ(integer("test.i16"), -32768);
  EXPECT_EQ(integer("test.u32"), UINT32_MAX);
  EXPECT_EQ(integer("test.i32"), INT32_MIN);
  EXPECT_EQ(integer("test.i64"), INT64_MIN);
  EXPECT_EQ(keys_.real("test.f32"), 0.1F);
  EXPECT_EQ(keys_.real("test.f64"), 0.1);
  EXPECT_EQ(keys_.real("test.u8"), 255.0);
  EXPECT_TRUE(keys_.boolean("test.boolean"));
  EXPECT_EQ(keys_.string("test.string"), "na\xc3\xafve");
  EXPECT_EQ(keys_.booleans("test.booleans"), (std::vector<bool>{true, false, true}));
  EXPECT_EQ(keys_.reals("test.reals"), (std::vector<float>{0.5F, -1.25F}));
  EXPECT_EQ(keys_.integers("llama.attention.head_count_kv", 1, 4), (Integers{4, 2}));
  EXPECT_EQ(keys_.place(), weights_->path());
}

// What a vocabulary is made of.
TEST_F(TinyMetadata, HasTheVocabulary) {
  const std::string prefix = "tokenizer.ggml.";
  EXPECT_EQ(keys_.string(prefix + "model"), "llama");
  EXPECT_EQ(keys_.string(prefix + "pre"), "default");
  EXPECT_EQ(keys_.strings(prefix + "tokens"), (Strings{"<unk>", "<s>", "</s>",
                                                       "\xe2\x96\x81"
                                                       "a",
                                                       "<0xFF>", "b"}));
  EXPECT_EQ(keys_.reals(prefix + "scores"), (std::vector<float>{0, 0, 0, -1.5F, 0, -2.25F}));
  EXPECT_EQ(keys_.integers(prefix + "token_type", 1, 6), (Integers{2, 3, 3, 1, 6, 1}));
  EXPECT_EQ(keys_.strings(prefix + "merges"), (Strings{"\xe2\x96\x81 a", "a b"}));
  EXPECT_EQ(keys_.integer(prefix + "bos_token_id", 0, 5), 1);
  EXPECT_EQ(keys_.integer(prefix + "eos_token_id", 0, 5), 2);
  EXPECT_EQ(keys_.integer(prefix + "unknown_token_id", 0, 5), 0);
  EXPECT_TRUE(keys_.boolean(prefix + "add_bos_token"));
  EXPECT_FALSE(keys_.boolean(prefix + "add_space_prefix"));
  EXPECT_EQ(keys_.string("tokenizer.chat_template"), "{{ messages[0].content }}");
}

TEST_F(TinyMetadata, SaysWhatItHas) {
  EXPECT_TRUE(keys_.has("test.u8"));
  EXPECT_FALSE(keys_.has("test"));
  EXPECT_TRUE(keys_.is_list("test.reals"));
  EXPECT_FALSE(keys_.is_list("test.f32"));
  EXPECT_FALSE(keys_.is_list("test"));
  const auto keys = keys_.keys();
  EXPECT_EQ(std::count(keys.begin(), keys.end(), "test.u8"), 1);
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end()));
}

TEST_F(TinyMetadata, RefusesOtherTypes) {
  EXPECT_TRUE(refuses({"tiny.gguf", "Key 'absent' is missing."}, [&] { keys_.real("absent"); }));
  EXPECT_TRUE(refuses({"'test.f32' must be an integer, but is a real"},
                      [&] { keys_.integer("test.f32", 0, 1); }));
  EXPECT_TRUE(refuses({"'test.boolean' must be an integer, but is a boolean"},
                      [&] { keys_.integer("test.boolean", 0, 1); }));
  EXPECT_TRUE(refuses({"'test.string' must be a real, but is a string"},
                      [&] { keys_.real("test.string"); }));
  EXPECT_TRUE(refuses({"'test.u8' must be a boolean, but is an integer"},
                      [&] { keys_.boolean("test.u8"); }));
  EXPECT_TRUE(refuses({"'test.u8' must be a string"}, [&] { keys_.string("test.u8"); }));
  EXPECT_TRUE(refuses({"'test.reals' must be a single value"}, [&] { keys_.real("test.reals"); }));
  EXPECT_TRUE(refuses({"'test.f32' must be a list"}, [&] { keys_.reals("test.f32"); }));
  EXPECT_TRUE(
      refuses({"'test.reals'", "a string, but is a real"}, [&] { keys_.strings("test.reals"); }));
  EXPECT_TRUE(refuses({"'test.reals'", "an integer"}, [&] { keys_.integers("test.reals", 0, 1); }));
  EXPECT_TRUE(refuses({"'test.u8' is odd."}, [&] { keys_.reject("test.u8", "is odd"); }));
}

TEST_F(TinyMetadata, RefusesNumbersOutOfRange) {
  EXPECT_EQ(keys_.integer("test.u8", 255, 255), 255);
  EXPECT_TRUE(refuses({"'test.u8' is 255, not within [0, 254]"},
                      [&] { keys_.integer("test.u8", 0, 254); }));
  EXPECT_TRUE(refuses({"'test.i8' is -128"}, [&] { keys_.integer("test.i8", -127, 127); }));
  EXPECT_TRUE(refuses({"'test.u64' is 18446744073709551615"},
                      [&] { keys_.integer("test.u64", INT64_MIN, INT64_MAX); }));
  EXPECT_TRUE(refuses({"head_count_kv' is 2"},
                      [&] { keys_.integers("llama.attention.head_count_kv", 3, 4); }));
}

TEST(GgufMetadata, RefusesRealsThatAreNotFinite) {
  constexpr double kBig = 1e300;
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const MemoryFile memory(GgufText()
                              .key("nan", GgufText::f32, bytes_of(kNan))
                              .key("infinity", GgufText::f64, bytes_of(double{INFINITY}))
                              .key("big", GgufText::f64, bytes_of(kBig))
                              .list_key("nans", GgufText::f32, 2, bytes_of(1.0F) + bytes_of(kNan))
                              .list_key("bigs", GgufText::f64, 1, bytes_of(kBig))
                              .with());
  const auto weights = read_gguf(memory.file());
  const GgufMetadata& keys = *weights->metadata();
  EXPECT_EQ(keys.real("big"), kBig);
  for (const char* key : {"nan", "infinity"}) {
    EXPECT_TRUE(fails_with(ErrorCode::bad_file, {key, "is not finite"}, [&] { keys.real(key); }));
  }
  for (const char* key : {"nans", "bigs"}) {
    EXPECT_TRUE(fails_with(ErrorCode::bad_file, {key, "is not finite"}, [&] { keys.reals(key); }));
  }
}

TEST(GgufMetadata, AnEmptyListIsOfAnyType) {
  const MemoryFile memory(GgufText().list_key("none", GgufText::i32, 0, "").with());
  const auto weights = read_gguf(memory.file());
  const GgufMetadata& keys = *weights->metadata();
  EXPECT_TRUE(keys.strings("none").empty());
  EXPECT_TRUE(keys.reals("none").empty());
  EXPECT_TRUE(keys.integers("none", 0, 0).empty());
  EXPECT_TRUE(keys.booleans("none").empty());
}

TEST(GgufMetadata, StringsAreAnyBytes) {
  const std::string odd("a\0\xff", 3);
  const MemoryFile memory(
      GgufText()
          .key("one", GgufText::text, GgufText::string(odd))
          .list_key("two", GgufText::text, 2, GgufText::string("") + GgufText::string(odd))
          .with());
  const auto weights = read_gguf(memory.file());
  EXPECT_EQ(weights->metadata()->string("one"), odd);
  EXPECT_EQ(weights->metadata()->strings("two"), (Strings{"", odd}));
}

}  // namespace
}  // namespace slim
