// Names and shapes as Transformers saves a WhisperForConditionalGeneration.
#include "engine/random_whisper.h"

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

namespace slim {
namespace {

class SafetensorsWriter {
 public:
  // Normal values of this deviation around `mean`.
  void add(const std::string& name, const std::vector<int64_t>& shape, float deviation,
           float mean = 0) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    std::normal_distribution<float> normal(mean, deviation);
    const size_t begin = data_.size() * sizeof(float);
    for (int64_t i = 0; i < count; ++i) {
      data_.push_back(deviation > 0 ? normal(random_) : mean);
    }
    header_[name] = {{"dtype", "F32"},
                     {"shape", shape},
                     {"data_offsets", {begin, data_.size() * sizeof(float)}}};
  }

  void write(const std::filesystem::path& path) const {
    std::string header = header_.dump();
    header.resize((header.size() + 7) / 8 * 8, ' ');
    const uint64_t size = header.size();
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&size), 8);
    file << header;
    file.write(reinterpret_cast<const char*>(data_.data()),
               static_cast<std::streamsize>(data_.size() * sizeof(float)));
  }

 private:
  nlohmann::json header_ = nlohmann::json::object();
  std::vector<float> data_;
  std::mt19937 random_{7};
};

void add_norm(SafetensorsWriter& file, const std::string& name, int width) {
  file.add(name + ".weight", {width}, 0.1F, 1);
  file.add(name + ".bias", {width}, 0.1F);
}

void add_attention(SafetensorsWriter& file, const std::string& name, int width) {
  // Large enough that attention is far from uniform.
  for (const char* part : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
    file.add(name + "." + part + ".weight", {width, width}, 0.3F);
    if (std::string(part) != "k_proj") file.add(name + "." + part + ".bias", {width}, 0.1F);
  }
}

void add_stack(SafetensorsWriter& file, const std::string& side, int layers,
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

int tokenizer_size(const std::filesystem::path& path) {
  std::ifstream file(path);
  const nlohmann::json json = nlohmann::json::parse(file);
  int size = 0;
  for (const auto& [token, id] : json["model"]["vocab"].items()) {
    size = std::max(size, id.get<int>() + 1);
  }
  for (const auto& token : json["added_tokens"]) size = std::max(size, token["id"].get<int>() + 1);
  return size;
}

}  // namespace

void write_random_whisper(const std::filesystem::path& directory, const RandomWhisper& shape) {
  std::filesystem::create_directories(directory);
  const auto tokenizer =
      std::filesystem::path(SLIM_TEST_DATA) / "golden/text/tiny_whisper_tokenizer.json";
  std::filesystem::copy_file(tokenizer, directory / "tokenizer.json");
  const int vocabulary = tokenizer_size(tokenizer);
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

  SafetensorsWriter file;
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
