// Reads tokenizer.json (Hugging Face `tokenizers`) of byte-level BPE. What it asks for that this
// engine does not do is refused by name. post_processor, truncation and padding are left aside:
// encode() returns all of the text's ids and no template tokens.
#include "text/tokenizer_json.h"

#include <array>
#include <unordered_set>
#include <utility>

#include "base/json.h"
#include "base/mapped_file.h"
#include "slim/error.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_parts.h"

namespace slim {
namespace {

// Four times the largest vocabulary in use (Gemma's 262,144).
constexpr int32_t kMaximumId = (1 << 20) - 1;
// Far above any real token; bounds what encode() compares at one position.
constexpr size_t kMaximumContent = 1024;
// Eight times the largest file in use (Gemma's 33 MB).
constexpr size_t kMaximumFile = size_t{256} << 20;

[[noreturn]] void refuse(const JsonObject& document, const std::string& field,
                         const std::string& text) {
  throw Error(ErrorCode::unsupported_model, text, document.place() + ", field '" + field + "'");
}

void check_components(const JsonObject& document) {
  if (document.has("normalizer")) {
    const std::string type = document.object("normalizer").string("type");
    refuse(document, "normalizer", "The normalizer '" + type + "' is not supported.");
  }
  for (const std::string field : {"pre_tokenizer", "decoder"}) {
    if (!document.has(field)) {
      refuse(document, field,
             "Only byte-level tokenizers are supported; this has no " + field + ".");
    }
    const std::string type = document.object(field).string("type");
    if (type != "ByteLevel") {
      refuse(document, field, "Only 'ByteLevel' is supported here, not '" + type + "'.");
    }
  }
}

void check_model(const JsonObject& document, const JsonObject& model) {
  // Files of before 2020 do not name the type.
  const std::string type = model.has("type") ? model.string("type") : "BPE";
  if (type != "BPE") {
    refuse(document, "model.type", "Only models of type 'BPE' are supported, not '" + type + "'.");
  }
  for (const std::string field : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (model.has(field) && !model.string(field).empty()) {
      refuse(document, "model." + field, "Affixes of tokens are not supported.");
    }
  }
  for (const std::string field : {"byte_fallback", "ignore_merges"}) {
    if (model.has(field) && model.boolean(field)) {
      refuse(document, "model." + field, "Only false is supported here.");
    }
  }
  if (model.has("dropout") && model.real("dropout") != 0) {
    refuse(document, "model.dropout", "Dropout is not supported.");
  }
}

Vocabulary read_vocabulary(const JsonObject& model) {
  const JsonObject list = model.object("vocab");
  const std::vector<std::string> contents = list.fields();
  Vocabulary vocabulary;
  vocabulary.reserve(contents.size());
  for (const std::string& content : contents) {
    const auto id = static_cast<int32_t>(list.integer(content, 0, kMaximumId));
    if (!vocabulary.add(id, content, {true, false, alphabet_bytes(content)})) {
      list.reject(content, "has an id that another token has, " + std::to_string(id));
    }
  }
  return vocabulary;
}

std::array<int32_t, 256> byte_ids(const JsonObject& document, const Vocabulary& vocabulary) {
  std::array<int32_t, 256> ids{};
  for (size_t byte = 0; byte < ids.size(); ++byte) {
    const std::string symbol = byte_symbol(static_cast<uint8_t>(byte));
    const auto id = vocabulary.id(symbol);
    if (!id) {
      refuse(document, "model.vocab",
             "There is no token '" + symbol + "' for byte " + std::to_string(byte) +
                 ", so not every text can be encoded.");
    }
    ids[byte] = *id;
  }
  return ids;
}

// The merge that a file gives as ["a", "b"] or, since no symbol has a space in it, as "a b".
Bpe::Merge read_merge(const JsonObject& model, size_t index, std::vector<std::string> sides,
                      const Vocabulary& vocabulary) {
  const auto reject = [&](const std::string& why) {
    model.reject("merges[" + std::to_string(index) + "]", why);
  };
  if (sides.size() == 1) {
    const std::string text = sides[0];
    const size_t space = text.find(' ');
    if (space == std::string::npos) reject("must have a space between its two tokens");
    sides = {text.substr(0, space), text.substr(space + 1)};
  }
  if (sides.size() != 2 || sides[0].empty() || sides[1].empty()) reject("must have two tokens");
  const auto id = [&](const std::string& token) {
    const auto found = vocabulary.id(token);
    if (!found) reject("needs the token '" + token + "', which the vocabulary has not");
    return *found;
  };
  return {id(sides[0]), id(sides[1]), id(sides[0] + sides[1])};
}

Bpe read_bpe(const JsonObject& document, const JsonObject& model, const Vocabulary& vocabulary) {
  auto merges = model.string_lists("merges");
  if (merges.size() > kMaximumId) model.reject("merges", "has too many entries");
  Bpe bpe(byte_ids(document, vocabulary), merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    if (!bpe.add(read_merge(model, i, std::move(merges[i]), vocabulary))) {
      model.reject("merges[" + std::to_string(i) + "]", "repeats an earlier merge");
    }
  }
  return bpe;
}

// Reads one added token, into the vocabulary too.
AddedToken read_added_token(const JsonObject& object, Vocabulary& vocabulary) {
  AddedToken token;
  token.content = object.string("content");
  token.id = static_cast<int32_t>(object.integer("id", 0, kMaximumId));
  token.special = object.boolean("special");
  token.single_word = object.boolean("single_word");
  token.strip_left = object.boolean("lstrip");
  token.strip_right = object.boolean("rstrip");
  if (token.content.empty() || token.content.size() > kMaximumContent) {
    object.reject("content", "must have 1 to " + std::to_string(kMaximumContent) + " bytes");
  }
  const Vocabulary::Token entry{true, token.special, token.content};
  const auto known = vocabulary.id(token.content);
  if (known == token.id) {
    vocabulary.replace(token.id, entry);
  } else if (known || !vocabulary.add(token.id, token.content, entry)) {
    object.reject("id", "contradicts the vocabulary or another added token");
  }
  return token;
}

}  // namespace

std::shared_ptr<const Tokenizer> parse_tokenizer(std::string_view json, const std::string& place) {
  const JsonObject document = JsonObject::parse(json, place);
  check_components(document);
  const JsonObject model = document.object("model");
  check_model(document, model);
  Vocabulary vocabulary = read_vocabulary(model);
  Bpe bpe = read_bpe(document, model, vocabulary);

  std::vector<AddedToken> before;
  std::vector<AddedToken> after;
  if (document.has("added_tokens")) {
    std::unordered_set<int32_t> seen;
    for (const JsonObject& object : document.objects("added_tokens")) {
      AddedToken token = read_added_token(object, vocabulary);
      if (!seen.insert(token.id).second) object.reject("id", "is given to two added tokens");
      (object.boolean("normalized") ? after : before).push_back(std::move(token));
    }
  }

  const JsonObject words = document.object("pre_tokenizer");
  const bool split = !words.has("use_regex") || words.boolean("use_regex");
  return std::make_shared<const Tokenizer>(
      std::unique_ptr<const Tokenizer::Parts>(new Tokenizer::Parts{
          std::move(vocabulary), AddedTokens(std::move(before)), AddedTokens(std::move(after)),
          Pretokenizer(words.boolean("add_prefix_space"), split), std::move(bpe)}));
}

std::shared_ptr<const Tokenizer> Tokenizer::load(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  if (bytes.size() > kMaximumFile) {
    throw Error(ErrorCode::bad_file, "A tokenizer may have at most 256 MiB.", path.string());
  }
  return parse_tokenizer({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                         path.string());
}

}  // namespace slim
