// The tokenizer of a GGUF file, from its keys (tokenizer.ggml.*).
#pragma once

#include <memory>

#include "text/tokenizer.h"
#include "weights/gguf_metadata.h"

namespace slim {

// Throws Error{bad_file} naming file and key, and what gguf_tokenizer() throws.
std::shared_ptr<const Tokenizer> read_gguf_tokenizer(const GgufMetadata& metadata);

}  // namespace slim
