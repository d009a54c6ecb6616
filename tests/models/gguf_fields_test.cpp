// What GGUF keys become, and that everything wrong with them gets a sentence naming key and file.
#include "models/gguf_fields.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "models/family.h"
#include "slim/error.h"
#include "weights/gguf.h"
#include "weights/weights_text.h"

namespace slim {
namespace {

using Text = GgufText;

// Of one Llama, without the tensors that its spec does not depend on.
class GgufKeys : public testing::Test {
 protected:
  GgufKeys() {
    set_size("block_count", 2);
    set_size("context_length", 64);
    set_size("embedding_length", 32);
    set_size("feed_forward_length", 48);
    set_size("attention.head_count", 4);
    set_real("attention.layer_norm_rms_epsilon", 1e-5F);
    set_size("vocab_size", 3);
  }

  void set_size(const std::string& key, uint32_t value) {
    keys_["llama." + key] = {Text::u32, bytes_of(value)};
  }
  void set_real(const std::string& key, float value) {
    keys_["llama." + key] = {Text::f32, bytes_of(value)};
  }
  void set_string(const std::string& key, const std::string& value) {
    keys_["llama." + key] = {Text::text, Text::string(value)};
  }
  void set_flag(const std::string& key, bool value) {
    keys_["llama." + key] = {Text::boolean, bytes_of(static_cast<uint8_t>(value))};
  }
  void add_tensor(const std::string& name, const std::vector<uint64_t>& sizes,
                  const std::vector<float>& values) {
    tensors_.push_back({name, sizes, values});
  }

  std::string file() const {
    Text text;
    for (const auto& [name, value] : keys_) text.key(name, value.first, value.second);
    std::string data;
    const auto add = [&](const Stored& tensor) {
      text.claim(tensor.name, tensor.sizes, Text::type_f32, data.size());
      data += bytes_of(tensor.values);
      data.resize((data.size() + 31) / 32 * 32);
    };
    add({"token_embd.weight", {32, 3}, std::vector<float>(96)});
    for (const Stored& tensor : tensors_) add(tensor);
    return text.with(data);
  }

  ModelSpec read() const {
    const MemoryFile memory(file());
    const auto checkpoint = read_gguf(memory.file());
    for (const Family& family : families()) {
      if (family.content == "llama") return family.read_gguf(GgufFields(*checkpoint));
    }
    return {};
  }

  std::string refusal(ErrorCode code = ErrorCode::bad_file) const {
    try {
      read();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    return "accepted";
  }

  void expect_refused(const std::string& key) const {
    const std::string text = refusal();
    EXPECT_NE(text.find(key), std::string::npos) << "'" << key << "' in: " << text;
    EXPECT_NE(text.find("memory"), std::string::npos) << text;
  }

  struct Stored {
    std::string name;
    std::vector<uint64_t> sizes;
    std::vector<float> values;
  };
  std::map<std::string, std::pair<uint32_t, std::string>> keys_;
  std::vector<Stored> tensors_;
};

TEST_F(GgufKeys, BecomeASpec) {
  const ModelSpec spec = read();
  EXPECT_EQ(spec.vocabulary, 3);
  EXPECT_TRUE(spec.tied_head);
  EXPECT_EQ(spec.decoder.layers, 2);
  EXPECT_EQ(spec.decoder.key_heads, 4);
  EXPECT_EQ(spec.decoder.width_of_head(), 8);
  EXPECT_FLOAT_EQ(spec.decoder.norm.epsilon, 1e-5F);
  EXPECT_EQ(spec.decoder.rope.width, 8);
  EXPECT_EQ(spec.decoder.rope.base, 10000);
  EXPECT_TRUE(spec.decoder.rope.interleaved);
  EXPECT_EQ(spec.decoder.rope.scaling, RopeScaling::none);
}

TEST_F(GgufKeys, AreAskedForByName) {
  const auto all = keys_;
  for (const auto& [key, value] : all) {
    keys_ = all;
    keys_.erase(key);
    expect_refused("'" + key + "'");
    keys_[key] = {Text::f32, bytes_of(-1.0F)};
    expect_refused("'" + key + "'");
  }
}

TEST_F(GgufKeys, ScaleRope) {
  set_real("rope.freq_base", 500000);
  set_real("rope.scaling.factor", 4);
  EXPECT_EQ(read().decoder.rope.scaling, RopeScaling::linear);  // as in files without a type
  set_string("rope.scaling.type", "none");
  EXPECT_EQ(read().decoder.rope.scaling, RopeScaling::none);
  set_string("rope.scaling.type", "yarn");
  set_size("rope.scaling.original_context_length", 16);
  set_real("rope.scaling.yarn_beta_fast", 20);
  RopeSpec rope = read().decoder.rope;
  EXPECT_EQ(rope.scaling, RopeScaling::yarn);
  EXPECT_EQ(rope.base, 500000);
  EXPECT_EQ(rope.factor, 4);
  EXPECT_EQ(rope.original, 16);
  EXPECT_EQ(rope.beta_fast, 20);
  EXPECT_EQ(rope.beta_slow, 1);
  EXPECT_NEAR(rope.magnitude, 1.138629, 1e-6);  // 0.1 ln 4 + 1
  set_real("rope.scaling.yarn_attn_factor", 0.5F);
  EXPECT_EQ(read().decoder.rope.magnitude, 0.5);
}

TEST_F(GgufKeys, RefuseAnUnknownScaling) {
  set_string("rope.scaling.type", "ntk");
  const std::string text = refusal(ErrorCode::unsupported_model);
  EXPECT_NE(text.find("'ntk'"), std::string::npos) << text;
  EXPECT_NE(text.find("rope.scaling.type"), std::string::npos) << text;
  set_string("rope.scaling.type", "linear");
  expect_refused("llama.rope.scaling.factor");
  set_string("rope.scaling.type", "longrope");  // without its factors
  expect_refused("llama.rope.scaling.type");
}

TEST_F(GgufKeys, TakeFactorsFromTensors) {
  add_tensor("rope_freqs.weight", {4}, {1, 1, 2, 8});
  EXPECT_EQ(read().decoder.rope.divisors, (std::vector<double>{1, 1, 2, 8}));
  set_string("rope.scaling.type", "yarn");
  set_real("rope.scaling.factor", 4);
  expect_refused("llama.rope.scaling.type");
  keys_.erase("llama.rope.scaling.type");
  tensors_ = {{"rope_freqs.weight", {3}, {1, 1, 2}}};
  expect_refused("rope.factors");
  tensors_ = {{"rope_freqs.weight", {4}, {1, 0, 2, 8}}};
  expect_refused("rope.factors");
  tensors_ = {{"rope_factors_long.weight", {4}, {1, 2, 3, 4}}};
  expect_refused("rope.factors_short");
  add_tensor("rope_factors_short.weight", {4}, {1, 1, 1, 1});
  EXPECT_EQ(read().decoder.rope.scaling, RopeScaling::longrope);
  EXPECT_EQ(read().decoder.rope.long_factors, (std::vector<double>{1, 2, 3, 4}));
}

TEST_F(GgufKeys, RefuseWhatIsNotSupported) {
  const auto all = keys_;
  const auto refused = [&](const std::string& key) {
    expect_refused("'llama." + key + "'");
    keys_ = all;
  };
  set_size("expert_count", 8);
  refused("expert_count");
  set_flag("attention.causal", false);
  refused("attention.causal");
  set_size("attention.value_length", 6);
  refused("attention.value_length");
  set_size("vocab_size", 4);
  refused("vocab_size");
  set_real("attention.clamp_kqv", -1);
  refused("attention.clamp_kqv");
  set_size("attention.sliding_window", uint32_t{1} << 31);
  refused("attention.sliding_window");
}

TEST_F(GgufKeys, CountTokensByTheirList) {
  keys_.erase("llama.vocab_size");
  const auto list = [&](uint64_t count) {
    std::string tokens = bytes_of(uint32_t{Text::text}) + bytes_of(count);
    for (uint64_t i = 0; i < count; ++i) tokens += Text::string("t");
    keys_["tokenizer.ggml.tokens"] = {Text::list, tokens};
  };
  list(3);
  EXPECT_EQ(read().vocabulary, 3);
  list(2);
  expect_refused("tokenizer.ggml.tokens");
}

TEST_F(GgufKeys, NameAnArchitectureThatIsKnown) {
  const auto path = std::filesystem::path(testing::TempDir()) / "slim_unknown.gguf";
  std::string bytes = file();
  bytes.replace(bytes.find("llama"), 5, "lemma");
  std::ofstream(path, std::ios::binary) << bytes;
  try {
    open_model(path);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported_model);
    const std::string text = error.what();
    for (const char* part : {"'lemma'", "there is bloom, command-r, gemma", "slim_unknown.gguf"}) {
      EXPECT_NE(text.find(part), std::string::npos) << text;
    }
    EXPECT_EQ(text.find("WhisperSpec"), std::string::npos) << text;
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace slim
