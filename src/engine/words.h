// Words: a window's tokens put together to words with times and probabilities, as openai-whisper
// does it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/token_times.h"
#include "text/tokenizer.h"

namespace slim {

struct TimedWord {
  std::string text;        // with its leading space; "" once it was merged into a neighbour
  size_t first_token = 0;  // of the text's tokens
  double start = 0;        // seconds from the window's start
  double end = 0;
  double probability = 0;  // mean of its tokens'
};

// Languages written without spaces: there every character, or run of them that is one token, is a
// word.
bool written_without_spaces(std::string_view language);

// Words begin where a token begins with a space or is punctuation; `by_character`: wherever a token
// ends a character. Bytes that are no character are U+FFFD.
std::vector<TimedWord> split_words(const Tokenizer& tokenizer, std::span<const int32_t> text,
                                   const TokenTimes& times, bool by_character);

// Marks of `prepended` that stand after a space join the word after them, marks of `appended` the
// word before them; times and probability are those of the word. (A mark is any part of the string,
// as in openai-whisper.)
void merge_punctuation(std::vector<TimedWord>& words, std::string_view prepended,
                       std::string_view appended);

}  // namespace slim
