// Names and shapes as Transformers saves a WhisperForConditionalGeneration.
#include "engine/random_whisper.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/random_weights.h"

namespace slim {
namespace {

void add_norm(RandomWeights& file, const std::string& name, int width) {
  file.add(name + ".weight", {width}, 0.1F, 1);
  file.add(name + ".bias", {width}, 0.1F);
}

void add_attention(RandomWeights& file, const std::string& name, int width) {
  // Large enough that attention is far from uniform.
  for (const char* part : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
    file.add(name + "." + part + ".weight", {width, width}, 0.3F);
    if (std::string(part) != "k_proj") file.add(name + "." + part + ".bias", {width}, 0.1F);
  }
}

void add_stack(RandomWeights& file, const std::string& side, int layers,
               const RandomWhisper& shape) {
  const int width = shape.width;
  for (int i = 0; i < layers; ++i) {
    const std::string layer = "model." + side + ".layers." + std::to_string(i);
    add_attention(file, layer + ".self_attn", width);
    add_norm(file, layer + ".self_attn_layer_norm", width);
    if (side == "decoder") {
      add_attention(file, layer + ".encoder_attn", width);
      add_norm(file, layer + ".encoder_attn_layer_norm", width);
    }
    file.add(layer + ".fc1.weight", {2 * width, width}, 0.2F);
    file.add(layer + ".fc1.bias", {2 * width}, 0.1F);
    file.add(layer + ".fc2.weight", {width, 2 * width}, 0.2F);
    file.add(layer + ".fc2.bias", {width}, 0.1F);
    add_norm(file, layer + ".final_layer_norm", width);
  }
  add_norm(file, "model." + side + ".layer_norm", width);
}

}  // namespace

void write_random_whisper(const std::filesystem::path& directory, const RandomWhisper& shape) {
  std::filesystem::create_directories(directory);
  const auto tokenizer =
      std::filesystem::path(SLIM_TEST_DATA) / "golden/text/tiny_whisper_tokenizer.json";
  if (shape.vocabulary == 0) {
    std::filesystem::copy_file(tokenizer, directory / "tokenizer.json");
  }
  const int vocabulary = shape.vocabulary != 0 ? shape.vocabulary : tokenizer_size(tokenizer);
  const nlohmann::json config = {{"architectures", {"WhisperForConditionalGeneration"}},
                                 {"model_type", "whisper"},
                                 {"activation_function", "gelu"},
                                 {"scale_embedding", false},
                                 {"vocab_size", vocabulary},
                                 {"num_mel_bins", 80},
                                 {"d_model", shape.width},
                                 {"encoder_layers", shape.encoder_layers},
                                 {"encoder_attention_heads", shape.heads},
                                 {"encoder_ffn_dim", 2 * shape.width},
                                 {"decoder_layers", shape.decoder_layers},
                                 {"decoder_attention_heads", shape.heads},
                                 {"decoder_ffn_dim", 2 * shape.width},
                                 {"max_source_positions", shape.positions},
                                 {"max_target_positions", shape.text_positions}};
  std::ofstream(directory / "config.json") << config.dump(2);
  std::ofstream(directory / "generation_config.json")
      << nlohmann::json{{"is_multilingual", shape.multilingual}}.dump();

  RandomWeights file;
  const int width = shape.width;
  file.add("model.encoder.conv1.weight", {width, 80, 3}, 0.1F);
  file.add("model.encoder.conv1.bias", {width}, 0.1F);
  file.add("model.encoder.conv2.weight", {width, width, 3}, 0.1F);
  file.add("model.encoder.conv2.bias", {width}, 0.1F);
  file.add("model.encoder.embed_positions.weight", {shape.positions, width}, 0.1F);
  add_stack(file, "encoder", shape.encoder_layers, shape);
  file.add("model.decoder.embed_tokens.weight", {vocabulary, width}, 0.2F);
  file.add("model.decoder.embed_positions.weight", {shape.text_positions, width}, 0.3F);
  add_stack(file, "decoder", shape.decoder_layers, shape);
  file.write(directory / "model.safetensors");
}

}  // namespace slim
