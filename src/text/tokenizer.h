// Tokenizer: byte-level BPE as a Hugging Face tokenizer.json describes it (Whisper, GPT-2), with
// added and special tokens. Ids equal those of the `tokenizers` library. Immutable after load;
// thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace slim {

class Tokenizer {
 public:
  // Throws Error{bad_file} naming file and field; Error{unsupported_model} for a tokenizer.json of
  // another kind (not byte-level BPE), naming what it found.
  static std::shared_ptr<const Tokenizer> load(const std::filesystem::path& path);

  // The ids of UTF-8 text, without template tokens (<|startoftranscript|>). Special tokens that
  // appear in the text are recognised only if `specials` (else they are ordinary characters).
  // Invalid UTF-8 is encoded byte by byte.
  std::vector<int32_t> encode(std::string_view text, bool specials = false) const;
  // The bytes of ids; special tokens are left out unless `specials`. Ids out of range throw
  // Error{bad_request}. Bytes that are not UTF-8 stay as they are.
  std::string decode(const std::vector<int32_t>& ids, bool specials = false) const;

  int32_t size() const noexcept;                            // one above the largest id
  std::optional<int32_t> id(std::string_view token) const;  // by content ("<|en|>")
  bool special(int32_t id) const;
  // What this id stands for as bytes; the literal content for added tokens.
  std::string_view bytes(int32_t id) const;

  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);
  ~Tokenizer();

 private:
  std::unique_ptr<const Parts> parts_;
};

// Turns ids into text as they come: holds back bytes until they complete a UTF-8 character, and
// replaces what can never become one by U+FFFD (one per maximal ill-formed part, as Python's
// bytes.decode(errors="replace") does). One per stream.
class Detokenizer {
 public:
  explicit Detokenizer(std::shared_ptr<const Tokenizer> tokenizer);
  std::string push(int32_t id);  // special tokens give ""
  std::string finish();          // what was held back, as U+FFFD

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::string held_;
};

// The same replacement over a whole string.
std::string valid_utf8(std::string_view bytes);

}  // namespace slim
