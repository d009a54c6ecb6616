// A tiny Llama with random weights, written as a Hugging Face directory by the test itself. The
// tokenizer is the tiny GPT-2 one of tests/golden/text; its last token ends a text.
#pragma once

#include <filesystem>
#include <string>

namespace slim {

struct RandomLlama {
  int width = 64;
  int heads = 4;
  int key_heads = 4;
  int layers = 2;
  int context = 256;
  int original = 0;           // longrope: other angles beyond so many positions; 0: none
  bool begins = false;        // config names a token that begins a text
  std::string chat_template;  // in tokenizer_config.json, if not empty
};

// Writes config.json, model.safetensors, tokenizer.json and tokenizer_config.json.
void write_random_llama(const std::filesystem::path& directory, const RandomLlama& shape);

}  // namespace slim
