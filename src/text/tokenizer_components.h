// The readers of tokenizer.json's components: normalizer, pre_tokenizer, decoder, post_processor.
// Each throws Error{unsupported_model} naming a type or setting that is not known here, and
// Error{bad_file} for what is malformed.
#pragma once

#include <vector>

#include "base/json.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/token_decoder.h"
#include "text/vocabulary.h"

namespace slim {

[[noreturn]] void refuse_field(const JsonObject& document, const std::string& field,
                               const std::string& text);

Normalizer read_normalizer(const JsonObject& document);

struct PretokenizerSettings {
  Pretokenizer pretokenizer;
  bool byte_level = false;  // words are then written in the alphabet of bytes
};
PretokenizerSettings read_pretokenizer(const JsonObject& document);

TokenDecoder read_decoder(const JsonObject& document);

// What stands around a single text.
struct TextTemplate {
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;
};
TextTemplate read_template(const JsonObject& document, const Vocabulary& vocabulary);

}  // namespace slim
