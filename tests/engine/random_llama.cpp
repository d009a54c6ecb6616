// Names and shapes as Transformers saves a LlamaForCausalLM.
#include "engine/random_llama.h"

#include <fstream>

#include "engine/random_weights.h"

namespace slim {

void write_random_llama(const std::filesystem::path& directory, const RandomLlama& shape) {
  std::filesystem::create_directories(directory);
  const auto tokenizer =
      std::filesystem::path(SLIM_TEST_DATA) / "golden/text/tiny_gpt2_tokenizer.json";
  std::filesystem::copy_file(tokenizer, directory / "tokenizer.json");
  const int vocabulary = tokenizer_size(tokenizer);
  const int width = shape.width;
  const int inner = 2 * width;
  const int keys = width / shape.heads * shape.key_heads;
  nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                           {"model_type", "llama"},
                           {"hidden_act", "silu"},
                           {"vocab_size", vocabulary},
                           {"hidden_size", width},
                           {"intermediate_size", inner},
                           {"num_hidden_layers", shape.layers},
                           {"num_attention_heads", shape.heads},
                           {"num_key_value_heads", shape.key_heads},
                           {"max_position_embeddings", shape.context},
                           {"rms_norm_eps", 1e-5},
                           {"rope_theta", 10000.0},
                           {"attention_bias", false},
                           {"mlp_bias", false},
                           {"tie_word_embeddings", true},
                           {"eos_token_id", vocabulary - 1}};
  if (shape.original > 0) {
    // Far apart, so that mixing the two is no rounding error.
    const auto pairs = static_cast<size_t>(width / shape.heads / 2);
    config["original_max_position_embeddings"] = shape.original;
    config["rope_scaling"] = {{"type", "longrope"},
                              {"short_factor", std::vector<double>(pairs, 1.0)},
                              {"long_factor", std::vector<double>(pairs, 5.0)}};
  }
  if (shape.begins) config["bos_token_id"] = 0;
  std::ofstream(directory / "config.json") << config.dump(2);
  nlohmann::json tokenizer_config = nlohmann::json::object();
  if (!shape.chat_template.empty()) tokenizer_config["chat_template"] = shape.chat_template;
  std::ofstream(directory / "tokenizer_config.json") << tokenizer_config.dump(2);

  RandomWeights file;
  file.add("model.embed_tokens.weight", {vocabulary, width}, 0.5F);
  for (int i = 0; i < shape.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    // Large enough that attention is far from uniform.
    file.add(layer + "self_attn.q_proj.weight", {width, width}, 0.3F);
    file.add(layer + "self_attn.k_proj.weight", {keys, width}, 0.3F);
    file.add(layer + "self_attn.v_proj.weight", {keys, width}, 0.3F);
    file.add(layer + "self_attn.o_proj.weight", {width, width}, 0.3F);
    file.add(layer + "mlp.gate_proj.weight", {inner, width}, 0.2F);
    file.add(layer + "mlp.up_proj.weight", {inner, width}, 0.2F);
    file.add(layer + "mlp.down_proj.weight", {width, inner}, 0.2F);
    file.add(layer + "input_layernorm.weight", {width}, 0.1F, 1);
    file.add(layer + "post_attention_layernorm.weight", {width}, 0.1F, 1);
  }
  file.add("model.norm.weight", {width}, 0.1F, 1);
  file.write(directory / "model.safetensors");
}

}  // namespace slim
