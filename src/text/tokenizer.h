// Tokenizer: BPE over bytes or characters as Hugging Face's tokenizer.json, sentencepiece's
// tokenizer.model, GPT-2's vocab.json with merges.txt, and GGUF files describe it. Ids equal those
// of the `tokenizers` library (of sentencepiece for its files). Immutable after load; thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/token_decoder.h"

namespace slim {

class Tokenizer {
 public:
  // From a model's folder: its tokenizer.json, else its tokenizer.model, else its vocab.json and
  // merges.txt; tokenizer_config.json and a chat template's own file are read too. From a file:
  // that file alone. Throws Error{bad_file} naming file and field; Error{unsupported_model} naming
  // the component that is not known here.
  static std::shared_ptr<const Tokenizer> load(const std::filesystem::path& path);
  // What the decoder of a model's folder writes in, where its target.spm says that in other pieces
  // than its source.spm; in a vocabulary of their own, too, if there is a target_vocab.json. Null
  // where one tokenizer is for both. Throws as load() does.
  static std::shared_ptr<const Tokenizer> load_target(const std::filesystem::path& folder);

  // The ids of UTF-8 text. Special tokens that appear in the text are recognised only if `specials`
  // (else they are ordinary characters). The template's tokens, such as one that begins the text,
  // stand around it only if `add_template`. Invalid UTF-8 is encoded byte by byte. Throws
  // Error{bad_request} for 2 GiB and more.
  std::vector<int32_t> encode(std::string_view text, bool specials = false,
                              bool add_template = false) const;
  // Whether a text is special tokens, one at least, and white space alone.
  bool has_specials_alone(std::string_view text) const;
  // The bytes of ids; special tokens are left out unless `specials`. Ids out of range throw
  // Error{bad_request}. Bytes that are not UTF-8 stay as they are.
  std::string decode(const std::vector<int32_t>& ids, bool specials = false) const;

  int32_t size() const noexcept;                            // one above the largest id
  std::optional<int32_t> id(std::string_view token) const;  // by content ("<|en|>")
  bool has(int32_t id) const noexcept;                      // ids may have gaps
  bool special(int32_t id) const;
  // What this id stands for as bytes in the midst of a text; the literal content for added tokens.
  std::string_view bytes(int32_t id) const;
  // The token as its file writes it: what a chat template is given.
  std::string_view content(int32_t id) const;

  // The tokens that begin and end a text, where the model's files name them.
  std::optional<int32_t> bos() const noexcept;
  std::optional<int32_t> eos() const noexcept;
  // The source of the model's chat template, where it has one.
  const std::optional<std::string>& chat_template() const noexcept;

  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);
  ~Tokenizer();

 private:
  friend class Detokenizer;
  std::unique_ptr<const Parts> parts_;
};

// Turns ids into text as they come: holds back bytes until they complete a UTF-8 character, and
// replaces what can never become one by U+FFFD (one per maximal ill-formed part, as Python's
// bytes.decode(errors="replace") does). One per stream.
class Detokenizer {
 public:
  // `continues`: the stream goes on after other text, so a space in front of it is kept.
  explicit Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool continues = false);
  std::string push(int32_t id);  // special tokens give ""
  std::string finish();          // what was held back, as U+FFFD

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  TokenDecoder::Text text_;
  std::string held_;
};

// The same replacement over a whole string.
std::string valid_utf8(std::string_view bytes);

}  // namespace slim
