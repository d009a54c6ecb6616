// A speech model of a directory as whisper.cpp's converter writes it.
#pragma once

#include <filesystem>
#include <string>

namespace slim {

// The bytes of the ggml file: matrices f16 where the directory's are, all else f32. Its tokens are
// those of the directory's tokenizer, or, without one, the single bytes.
std::string ggml_of(const std::filesystem::path& directory);

}  // namespace slim
