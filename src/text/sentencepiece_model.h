// The reader of sentencepiece's .model files (a protobuf message, ModelProto) of BPE over
// characters and of unigrams. Debian's libsentencepiece 0.1.97 is not used: a hostile file makes it
// write out of bounds (CVE-2026-1260, fixed in 0.2.1).
#pragma once

#include <string>
#include <string_view>

#include "text/piece_tokenizer.h"

namespace slim {

// Throws Error{bad_file} with `place` for a file that is cut or malformed, Error{unsupported_model}
// for models of whole words or single characters and for other ways of writing spaces.
PieceModel read_sentencepiece(std::string_view bytes, const std::string& place);

}  // namespace slim
