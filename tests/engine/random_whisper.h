// A tiny Whisper with random weights, written as a Hugging Face directory by the test itself: small
// enough to run everywhere, with every part of a real one. Windows are 2 s (100 positions), the
// decoder has 64 positions, the tokenizer is the tiny one of tests/golden/text.
#pragma once

#include <filesystem>
#include <string>

namespace slim {

// A directory of its own that is removed with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct RandomWhisper {
  int width = 64;
  int heads = 2;
  int encoder_layers = 1;
  int decoder_layers = 2;
  int positions = 100;
  int text_positions = 64;
  bool multilingual = false;
};

// Writes config.json, generation_config.json, model.safetensors and tokenizer.json.
void write_random_whisper(const std::filesystem::path& directory, const RandomWhisper& shape);

}  // namespace slim
