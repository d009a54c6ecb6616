// rope_frequencies and read_rope: every scaling, from its config, against the numbers of
// Transformers' own functions (tests/golden/rope.json); and what is refused.
#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"
#include "error_matchers.h"
#include "models/config_fields.h"
#include "models/spec.h"

namespace slim::test {
namespace {

// The rope of a config, whose own place in messages is x.json.
RopeSpec rope_of(std::string_view config, int64_t head_width = 8) {
  return read_rope(JsonObject::parse(config, "x.json"), head_width);
}

TEST(Rope, GivesTheFrequenciesOfTransformers) {
  const std::string path = std::string(SLIM_TEST_DATA) + "/golden/rope.json";
  const auto cases = JsonObject::read(path).objects("cases");
  ASSERT_EQ(cases.size(), 40U);
  for (const JsonObject& item : cases) {
    const int64_t length = item.integer("length", 1, 1 << 20);
    SCOPED_TRACE(item.string("name") + ", " + std::to_string(length) + " tokens");
    const RopeSpec rope = read_rope(item.object("config"), item.integer("head_width", 2, 256));
    EXPECT_NEAR(rope.magnitude, item.real("attention_factor"), 1e-12);
    const std::vector<std::vector<float>> regimes = rope_frequencies(rope, length);
    const std::vector<double> expected = item.reals("frequencies");
    ASSERT_EQ(regimes.back().size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      // Both are computed in f32, each power and quotient rounded: three or four roundings.
      EXPECT_NEAR(static_cast<double>(regimes.back()[i]) / expected[i], 1, 0x1p-22) << i;
    }
  }
}

TEST(Rope, HasTwoRegimesOnlyBeyondTheOriginalLength) {
  RopeSpec rope;
  rope.width = 4;
  rope.scaling = RopeScaling::longrope;
  rope.original = 100;
  rope.short_factors = {1, 2};
  rope.long_factors = {4, 8};
  EXPECT_EQ(rotations(rope, 100).size(), 1U);
  const auto frequencies = rope_frequencies(rope, 101);
  ASSERT_EQ(frequencies.size(), 2U);
  EXPECT_FLOAT_EQ(frequencies[0][0], 1);
  EXPECT_FLOAT_EQ(frequencies[1][0], 0.25F);
  EXPECT_FLOAT_EQ(frequencies[1][1], 0.01F / 8);
}

TEST(Rope, DividesByTheFactorsOfAFile) {
  RopeSpec rope;
  rope.width = 4;
  rope.divisors = {1, 4};
  const auto frequencies = rope_frequencies(rope, 10);
  EXPECT_FLOAT_EQ(frequencies[0][0], 1);
  EXPECT_FLOAT_EQ(frequencies[0][1], 0.0025F);
}

TEST(Rope, ReadsBothSpellings) {
  const RopeSpec old = rope_of(R"({"rope_theta": 500.0, "partial_rotary_factor": 0.5,
      "max_position_embeddings": 64, "rope_scaling": {"type": "linear", "factor": 2}})");
  const RopeSpec present = rope_of(R"({"max_position_embeddings": 64, "rope_parameters":
      {"rope_type": "linear", "factor": 2, "rope_theta": 500, "partial_rotary_factor": 0.5}})");
  for (const RopeSpec& rope : {old, present}) {
    EXPECT_EQ(rope.width, 4);
    EXPECT_EQ(rope.base, 500);
    EXPECT_EQ(rope.factor, 2);
    EXPECT_EQ(rope.scaling, RopeScaling::linear);
  }
  const RopeSpec plain = rope_of(R"({"rope_scaling": null})");
  EXPECT_EQ(plain.width, 8);
  EXPECT_EQ(plain.base, 10000);
  EXPECT_EQ(plain.scaling, RopeScaling::none);
}

TEST(Rope, RefusesWhatItDoesNotKnow) {
  EXPECT_TRUE(fails_with(ErrorCode::unsupported_model, {"x.json", "'spiral'", "longrope"},
                         [] { rope_of(R"({"rope_parameters": {"rope_type": "spiral"}})"); }));
  const auto rejects = [](const char* field, const char* config) {
    return fails_with(ErrorCode::bad_file, {"x.json", field}, [&] { rope_of(config); });
  };
  EXPECT_TRUE(rejects("factor", R"({"max_position_embeddings": 64,
      "rope_parameters": {"rope_type": "linear"}})"));
  EXPECT_TRUE(rejects("factor", R"({"max_position_embeddings": 64,
      "rope_parameters": {"rope_type": "linear", "factor": -1}})"));
  EXPECT_TRUE(rejects("short_factor", R"({"max_position_embeddings": 64,
      "rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1, 1, 1, 1]}})"));
  EXPECT_TRUE(rejects("high_freq_factor", R"({"max_position_embeddings": 64, "rope_parameters":
      {"rope_type": "llama3", "factor": 2, "low_freq_factor": 4, "high_freq_factor": 4}})"));
  EXPECT_TRUE(rejects("rope_theta", R"({"rope_theta": 0})"));
  EXPECT_TRUE(rejects("partial_rotary_factor", R"({"partial_rotary_factor": 1.5})"));
}

}  // namespace
}  // namespace slim::test
