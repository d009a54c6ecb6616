// Reads tokenizer.json (Hugging Face `tokenizers`) of BPE and unigram models. What it asks for that
// this engine does not do is refused by name. Truncation and padding are left aside: encode()
// returns all of the text's ids.
#include "text/tokenizer_json.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>
#include <utility>

#include "base/json.h"
#include "slim/error.h"
#include "text/bpe_model.h"
#include "text/merges.h"
#include "text/tokenizer_components.h"
#include "text/unigram_model.h"

namespace slim {
namespace {

void check_bpe(const JsonObject& document, const JsonObject& model) {
  for (const std::string field : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (model.has(field) && !model.string(field).empty()) {
      refuse_field(document, "model." + field, "Affixes of tokens are not supported.");
    }
  }
  if (model.has("dropout") && model.real("dropout") != 0) {
    refuse_field(document, "model.dropout", "Dropout is not supported.");
  }
}

// Reads one token of the model into a vocabulary.
void read_token(const JsonObject& model, const std::string& content, int32_t id,
                const TokenDecoder& decoder, Vocabulary& vocabulary) {
  Vocabulary::Token token;
  token.model = true;
  token.bytes = decoder.bytes(content, false);
  if (!vocabulary.add(id, content, std::move(token))) {
    model.reject("vocab", "has token " + std::to_string(id) + " twice");
  }
}

Vocabulary read_vocabulary(const JsonObject& model, const TokenDecoder& decoder) {
  const JsonObject list = model.object("vocab");
  const std::vector<std::string> contents = list.fields();
  Vocabulary vocabulary;
  vocabulary.reserve(contents.size());
  for (const std::string& content : contents) {
    const auto id = static_cast<int32_t>(list.integer(content, 0, kMaximumTokens - 1));
    read_token(list, content, id, decoder, vocabulary);
  }
  return vocabulary;
}

Bpe read_bpe(const JsonObject& model, const Vocabulary& vocabulary) {
  auto merges = model.string_lists("merges");
  return make_bpe(std::move(merges), vocabulary, [&](size_t index, const std::string& why) {
    model.reject("merges[" + std::to_string(index) + "]", why);
  });
}

BpeModel::Settings read_settings(const JsonObject& model, bool byte_level,
                                 const Vocabulary& vocabulary) {
  const auto flag = [&](const char* field) { return model.has(field) && model.boolean(field); };
  BpeModel::Settings settings;
  settings.byte_level = byte_level;
  settings.byte_fallback = flag("byte_fallback");
  settings.fuse_unknown = flag("fuse_unk");
  settings.ignore_merges = flag("ignore_merges");
  if (model.has("unk_token")) {
    const std::string unknown = model.string("unk_token");
    settings.unknown = vocabulary.model_id(unknown);
    if (!settings.unknown) model.reject("unk_token", "is not in the vocabulary");
  }
  return settings;
}

// The tokens that are found in text as they are, in the order of the file.
struct AddedList {
  std::vector<AddedToken> before;  // matched before normalisation ...
  std::vector<AddedToken> after;   // ... and after it
};

// Reads one added token, into the vocabulary too.
AddedToken read_added_token(const JsonObject& object, const TokenDecoder& decoder,
                            Vocabulary& vocabulary) {
  AddedToken token;
  token.content = object.string("content");
  token.id = static_cast<int32_t>(object.integer("id", 0, kMaximumTokens - 1));
  token.special = object.boolean("special");
  token.single_word = object.boolean("single_word");
  token.strip_left = object.boolean("lstrip");
  token.strip_right = object.boolean("rstrip");
  if (token.content.empty() || token.content.size() > kMaximumContent) {
    object.reject("content", "must have 1 to " + std::to_string(kMaximumContent) + " bytes");
  }
  const auto known = vocabulary.id(token.content);
  if (known != token.id && (known || !vocabulary.add(token.id, token.content, {}))) {
    object.reject("id", "contradicts the vocabulary or another added token");
  }
  Vocabulary::Token& entry = vocabulary.at(token.id);
  entry.special = token.special;
  entry.added = true;
  entry.bytes = decoder.bytes(token.content, true);
  return token;
}

AddedList read_added_tokens(const JsonObject& document, const TokenDecoder& decoder,
                            Vocabulary& vocabulary) {
  AddedList list;
  if (!document.has("added_tokens")) return list;
  std::unordered_set<int32_t> seen;
  for (const JsonObject& object : document.objects("added_tokens")) {
    AddedToken token = read_added_token(object, decoder, vocabulary);
    if (!seen.insert(token.id).second) object.reject("id", "is given to two added tokens");
    (object.boolean("normalized") ? list.after : list.before).push_back(std::move(token));
  }
  return list;
}

// What a file's model needs of its other parts, and what comes of it.
struct ModelParts {
  Vocabulary vocabulary;
  AddedList added;
  std::unique_ptr<const WordModel> words;
};

ModelParts read_bpe_parts(const JsonObject& document, const TokenDecoder& decoder,
                          bool byte_level) {
  const JsonObject model = document.object("model");
  check_bpe(document, model);
  ModelParts parts;
  parts.vocabulary = read_vocabulary(model, decoder);
  Bpe bpe = read_bpe(model, parts.vocabulary);
  parts.words = std::make_unique<BpeModel>(
      parts.vocabulary, read_settings(model, byte_level, parts.vocabulary), std::move(bpe),
      document.place() + ", field 'model.vocab'");
  parts.added = read_added_tokens(document, decoder, parts.vocabulary);
  return parts;
}

ModelParts read_unigram_parts(const JsonObject& document, const TokenDecoder& decoder) {
  const JsonObject model = document.object("model");
  const auto scored = model.named_numbers("vocab");
  if (scored.empty() || scored.size() > kMaximumTokens) {
    model.reject("vocab", "must have 1 to 2^20 tokens");
  }
  ModelParts parts;
  UnigramModel::Settings settings;
  settings.byte_fallback = model.has("byte_fallback") && model.boolean("byte_fallback");
  settings.least = scored.front().second;
  for (size_t id = 0; id < scored.size(); ++id) {
    const auto& [content, score] = scored[id];
    // The library has files with an empty token, which nothing can become.
    if (content.size() > kMaximumContent || !std::isfinite(score)) {
      model.reject("vocab", "has a token that is too long, or a score that is no number");
    }
    read_token(model, content, static_cast<int32_t>(id), decoder, parts.vocabulary);
    settings.least = std::min(settings.least, score);
  }
  if (model.has("unk_id")) {
    settings.unknown =
        static_cast<int32_t>(model.integer("unk_id", 0, parts.vocabulary.size() - 1));
  }
  parts.added = read_added_tokens(document, decoder, parts.vocabulary);
  std::vector<UnigramModel::Piece> pieces;
  for (size_t id = 0; id < scored.size(); ++id) {
    // Special tokens are never what a text is cut into.
    if (parts.vocabulary.token(static_cast<int32_t>(id)).special || scored[id].first.empty()) {
      continue;
    }
    pieces.push_back({scored[id].first, scored[id].second, static_cast<int32_t>(id)});
  }
  parts.words = std::make_unique<UnigramModel>(parts.vocabulary, std::move(pieces), settings,
                                               document.place() + ", field 'model.vocab'");
  return parts;
}

ModelParts read_model(const JsonObject& document, const TokenDecoder& decoder, bool byte_level) {
  const JsonObject model = document.object("model");
  // Files of before 2020 do not name the type.
  const std::string type = model.has("type")        ? model.string("type")
                           : model.is_list("vocab") ? "Unigram"
                                                    : "BPE";
  if (type == "BPE") return read_bpe_parts(document, decoder, byte_level);
  if (type == "Unigram" && !byte_level) return read_unigram_parts(document, decoder);
  refuse_field(
      document, "model.type",
      "Only models of type 'BPE' or, but over bytes, 'Unigram' are supported, not '" + type + "'.");
}

}  // namespace

std::unique_ptr<Tokenizer::Parts> parse_tokenizer_parts(std::string_view json,
                                                        const std::string& place) {
  const JsonObject document = JsonObject::parse(json, place);
  Normalizer normalizer = read_normalizer(document);
  PretokenizerSettings words = read_pretokenizer(document);
  TokenDecoder decoder = read_decoder(document);
  ModelParts model = read_model(document, decoder, words.byte_level);
  auto after = normalized_tokens(std::move(model.added.after), normalizer);
  TextTemplate text = read_template(document, model.vocabulary);
  return std::unique_ptr<Tokenizer::Parts>(
      new Tokenizer::Parts{std::move(model.vocabulary),
                           AddedTokens(std::move(model.added.before)),
                           AddedTokens(std::move(after)),
                           std::move(normalizer),
                           std::move(words.pretokenizer),
                           std::move(model.words),
                           std::move(decoder),
                           std::move(text.prefix),
                           std::move(text.suffix),
                           {},
                           {},
                           {}});
}

std::shared_ptr<const Tokenizer> parse_tokenizer(std::string_view json, const std::string& place) {
  return std::make_shared<const Tokenizer>(parse_tokenizer_parts(json, place));
}

}  // namespace slim
