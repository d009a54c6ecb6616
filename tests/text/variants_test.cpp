// Every kind of tokenizer that language models use, against the `tokenizers` library and
// sentencepiece: ids without and with special tokens and template, and the decoded text.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "golden_texts.h"
#include "text/gguf_vocabulary.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

namespace slim {
namespace {

using nlohmann::json;

struct Expected {
  std::vector<int32_t> plain;
  std::vector<int32_t> full;
  std::string decoded;
};

struct Golden {
  std::vector<std::string> names;
  std::vector<std::string> texts;
  std::map<std::string, std::vector<Expected>> tokenizers;
  std::map<std::string, json> documents;
  std::map<std::string, std::vector<Expected>> pieces;
};

std::string text_or(PackedFile& file, const std::string& same) {
  const uint64_t size = file.number();
  return size == 0 ? same : file.text(size - 1);
}

Golden read_golden() {
  Golden golden;
  PackedFile file("ids_variants.bin.z");
  golden.names = json::parse(file.text(file.number())).get<std::vector<std::string>>();
  golden.texts.resize(file.number());
  for (std::string& text : golden.texts) text = file.text(file.number());
  for (const std::string& name : golden.names) {
    for (const std::string& text : golden.texts) {
      Expected expected;
      expected.plain = file.numbers(file.number());
      const uint64_t other = file.number();
      expected.full = other == 0 ? expected.plain : file.numbers(other - 1);
      expected.decoded = text_or(file, text);
      golden.tokenizers[name].push_back(expected);
    }
  }
  PackedFile documents("variants.json.z");
  std::string all;
  while (!documents.ended()) all += documents.text(1);
  golden.documents = json::parse(all).get<std::map<std::string, json>>();
  PackedFile pieces("ids_pieces.bin.z");
  for (const char* name : {"llama", "gemma", "plain"}) {
    for (const std::string& text : golden.texts) {
      Expected expected;
      expected.plain = pieces.numbers(pieces.number());
      expected.decoded = text_or(pieces, text);
      golden.pieces[name].push_back(expected);
    }
  }
  return golden;
}

const Golden& golden() {
  static const Golden data = read_golden();
  return data;
}

std::shared_ptr<const Tokenizer> variant(const std::string& name) {
  return parse_tokenizer(golden().documents.at(name).dump(), name);
}

std::string streamed(const std::shared_ptr<const Tokenizer>& tokenizer,
                     const std::vector<int32_t>& ids) {
  Detokenizer detokenizer(tokenizer);
  std::string text;
  for (const int32_t id : ids) text += detokenizer.push(id);
  return text + detokenizer.finish();
}

TEST(Variants, GiveTheLibrarysIdsAndText) {
  ASSERT_EQ(golden().names.size(), 18u);
  for (const std::string& name : golden().names) {
    const auto tokenizer = variant(name);
    for (size_t i = 0; i < golden().texts.size(); ++i) {
      const std::string& text = golden().texts[i];
      const Expected& expected = golden().tokenizers.at(name)[i];
      ASSERT_EQ(tokenizer->encode(text), expected.plain) << name << " " << i << ": " << text;
      ASSERT_EQ(tokenizer->encode(text, true, true), expected.full) << name << " " << i << text;
      ASSERT_EQ(tokenizer->decode(expected.plain), expected.decoded) << name << " " << i;
      ASSERT_EQ(streamed(tokenizer, expected.plain), expected.decoded) << name << " " << i;
    }
  }
}

std::filesystem::path pieces_file(const std::string& name) {
  return golden_folder() / ("pieces_" + name + ".model");
}

TEST(Sentencepiece, GivesTheLibrarysIdsAndText) {
  for (const char* name : {"llama", "gemma", "plain"}) {
    const auto tokenizer = Tokenizer::load(pieces_file(name));
    for (size_t i = 0; i < golden().texts.size(); ++i) {
      const std::string& text = golden().texts[i];
      const Expected& expected = golden().pieces.at(name)[i];
      ASSERT_EQ(tokenizer->encode(text), expected.plain) << name << " " << i << ": " << text;
      // What the library writes for the unknown piece is its own.
      if (expected.decoded.find("\xE2\x81\x87") != std::string::npos) continue;
      ASSERT_EQ(tokenizer->decode(expected.plain), expected.decoded) << name << " " << i;
      ASSERT_EQ(streamed(tokenizer, expected.plain), expected.decoded) << name << " " << i;
    }
  }
}

// What a converter to GGUF makes of a tokenizer.json over bytes.
GgufVocabulary gguf_of(const json& document, const std::string& pre) {
  GgufVocabulary vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.pre = pre;
  std::map<int32_t, std::pair<std::string, int32_t>> tokens;
  for (const auto& [content, id] : document["model"]["vocab"].items()) tokens[id] = {content, 1};
  for (const json& token : document["added_tokens"]) {
    tokens[token["id"]] = {token["content"], token["special"].get<bool>() ? 3 : 4};
  }
  for (const auto& [id, token] : tokens) {
    while (static_cast<int32_t>(vocabulary.tokens.size()) < id) {
      vocabulary.tokens.push_back("[PAD" + std::to_string(vocabulary.tokens.size()) + "]");
      vocabulary.token_types.push_back(5);
    }
    vocabulary.tokens.push_back(token.first);
    vocabulary.token_types.push_back(token.second);
  }
  for (const json& merge : document["model"]["merges"]) {
    vocabulary.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  return vocabulary;
}

TEST(Gguf, ByteLevelVocabulariesGiveTheLibrarysIds) {
  const std::pair<const char*, const char*> kinds[] = {
      {"gpt2", "gpt-2"},       {"gpt2", ""},       {"gpt2", "default"},
      {"llama3", "llama-bpe"}, {"qwen", "qwen2"},  {"olmo", "olmo"},
      {"cohere", "command-r"}, {"bloom", "bloom"}, {"deepseek_coder", "deepseek-coder"},
      {"phi", "gpt-2"},
  };
  for (const auto& [name, pre] : kinds) {
    GgufVocabulary vocabulary = gguf_of(golden().documents.at(name), pre);
    vocabulary.add_bos = false;
    const auto tokenizer = gguf_tokenizer(vocabulary, "m.gguf");
    for (size_t i = 0; i < golden().texts.size(); ++i) {
      const Expected& expected = golden().tokenizers.at(name)[i];
      ASSERT_EQ(tokenizer->encode(golden().texts[i]), expected.plain) << pre << " " << i;
      ASSERT_EQ(tokenizer->decode(expected.plain), expected.decoded) << pre << " " << i;
    }
  }
}

GgufVocabulary gguf_of(const PieceModel& model) {
  GgufVocabulary vocabulary;
  vocabulary.model = "llama";
  for (const Piece& piece : model.pieces) {
    vocabulary.tokens.push_back(piece.content);
    vocabulary.scores.push_back(piece.score);
    vocabulary.token_types.push_back(static_cast<int32_t>(piece.kind));
  }
  vocabulary.bos = model.bos;
  vocabulary.eos = model.eos;
  return vocabulary;
}

PieceModel read_pieces(const std::string& name) {
  std::ifstream file(pieces_file(name), std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  return read_sentencepiece(bytes, name);
}

TEST(Gguf, PiecesGiveTheIdsOfTheLibraryAndOfTheirTokenizerJson) {
  const auto tokenizer = gguf_tokenizer(gguf_of(read_pieces("llama")), "m.gguf");
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(tokenizer->eos(), 2);
  for (size_t i = 0; i < golden().texts.size(); ++i) {
    const std::string& text = golden().texts[i];
    ASSERT_EQ(tokenizer->encode(text), golden().pieces.at("llama")[i].plain) << i;
    // The first of Transformers' two forms, which is Llama 2's: a space after special tokens too.
    ASSERT_EQ(tokenizer->encode(text, true, true), golden().tokenizers.at("llama2")[i].full) << i;
  }
  GgufVocabulary vocabulary = gguf_of(read_pieces("gemma"));
  vocabulary.add_space_prefix = false;
  const auto other = gguf_tokenizer(vocabulary, "m.gguf");
  for (size_t i = 0; i < golden().texts.size(); ++i) {
    ASSERT_EQ(other->encode(golden().texts[i]), golden().pieces.at("gemma")[i].plain) << i;
  }
}

}  // namespace
}  // namespace slim
