// A tiny Whisper with random weights, written as a Hugging Face directory by the test itself: small
// enough to run everywhere, with every part of a real one. Windows are 2 s (100 positions), the
// decoder has 64 positions, the tokenizer is the tiny one of tests/golden/text.
#pragma once

#include <filesystem>

namespace slim {

struct RandomWhisper {
  int width = 64;
  int heads = 2;
  int encoder_layers = 1;
  int decoder_layers = 2;
  int positions = 100;
  int text_positions = 64;
  bool multilingual = false;
  int vocabulary = 0;  // 0: the tokenizer's; else there is no tokenizer.json
};

// Writes config.json, generation_config.json, model.safetensors and tokenizer.json (in f32).
void write_random_whisper(const std::filesystem::path& directory, const RandomWhisper& shape);

}  // namespace slim
