// The tokenizer of a GGUF file and what ends its texts, from its keys (tokenizer.ggml.*).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/translation_tokens.h"
#include "text/tokenizer.h"
#include "weights/gguf_metadata.h"

namespace slim {

// Throws Error{bad_file} naming file and key, and what gguf_tokenizer() throws.
std::shared_ptr<const Tokenizer> read_gguf_tokenizer(const GgufMetadata& metadata);

// The tokens that end a turn or a message, beside the one that ends a text: by their keys, and,
// because converters write one end at most for many models that have two, special tokens by the
// names that chat models in use give them. In no order. Throws Error{bad_file} for ids that are no
// tokens.
std::vector<int32_t> read_gguf_ends(const GgufMetadata& metadata, const Tokenizer& tokenizer);

// What config.json would say of an encoder-decoder model.
TranslationFiles read_gguf_translation(const GgufMetadata& metadata);

}  // namespace slim
