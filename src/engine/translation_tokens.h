// TranslationTokens: from a text to what an encoder reads, what its decoder begins with, and from
// tokens to text, by the files beside a model. Languages are told in five ways:
//
//   none      BART, Pegasus, bilingual Marian    text </s>
//   in front  NLLB, M2M100, mBART-50             source text </s>       decoder: start target
//   behind    mBART, old NLLB                    text </s> source       decoder: start target
//   target    Marian with several targets        >>target<< text </s>   decoder: start
//   task      T5                                 "translate English to German: " text </s>
//
// Which it is, the special tokens of the tokenizer show: "__en__", "eng_Latn", "en_XX", ">>fra<<";
// or the tasks that config.json lists.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/tokenizer.h"

namespace slim {

// The codes of languages; "" where none is told.
struct Route {
  std::string source;
  std::string target;
};

// What stands beside a model, or what its own file says in the same words.
struct TranslationFiles {
  // Those of the directory; a missing one is an empty object.
  static TranslationFiles read(const std::filesystem::path& directory);

  JsonObject tokenizer_config;
  JsonObject generation;
  JsonObject config;
  std::string place;  // for messages
};

class TranslationTokens {
 public:
  // `target` is null where one tokenizer is for both sides; `vocabulary` is the decoder's. Throws
  // Error{bad_file} for ids outside it, and where nothing says which token the decoder starts with
  // or how a text ends.
  TranslationTokens(std::shared_ptr<const Tokenizer> tokenizer, TranslationFiles files,
                    int64_t vocabulary, std::shared_ptr<const Tokenizer> target = nullptr);

  // Throws Error{bad_request} for a language that the model does not know, and for one that is
  // missing, with the list of those it knows.
  void check(const Route& route) const;

  // The tokens of a source; none for a text without any. Special tokens in it are recognised only
  // if `specials`. Throws Error{bad_request} for bytes that are not UTF-8, saying where, and,
  // whatever `specials`, for a text that is special tokens (and Marian's ">>fra<<") alone.
  std::vector<int32_t> source(std::string_view text, const Route& route, bool specials) const;
  // Whether check() wants both, whatever the text.
  bool asks_for_languages() const noexcept {
    return place_ == Place::in_front || place_ == Place::behind;
  }
  // What the decoder is given first: the start token, and what is forced after it, which counts as
  // written: begin().size() - 1 tokens.
  std::vector<int32_t> begin(const Route& route) const;
  // A part of the target's text, without what stands around it. Throws Error{bad_request} for bytes
  // that are not UTF-8.
  std::vector<int32_t> target(std::string_view text) const;
  // Valid UTF-8, without special tokens, tokens that the tokenizer does not know, and white space
  // at its ends.
  std::string text(const std::vector<int32_t>& tokens) const;

  // Of what the decoder writes.
  const std::shared_ptr<const Tokenizer>& target_tokenizer() const noexcept { return target_; }
  const std::vector<int32_t>& ends() const noexcept { return ends_; }
  bool is_end(int32_t token) const;
  // The codes of all languages, and the pairs of those that are not translated freely.
  std::vector<std::string> languages() const;
  const std::vector<Route>& pairs() const noexcept { return pairs_; }
  const TranslationFiles& files() const noexcept { return files_; }
  // What config.json says of the task that is a route's; none if it has no tasks.
  std::optional<JsonObject> task(const Route& route) const;

 private:
  enum class Place : uint8_t { none, in_front, behind, target, task };
  struct Language {
    std::string code;
    int32_t id;
  };

  void find_languages();
  void find_tasks();
  void find_ends(int64_t vocabulary);
  bool has_specials_alone(std::string_view text) const;
  const Language* find(std::string_view code) const;
  void check_source(const std::string& code) const;
  void require_language(std::string_view code, const char* which) const;
  [[noreturn]] void refuse_language(const std::string& why, std::string_view code) const;

  std::shared_ptr<const Tokenizer> tokenizer_;  // of sources
  std::shared_ptr<const Tokenizer> target_;
  TranslationFiles files_;
  Place place_ = Place::none;
  std::vector<Language> languages_;
  std::vector<Route> pairs_;
  std::optional<JsonObject> tasks_;
  std::optional<int32_t> start_;  // none: the target's language is the start
  std::optional<int32_t> forced_;
  std::vector<int32_t> ends_;  // ascending
  int32_t end_ = 0;            // of a source
};

}  // namespace slim
