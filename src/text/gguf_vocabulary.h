// The vocabulary in a GGUF file, as its metadata has it (tokenizer.ggml.*), and the Tokenizer made
// from it. The reader of GGUF files fills the struct.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace slim {

struct GgufVocabulary {
  std::string model;  // "llama": sentencepiece's BPE; "t5": its unigrams; "gpt2": BPE over bytes
  std::string pre;    // how "gpt2" cuts text into words; "" if not given
  std::vector<std::string> tokens;       // by id
  std::vector<float> scores;             // of "llama" and "t5"; one a token
  std::vector<int32_t> token_types;      // one a token, or none: then all are normal
  std::vector<std::string> merges;       // of "gpt2": "a b"
  std::optional<int32_t> bos, eos, unk;  // ids
  std::optional<bool> add_bos, add_eos;  // not given: as the kind of vocabulary has it
  std::optional<bool> add_space_prefix;
  std::optional<bool> remove_extra_whitespaces;
  std::string characters;     // of "t5": the table (character_map.h), "" if there is none
  std::string chat_template;  // "" if there is none
};

// Ids equal those of the Hugging Face tokenizer the file was made from. Throws
// Error{unsupported_model} naming a model or pre that is not known here, Error{bad_file} for lists
// of unequal length, ids out of range and tokens or merges that are malformed or repeated. `place`
// is the file.
std::shared_ptr<const Tokenizer> gguf_tokenizer(const GgufVocabulary& vocabulary,
                                                const std::string& place);

}  // namespace slim
