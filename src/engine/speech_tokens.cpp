// Finds steering tokens by name and builds the list of suppressed ids.
#include "engine/speech_tokens.h"

#include <algorithm>
#include <optional>

#include "base/json.h"
#include "slim/error.h"

namespace slim {
namespace {

int32_t required(const Tokenizer& tokenizer, std::string_view name) {
  const std::optional<int32_t> id = tokenizer.id(name);
  if (!id) {
    throw Error(ErrorCode::unsupported_model,
                "The tokenizer has no token " + std::string(name) + ", which speech models need.",
                "tokenizer.json");
  }
  return *id;
}

// A language token is <|xx|>, <|xxx|> or longer lower-case letters between the start token and the
// task tokens; that range holds nothing else.
std::vector<SpeechTokens::Language> find_languages(const Tokenizer& tokenizer, int32_t start,
                                                   int32_t task) {
  std::vector<SpeechTokens::Language> languages;
  for (int32_t id = start + 1; id < task; ++id) {
    const std::string_view content = tokenizer.bytes(id);
    if (content.size() < 6 || !content.starts_with("<|") || !content.ends_with("|>")) continue;
    const std::string_view code = content.substr(2, content.size() - 4);
    const bool letters =
        std::all_of(code.begin(), code.end(), [](char c) { return c >= 'a' && c <= 'z'; });
    if (letters && code.size() <= 3) languages.push_back({std::string(code), id});
  }
  return languages;
}

std::vector<int32_t> ascending(std::vector<int32_t> ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

template <typename Function>
void for_each_word(std::string_view words, Function&& function) {
  while (!words.empty()) {
    const size_t end = std::min(words.find(' '), words.size());
    function(words.substr(0, end));
    words.remove_prefix(std::min(end + 1, words.size()));
  }
}

// Marks that transcripts use for what is not speech. A mark is suppressed as a whole token, with
// and without a leading space; of the musical ones (which take several tokens) the first is.
std::vector<int32_t> non_speech_marks(const Tokenizer& tokenizer) {
  std::vector<int32_t> marks;
  // Single characters first, then the runs that a vocabulary may hold as one token.
  static constexpr std::string_view kMarks =
      "\" # ( ) * + / : ; < = > @ [ \\ ] ^ _ ` { | } ~ 「 」 『 』 "
      "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪";
  static constexpr std::string_view kMusic = "♩ ♪ ♫ ♬ ♭ ♮ ♯";
  const auto add = [&](std::string_view mark, bool first_piece) {
    for (const std::string& text : {std::string(mark), " " + std::string(mark)}) {
      const std::vector<int32_t> ids = tokenizer.encode(text);
      if (ids.size() == 1 || (first_piece && !ids.empty())) marks.push_back(ids[0]);
    }
  };
  for_each_word(kMarks, [&](std::string_view mark) { add(mark, false); });
  for_each_word(kMusic, [&](std::string_view mark) { add(mark, true); });
  // A hyphen or quote may stand inside a word; only the free-standing one opens a speaker change.
  for (const char* mark : {" -", " '"}) {
    const std::vector<int32_t> ids = tokenizer.encode(mark);
    if (!ids.empty()) marks.push_back(ids[0]);
  }
  return ascending(std::move(marks));
}

}  // namespace

int32_t SpeechTokens::language(std::string_view code) const {
  std::string known;
  for (const Language& language : languages) {
    if (language.code == code) return language.id;
    known += (known.empty() ? "" : ", ") + language.code;
  }
  if (languages.empty()) {
    throw Error(ErrorCode::bad_request, "This model knows English only, so --language must be en.",
                std::string(code));
  }
  throw Error(ErrorCode::bad_request,
              "This model does not know the language; it knows " + known + ".", std::string(code));
}

SpeechTokens plain_speech_tokens(const std::filesystem::path& directory, int64_t vocabulary) {
  const auto find = [&](const char* field) {
    for (const char* name : {"generation_config.json", "config.json"}) {
      if (!std::filesystem::exists(directory / name)) continue;
      const JsonObject config = JsonObject::read(directory / name);
      if (config.has(field)) {
        return static_cast<int32_t>(config.integer(field, 0, vocabulary - 1));
      }
    }
    throw Error(
        ErrorCode::bad_file,
        std::string("No file says which tokens a text begins and ends with (") + field + ").",
        directory.string());
  };
  SpeechTokens tokens;
  tokens.start = find("decoder_start_token_id");
  tokens.end = find("eos_token_id");
  return tokens;
}

SpeechTokens speech_tokens(const Tokenizer& tokenizer, bool multilingual) {
  SpeechTokens tokens;
  tokens.start = required(tokenizer, "<|startoftranscript|>");
  tokens.end = tokens.text_end = required(tokenizer, "<|endoftext|>");
  tokens.previous = required(tokenizer, "<|startofprev|>");
  tokens.no_timestamps = required(tokenizer, "<|notimestamps|>");
  tokens.transcribe = required(tokenizer, "<|transcribe|>");
  const auto no_speech = tokenizer.id("<|nospeech|>");
  tokens.no_speech = no_speech ? *no_speech : required(tokenizer, "<|nocaptions|>");
  // Some vocabularies do not list their timestamps; they always follow <|notimestamps|>.
  tokens.first_timestamp = tokens.no_timestamps + 1;
  const std::vector<int32_t> blank = tokenizer.encode(" ");
  if (blank.size() == 1) tokens.blank = blank[0];

  tokens.translate = tokenizer.id("<|translate|>").value_or(-1);
  const int32_t translate = tokens.translate < 0 ? tokens.transcribe : tokens.translate;
  if (multilingual) {
    tokens.languages =
        find_languages(tokenizer, tokens.start, std::min(translate, tokens.transcribe));
  }
  tokens.non_speech = non_speech_marks(tokenizer);
  tokens.steering =
      ascending({tokens.transcribe, translate, tokens.start, tokens.previous, tokens.no_speech,
                 tokenizer.id("<|startoflm|>").value_or(tokens.start)});
  return tokens;
}

}  // namespace slim
