// The rules are those of Transformers' tokenizers and of its generate().
#include "engine/translation_tokens.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "slim/error.h"
#include "text/template_strings.h"
#include "text/utf8.h"

namespace slim {
namespace {

JsonObject read_or_empty(const std::filesystem::path& path) {
  return std::filesystem::exists(path) ? JsonObject::read(path)
                                       : JsonObject::parse("{}", path.string());
}

std::optional<std::string> string_of(const JsonObject& object, std::string_view field) {
  if (!object.has(field) || !object.is_string(field)) return std::nullopt;
  return object.string(field);
}

// An id, or several, of the first of these files that has some.
std::vector<int32_t> ids_of(std::initializer_list<const JsonObject*> files, std::string_view field,
                            int64_t vocabulary) {
  for (const JsonObject* file : files) {
    if (!file->has(field)) continue;
    const auto ids = file->is_list(field)
                         ? file->integers(field, 0, vocabulary - 1)
                         : std::vector<int64_t>{file->integer(field, 0, vocabulary - 1)};
    if (!ids.empty()) return {ids.begin(), ids.end()};
  }
  return {};
}

bool all_in(std::string_view text, char first, char last) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [&](char c) { return c >= first && c <= last; });
}

// "eng_Latn": a language and its script.
bool is_scripted(std::string_view token) {
  return token.size() == 8 && token[3] == '_' && all_in(token.substr(0, 3), 'a', 'z') &&
         all_in(token.substr(4, 1), 'A', 'Z') && all_in(token.substr(5), 'a', 'z');
}

// "en_XX": a language and a country.
bool is_regional(std::string_view token) {
  return token.size() == 5 && token[2] == '_' && all_in(token.substr(0, 2), 'a', 'z') &&
         all_in(token.substr(3), 'A', 'Z');
}

// "__en__" or ">>en<<"
std::string_view between(std::string_view token, std::string_view open, std::string_view close) {
  const size_t around = open.size() + close.size();
  if (token.size() <= around || !token.starts_with(open) || !token.ends_with(close)) return {};
  return token.substr(open.size(), token.size() - around);
}

void require_utf8(std::string_view text, const char* place) {
  const size_t valid = utf8_prefix(text);
  if (valid == text.size()) return;
  throw Error(ErrorCode::bad_request,
              fmt::format("The text is not UTF-8: its byte {} begins no character.", valid), place);
}

constexpr size_t kFewLanguages = 30;  // mBART has 25, mBART-50 52

}  // namespace

TranslationFiles TranslationFiles::read(const std::filesystem::path& directory) {
  return {read_or_empty(directory / "tokenizer_config.json"),
          read_or_empty(directory / "generation_config.json"),
          read_or_empty(directory / "config.json"), directory.string()};
}

TranslationTokens::TranslationTokens(std::shared_ptr<const Tokenizer> tokenizer,
                                     TranslationFiles files, int64_t vocabulary,
                                     std::shared_ptr<const Tokenizer> target)
    : tokenizer_(std::move(tokenizer)),
      target_(target != nullptr ? std::move(target) : tokenizer_),
      files_(std::move(files)) {
  const JsonObject& generation = files_.generation;
  const JsonObject& config = files_.config;
  const auto refuse = [&](const std::string& text) {
    throw Error(ErrorCode::bad_file, text, files_.place);
  };
  find_ends(vocabulary);
  find_languages();
  const std::vector<int32_t> usual = tokenizer_->encode("", false, true);
  if (!asks_for_languages() && (usual.empty() || usual.back() != end_)) {
    refuse("The tokenizer's files do not say what stands around a text; a tokenizer.json would.");
  }
  const auto starts = ids_of({&generation, &config}, "decoder_start_token_id", vocabulary);
  const auto begins = ids_of({&generation, &config}, "bos_token_id", vocabulary);
  const auto forced = ids_of({&generation, &config}, "forced_bos_token_id", vocabulary);
  if (!starts.empty()) start_ = starts.front();
  // CTranslate2's config names it.
  const auto name = string_of(config, "decoder_start_token");
  if (starts.empty() && name) start_ = target_->id(*name);
  if (!start_ && !begins.empty() && place_ != Place::behind) start_ = begins.front();
  if (!start_ && place_ != Place::behind) {
    refuse("No file says which token the decoder starts with (decoder_start_token_id).");
  }
  if (!forced.empty()) forced_ = forced.front();
}

void TranslationTokens::find_ends(int64_t vocabulary) {
  ends_ = ids_of({&files_.generation, &files_.config}, "eos_token_id", vocabulary);
  const auto end_of = [](const Tokenizer& one) { return one.eos() ? one.eos() : one.id("</s>"); };
  const std::optional<int32_t> own = end_of(*target_);
  if (ends_.empty() && own) ends_.push_back(*own);
  if (ends_.empty()) {
    throw Error(ErrorCode::bad_file, "No file says which token ends a text (eos_token_id).",
                files_.place);
  }
  end_ = end_of(*tokenizer_).value_or(ends_.front());
  std::sort(ends_.begin(), ends_.end());
}

void TranslationTokens::find_languages() {
  const JsonObject& tokenizer_config = files_.tokenizer_config;
  std::vector<Language> scripted, regional, marked, targets;
  for (int32_t id = 0; id < tokenizer_->size(); ++id) {
    if (!tokenizer_->has(id)) continue;
    const std::string_view token = tokenizer_->content(id);
    const std::string_view target = between(token, ">>", "<<");
    if (!target.empty()) targets.push_back({std::string(target), id});
    if (!tokenizer_->special(id)) continue;
    const std::string_view mark = between(token, "__", "__");
    if (!mark.empty()) marked.push_back({std::string(mark), id});
    if (is_scripted(token)) scripted.push_back({std::string(token), id});
    if (is_regional(token)) regional.push_back({std::string(token), id});
  }
  const std::string kind = string_of(tokenizer_config, "tokenizer_class")
                               .value_or(string_of(files_.config, "tokenizer_class").value_or(""));
  if (!marked.empty()) {
    place_ = Place::in_front;
    languages_ = std::move(marked);
  } else if (!scripted.empty()) {
    const bool legacy =
        tokenizer_config.has("legacy_behaviour") && tokenizer_config.boolean("legacy_behaviour");
    place_ = legacy ? Place::behind : Place::in_front;
    languages_ = std::move(scripted);
  } else if (!regional.empty()) {
    const bool fifty = kind.starts_with("MBart50") ||
                       (!kind.starts_with("MBart") && regional.size() > kFewLanguages);
    place_ = fifty ? Place::in_front : Place::behind;
    languages_ = std::move(regional);
  } else if (!targets.empty()) {
    place_ = Place::target;
    languages_ = std::move(targets);
  } else {
    find_tasks();
    const auto source = string_of(tokenizer_config, "source_lang");
    const auto target = string_of(tokenizer_config, "target_lang");
    if (pairs_.empty() && source && target) pairs_.push_back({*source, *target});
  }
}

void TranslationTokens::find_tasks() {
  const JsonObject& config = files_.config;
  constexpr std::string_view kPrefix = "translation_";
  constexpr std::string_view kMiddle = "_to_";
  if (!config.has("task_specific_params")) return;
  const JsonObject tasks = config.object("task_specific_params");
  for (const std::string& name : tasks.fields()) {
    const size_t middle = name.find(kMiddle, kPrefix.size());
    if (!name.starts_with(kPrefix) || middle == std::string::npos) continue;
    if (!string_of(tasks.object(name), "prefix")) continue;
    pairs_.push_back({name.substr(kPrefix.size(), middle - kPrefix.size()),
                      name.substr(middle + kMiddle.size())});
  }
  if (pairs_.empty()) return;
  place_ = Place::task;
  tasks_ = tasks;
}

std::optional<JsonObject> TranslationTokens::task(const Route& route) const {
  if (!tasks_ || route.target.empty()) return std::nullopt;
  return tasks_->object("translation_" + route.source + "_to_" + route.target);
}

bool TranslationTokens::is_end(int32_t token) const {
  return std::binary_search(ends_.begin(), ends_.end(), token);
}

const TranslationTokens::Language* TranslationTokens::find(std::string_view code) const {
  const auto found = std::find_if(languages_.begin(), languages_.end(),
                                  [&](const Language& one) { return one.code == code; });
  return found == languages_.end() ? nullptr : &*found;
}

std::vector<std::string> TranslationTokens::languages() const {
  std::vector<std::string> codes;
  std::unordered_set<std::string_view> there;
  const auto add = [&](const std::string& code) {
    if (there.insert(code).second) codes.push_back(code);
  };
  for (const Language& language : languages_) add(language.code);
  for (const Route& pair : pairs_) add(pair.source);
  for (const Route& pair : pairs_) add(pair.target);
  return codes;
}

void TranslationTokens::refuse_language(const std::string& why, std::string_view code) const {
  std::vector<std::string> known;
  for (const Language& language : languages_) known.push_back(language.code);
  for (const Route& pair : pairs_) known.push_back(pair.source + " to " + pair.target);
  throw Error(ErrorCode::bad_request,
              fmt::format("{}; the model has {}.", why, fmt::join(known, ", ")), std::string(code));
}

void TranslationTokens::require_language(std::string_view code, const char* which) const {
  if (code.empty()) refuse_language(fmt::format("The {} language is missing", which), "");
  if (find(code) == nullptr) {
    refuse_language(fmt::format("The {} language is none of the model's", which), code);
  }
}

// Of models that take their targets' languages alone.
void TranslationTokens::check_source(const std::string& code) const {
  const auto own = string_of(files_.tokenizer_config, "source_lang");
  if (code.empty() || code == own) return;
  throw Error(ErrorCode::bad_request,
              own ? "The model reads " + *own + " alone."
                  : "The model's files name no source language to choose: leave it out.",
              code);
}

void TranslationTokens::check(const Route& route) const {
  const bool given = !route.source.empty() || !route.target.empty();
  switch (place_) {
    case Place::in_front:
    case Place::behind:
      require_language(route.source, "source");
      require_language(route.target, "target");
      return;
    case Place::target:
      check_source(route.source);
      if (!route.target.empty()) require_language(route.target, "target");
      return;
    case Place::none:
    case Place::task:
      break;
  }
  if (!given) return;
  if (pairs_.empty()) {
    throw Error(ErrorCode::bad_request,
                "The model has no languages to choose from: leave them out.",
                route.source + " to " + route.target);
  }
  const bool known = std::any_of(pairs_.begin(), pairs_.end(), [&](const Route& pair) {
    return pair.source == route.source && pair.target == route.target;
  });
  if (!known) {
    const bool missing = route.source.empty() || route.target.empty();
    refuse_language(missing ? "The source or the target language is missing"
                            : "The model does not translate between these languages",
                    route.source + " to " + route.target);
  }
}

bool TranslationTokens::has_specials_alone(std::string_view text) const {
  if (place_ != Place::target) return tokenizer_->has_specials_alone(text);
  // Marian's languages are pieces like others, but for where they stand.
  bool targets = false;
  std::string rest = strip_text(text, {}, true, true);
  while (rest.starts_with(">>")) {
    const size_t end = rest.find("<<");
    if (end == std::string::npos || find(rest.substr(2, end - 2)) == nullptr) break;
    targets = true;
    rest = strip_text(rest.substr(end + 2), {}, true, false);
  }
  return rest.empty() ? targets : tokenizer_->has_specials_alone(rest);
}

std::vector<int32_t> TranslationTokens::source(std::string_view text, const Route& route,
                                               bool specials) const {
  require_utf8(text, "");
  if (text.empty()) return {};
  if (has_specials_alone(text)) {
    throw Error(ErrorCode::bad_request, "The text has nothing but special tokens.");
  }
  if (asks_for_languages()) {
    std::vector<int32_t> tokens = tokenizer_->encode(text, specials);
    if (tokens.empty()) return tokens;
    const int32_t language = find(route.source)->id;
    if (place_ == Place::in_front) tokens.insert(tokens.begin(), language);
    tokens.push_back(end_);
    if (place_ == Place::behind) tokens.push_back(language);
    return tokens;
  }
  std::optional<int32_t> first;
  std::string prefixed;
  if (place_ == Place::target) {
    const size_t end = text.starts_with(">>") ? text.find("<<") : std::string_view::npos;
    const bool own = route.target.empty() && end != std::string_view::npos;
    const std::string_view code = own ? text.substr(2, end - 2) : std::string_view(route.target);
    require_language(code, "target");
    first = find(code)->id;
    if (own) text.remove_prefix(end + 2);
  } else if (const auto own = task(route)) {
    prefixed = own->string("prefix") + std::string(text);
    text = prefixed;
  }
  std::vector<int32_t> tokens = tokenizer_->encode(text, specials, true);
  if (tokens.size() == tokenizer_->encode("", false, true).size()) return {};
  if (first) tokens.insert(tokens.begin(), *first);
  return tokens;
}

std::vector<int32_t> TranslationTokens::begin(const Route& route) const {
  if (!asks_for_languages()) {
    return forced_ ? std::vector<int32_t>{*start_, *forced_} : std::vector<int32_t>{*start_};
  }
  const int32_t target = find(route.target)->id;
  // mBART's decoder starts with the language itself; its config names one, or nothing.
  const bool names_one =
      start_ && std::any_of(languages_.begin(), languages_.end(),
                            [&](const Language& one) { return one.id == *start_; });
  if (!start_ || names_one) return {target};
  return {*start_, target};
}

std::vector<int32_t> TranslationTokens::target(std::string_view text) const {
  require_utf8(text, "target_prefix");
  return target_->encode(text);
}

std::string TranslationTokens::text(const std::vector<int32_t>& tokens) const {
  std::vector<int32_t> known;  // models pad their vocabulary
  for (const int32_t token : tokens) {
    if (target_->has(token)) known.push_back(token);
  }
  return strip_text(valid_utf8(target_->decode(known)), {}, true, true);
}

}  // namespace slim
