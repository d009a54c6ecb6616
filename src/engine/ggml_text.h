// The tokenizer of a ggml file: its list of tokens, and the steering tokens that it leaves out.
// They follow the listed ones, in openai-whisper's order:
//   <|endoftext|> <|startoftranscript|>, a token for each language, <|translate|> <|transcribe|>
//   <|startoflm|> <|startofprev|> <|nospeech|> <|notimestamps|>, and <|0.00|> to <|30.00|>
// so that the size of the vocabulary says how many languages there are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "text/tokenizer.h"
#include "weights/ggml.h"

namespace slim {

// Throws Error{bad_file}, with `place`, for tokens that are malformed or repeated, and
// Error{unsupported_model} where the vocabulary has no room for the steering tokens, or the file's
// mel filters are not the ones that spectrograms here are made with.
std::shared_ptr<const Tokenizer> read_ggml_tokenizer(const GgmlExtras& extras, int64_t vocabulary,
                                                     const std::string& place);
// The same tokenizer as Hugging Face's tokenizer.json. Throws likewise.
std::string ggml_tokenizer_json(const GgmlExtras& extras, int64_t vocabulary,
                                const std::string& place);

}  // namespace slim
