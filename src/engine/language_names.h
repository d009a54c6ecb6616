// English names of the languages that Whisper knows, as openai-whisper's command takes them beside
// codes.
#pragma once

#include <string>
#include <string_view>

namespace slim {

// "fr" for "French", "FR" and "fr"; what is no name in lower case. Whether a model knows the
// language is its tokenizer's to say.
std::string language_code(std::string_view name);

}  // namespace slim
