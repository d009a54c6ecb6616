// open_model and ModelWeights: what they read, and that everything wrong with a model gets a
// sentence naming the file and the field or tensor.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "models/golden.h"
#include "slim/error.h"

namespace slim::test {
namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// A copy of a golden model, to be damaged.
class OpenModel : public testing::Test {
 protected:
  void SetUp() override { copy("deep_decoder", "hf"); }
  void TearDown() override { fs::remove_all(directory_); }

  void copy(const std::string& model, const std::string& format) {
    fs::remove_all(directory_);
    fs::copy(golden_directory(model) / format, directory_);
  }

  void set_config(const std::string& field, const nlohmann::json& value) {
    nlohmann::json config = nlohmann::json::parse(read_text(directory_ / "config.json"));
    config[field] = value;
    write_text(directory_ / "config.json", config.dump());
  }

  // Renames a tensor of model.safetensors or gives it another shape of the same size: only the
  // header (8 bytes of length, then JSON) changes.
  void edit_tensor(const std::string& name, const std::string& new_name,
                   const std::vector<int64_t>& new_shape) {
    const fs::path path = directory_ / "model.safetensors";
    const std::string file = read_text(path);
    uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof length);
    nlohmann::json header = nlohmann::json::parse(file.substr(8, length));
    nlohmann::json entry = header.at(name);
    header.erase(name);
    if (!new_shape.empty()) entry["shape"] = new_shape;
    header[new_name] = entry;
    const std::string text = header.dump();
    const uint64_t new_length = text.size();
    std::string start(sizeof new_length, '\0');
    std::memcpy(start.data(), &new_length, sizeof new_length);
    write_text(path, start + text + file.substr(8 + length));
  }

  // What opening and loading says; checks the error's code.
  std::string refusal(ErrorCode code) const {
    try {
      const ModelFiles files = open_model(directory_);
      const ModelWeights weights(files.spec, *files.checkpoint);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    return "accepted";
  }

  fs::path directory_ =
      fs::path(testing::TempDir()) /
      (std::string("slim_") + testing::UnitTest::GetInstance()->current_test_info()->name());
};

void expect_mentions(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' in: " << text;
  }
}

TEST_F(OpenModel, ReadsSizesFromAConfig) {
  const ModelFiles files = open_model(directory_);
  EXPECT_EQ(files.directory, directory_);
  EXPECT_EQ(files.spec.family, "whisper");
  EXPECT_EQ(files.spec.vocabulary, 160);
  EXPECT_EQ(files.spec.mel_bins, 80);
  EXPECT_EQ(files.spec.encoder.layers, 2);
  EXPECT_EQ(files.spec.encoder.positions, 100);
  EXPECT_EQ(files.spec.decoder.layers, 3);
  EXPECT_EQ(files.spec.decoder.positions, 80);
  EXPECT_EQ(files.spec.decoder.width_of_head(), 16);
  EXPECT_FLOAT_EQ(files.spec.decoder.self(true).scale, 0.25F);
  EXPECT_EQ(refusal(ErrorCode::internal), "accepted");
}

TEST_F(OpenModel, ReadsTheSameSizesFromShapes) {
  for (const char* model : {"deep_decoder", "wide_input"}) {
    const ModelSpec config = open_model(golden_directory(model) / "hf").spec;
    const ModelSpec shapes = open_model(golden_directory(model) / "ct2").spec;
    EXPECT_EQ(shapes.family, config.family);
    EXPECT_EQ(shapes.vocabulary, config.vocabulary);
    EXPECT_EQ(shapes.mel_bins, config.mel_bins);
    for (const auto side : {&ModelSpec::encoder, &ModelSpec::decoder}) {
      EXPECT_EQ((shapes.*side).layers, (config.*side).layers);
      EXPECT_EQ((shapes.*side).width, (config.*side).width);
      EXPECT_EQ((shapes.*side).heads, (config.*side).heads);
      EXPECT_EQ((shapes.*side).mlp_width, (config.*side).mlp_width);
      EXPECT_EQ((shapes.*side).positions, (config.*side).positions);
    }
    EXPECT_FALSE(shapes.alignment_heads.empty());
  }
}

TEST_F(OpenModel, TakesAConfigAlone) {
  const ModelFiles files = open_model(directory_ / "config.json");
  EXPECT_EQ(files.spec.decoder.layers, 3);
  EXPECT_EQ(files.checkpoint, nullptr);
}

TEST_F(OpenModel, ListsAttentionLayersSelfThenCross) {
  const auto layers = attention_layers(open_model(directory_).spec);
  ASSERT_EQ(layers.size(), 6U);
  for (size_t i = 0; i < layers.size(); ++i) {
    EXPECT_EQ(layers[i].cross, i % 2 == 1);
    EXPECT_EQ(layers[i].causal, i % 2 == 0);
    EXPECT_EQ(layers[i].width, 32);
  }
}

TEST_F(OpenModel, SaysWhatIsNotThere) {
  EXPECT_THROW(open_model(directory_ / "nothing"), Error);
  fs::rename(directory_ / "config.json", directory_ / "other.json");
  expect_mentions(refusal(ErrorCode::bad_file), {"config.json"});
  fs::remove(directory_ / "model.safetensors");
  expect_mentions(refusal(ErrorCode::bad_file), {directory_.string(), "model.safetensors, "});
  fs::rename(directory_ / "other.json", directory_ / "config.json");
  expect_mentions(refusal(ErrorCode::bad_file), {directory_.string(), "model.safetensors, "});
}

TEST_F(OpenModel, SaysWhichArchitecturesThereAre) {
  set_config("architectures", {"LamaForCausalLM"});
  expect_mentions(refusal(ErrorCode::unsupported_model),
                  {"config.json", "LamaForCausalLM", "WhisperForConditionalGeneration"});
  set_config("architectures", nullptr);
  expect_mentions(refusal(ErrorCode::bad_file), {"config.json", "architectures"});
}

TEST_F(OpenModel, SaysWhichContentsOfAFileItKnows) {
  copy("deep_decoder", "ct2");
  std::string file = read_text(directory_ / "model.bin");
  const size_t at = file.find("WhisperSpec");
  ASSERT_NE(at, std::string::npos);
  write_text(directory_ / "model.bin", file.replace(at, 11, "WhisperSpex"));
  expect_mentions(refusal(ErrorCode::unsupported_model),
                  {"model.bin", "'WhisperSpex'", "there is TransformerSpec, WhisperSpec"});
}

TEST_F(OpenModel, RefusesConfigValuesItDoesNotKnow) {
  const std::vector<std::pair<std::string, nlohmann::json>> wrong = {
      {"d_model", "wide"},
      {"d_model", 0},
      {"encoder_layers", -1},
      {"decoder_layers", 1.5},
      {"num_mel_bins", "many"},
      {"activation_function", "relu"},
      {"scale_embedding", true},
      {"model_type", "bart"},
      {"decoder_attention_heads", 0},
      {"vocab_size", nullptr},
      {"max_source_positions", 1e30},
      {"max_target_positions", nlohmann::json::array()},
      {"encoder_ffn_dim", true}};
  for (const auto& [field, value] : wrong) {
    copy("deep_decoder", "hf");
    set_config(field, value);
    SCOPED_TRACE(field + " = " + value.dump());
    expect_mentions(refusal(ErrorCode::bad_file), {"config.json", field});
  }
}

TEST_F(OpenModel, RefusesHeadsThatDoNotDivideTheWidth) {
  set_config("decoder_attention_heads", 5);
  expect_mentions(refusal(ErrorCode::bad_file), {"config.json", "5 attention heads", "decoder"});
}

TEST_F(OpenModel, RefusesMelBinsNoFilterMakes) {
  set_config("num_mel_bins", 64);
  expect_mentions(refusal(ErrorCode::bad_file), {"config.json", "64 mel bins"});
}

TEST_F(OpenModel, RefusesAlignmentHeadsThatAreNotThere) {
  copy("deep_decoder", "ct2");
  for (const auto& pairs : {R"([[3, 0]])", R"([[0, 2]])", R"([[0]])", R"([["a", 0]])"}) {
    set_config("alignment_heads", nlohmann::json::parse(pairs));
    expect_mentions(refusal(ErrorCode::bad_file), {"config.json", "alignment_heads"});
  }
}

TEST_F(OpenModel, RefusesWeightsThatDoNotFitTheConfig) {
  set_config("decoder_layers", 4);
  expect_mentions(refusal(ErrorCode::bad_file),
                  {"model.safetensors", "decoder.layers.3.self.norm.weight"});
  set_config("decoder_layers", 2);
  expect_mentions(refusal(ErrorCode::bad_file), {"model.safetensors", "decoder.layers.2."});
}

TEST_F(OpenModel, RefusesAMissingTensor) {
  edit_tensor("model.decoder.layers.1.encoder_attn.v_proj.bias", "model.decoder.other", {});
  expect_mentions(refusal(ErrorCode::bad_file), {"decoder.layers.1.cross.v.bias"});
}

TEST_F(OpenModel, RefusesATensorNobodyReads) {
  // The encoder's positions can be computed, so only the new name is wrong.
  edit_tensor("model.encoder.embed_positions.weight", "model.encoder.adapter.weight", {});
  expect_mentions(refusal(ErrorCode::bad_file), {"encoder.adapter.weight"});
}

TEST_F(OpenModel, RefusesAWrongShape) {
  const std::string name = "model.encoder.layers.0.self_attn.q_proj.weight";
  edit_tensor(name, name, {16, 64});
  expect_mentions(refusal(ErrorCode::bad_file), {"encoder.layers.0.self.q.weight", "16", "64"});
}

TEST_F(OpenModel, TakesAHeadOfItsOwn) {
  // 160 x 32 is the shape of both, so the embedding's bytes serve as either.
  edit_tensor("model.decoder.embed_tokens.weight", "proj_out.weight", {});
  expect_mentions(refusal(ErrorCode::bad_file), {"decoder.embed.weight"});
}

// A copy of a golden language model, to be damaged.
class OpenLanguageModel : public OpenModel {
 protected:
  void SetUp() override { copy_lm("llama"); }
  void copy_lm(const std::string& model) {
    fs::remove_all(directory_);
    fs::copy(fs::path(SLIM_TEST_DATA) / "golden" / "lm" / model, directory_);
  }
};

TEST_F(OpenLanguageModel, ReadsSizesFromAConfig) {
  const ModelSpec spec = open_model(directory_).spec;
  EXPECT_EQ(spec.family, "llama");
  EXPECT_FALSE(spec.has_encoder());
  EXPECT_EQ(spec.decoder.layers, 2);
  EXPECT_EQ(spec.decoder.rope.width, 8);
  EXPECT_EQ(attention_layers(spec).size(), 2U);
  copy_lm("mistral");
  EXPECT_EQ(open_model(directory_).spec.decoder.self(true, 1).window, 40);
  set_config("sliding_window", nullptr);
  EXPECT_EQ(open_model(directory_).spec.decoder.self(true, 1).window, 0);
}

TEST_F(OpenLanguageModel, RefusesConfigValuesItDoesNotKnow) {
  const std::vector<std::pair<std::string, nlohmann::json>> wrong = {
      {"hidden_act", "mish"},   {"num_key_value_heads", 3},
      {"head_dim", 7},          {"rms_norm_eps", "small"},
      {"attention_bias", 1},    {"quantization_config", {{"bits", 4}}},
      {"num_hidden_layers", 0}, {"max_position_embeddings", 1e30}};
  for (const auto& [field, value] : wrong) {
    copy_lm("llama");
    set_config(field, value);
    SCOPED_TRACE(field + " = " + value.dump());
    expect_mentions(refusal(ErrorCode::bad_file), {"config.json"});
  }
  copy_lm("llama");
  set_config("rope_parameters", {{"rope_type", "spiral"}});
  expect_mentions(refusal(ErrorCode::unsupported_model), {"config.json", "'spiral'"});
}

TEST_F(OpenLanguageModel, IgnoresBuffersThatMeanNothingAndNoOthers) {
  // Of gpt_neox: a bias vector of the final norm's shape becomes a buffer, and is then missing.
  copy_lm("gpt_neox");
  const std::string bias = "gpt_neox.layers.0.attention.dense.bias";
  edit_tensor(bias, "gpt_neox.layers.0.attention.masked_bias", {});
  expect_mentions(refusal(ErrorCode::bad_file), {"decoder.layers.0.self.out.bias", "missing"});
  copy_lm("gpt_neox");
  set_config("num_hidden_layers", 1);
  expect_mentions(refusal(ErrorCode::bad_file), {"decoder.layers.1."});
}

}  // namespace
}  // namespace slim::test
