// Reads tokenizer.json (Hugging Face `tokenizers`) of BPE. What it asks for that this engine does
// not do is refused by name. Truncation and padding are left aside: encode() returns all of the
// text's ids.
#include "text/tokenizer_json.h"

#include <unordered_set>
#include <utility>

#include "base/json.h"
#include "slim/error.h"
#include "text/merges.h"
#include "text/tokenizer_components.h"

namespace slim {
namespace {

void check_model(const JsonObject& document, const JsonObject& model) {
  // Files of before 2020 do not name the type.
  const std::string type = model.has("type") ? model.string("type") : "BPE";
  if (type != "BPE") {
    refuse_field(document, "model.type",
                 "Only models of type 'BPE' are supported, not '" + type + "'.");
  }
  for (const std::string field : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (model.has(field) && !model.string(field).empty()) {
      refuse_field(document, "model." + field, "Affixes of tokens are not supported.");
    }
  }
  if (model.has("dropout") && model.real("dropout") != 0) {
    refuse_field(document, "model.dropout", "Dropout is not supported.");
  }
}

Vocabulary read_vocabulary(const JsonObject& model, const TokenDecoder& decoder) {
  const JsonObject list = model.object("vocab");
  const std::vector<std::string> contents = list.fields();
  Vocabulary vocabulary;
  vocabulary.reserve(contents.size());
  for (const std::string& content : contents) {
    const auto id = static_cast<int32_t>(list.integer(content, 0, kMaximumTokens - 1));
    Vocabulary::Token token;
    token.model = true;
    token.bytes = decoder.bytes(content, false);
    if (!vocabulary.add(id, content, std::move(token))) {
      list.reject(content, "has an id that another token has, " + std::to_string(id));
    }
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

}  // namespace

std::unique_ptr<Tokenizer::Parts> parse_tokenizer_parts(std::string_view json,
                                                        const std::string& place) {
  const JsonObject document = JsonObject::parse(json, place);
  Normalizer normalizer = read_normalizer(document);
  PretokenizerSettings words = read_pretokenizer(document);
  TokenDecoder decoder = read_decoder(document);
  const JsonObject model = document.object("model");
  check_model(document, model);
  Vocabulary vocabulary = read_vocabulary(model, decoder);
  Bpe bpe = read_bpe(model, vocabulary);
  BpeModel words_model(vocabulary, read_settings(model, words.byte_level, vocabulary),
                       std::move(bpe), place + ", field 'model.vocab'");

  std::vector<AddedToken> before;
  std::vector<AddedToken> after;
  if (document.has("added_tokens")) {
    std::unordered_set<int32_t> seen;
    for (const JsonObject& object : document.objects("added_tokens")) {
      AddedToken token = read_added_token(object, decoder, vocabulary);
      if (!seen.insert(token.id).second) object.reject("id", "is given to two added tokens");
      (object.boolean("normalized") ? after : before).push_back(std::move(token));
    }
  }
  after = normalized_tokens(std::move(after), normalizer);
  TextTemplate text = read_template(document, vocabulary);
  return std::unique_ptr<Tokenizer::Parts>(new Tokenizer::Parts{std::move(vocabulary),
                                                                AddedTokens(std::move(before)),
                                                                AddedTokens(std::move(after)),
                                                                std::move(normalizer),
                                                                std::move(words.pretokenizer),
                                                                std::move(words_model),
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
