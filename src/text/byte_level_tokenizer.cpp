// Byte-level BPE from lists.
#include "text/byte_level_tokenizer.h"

#include <cstddef>

#include "slim/error.h"
#include "text/bpe_model.h"
#include "text/merges.h"

namespace slim {
namespace {

Bpe bpe_of(ByteLevelModel& model, const Vocabulary& vocabulary, const std::string& place) {
  if (model.ranked) {
    std::vector<float> scores;  // below 2^24, so exact
    for (int32_t id = 0; id < vocabulary.size(); ++id) scores.push_back(-static_cast<float>(id));
    return make_bpe(scores, vocabulary);
  }
  return make_bpe(std::move(model.merges), vocabulary, [&](size_t i, const std::string& why) {
    throw Error(ErrorCode::bad_file, "Merge " + std::to_string(i) + " " + why + ".", place);
  });
}

}  // namespace

std::unique_ptr<Tokenizer::Parts> make_byte_level_tokenizer(ByteLevelModel model,
                                                            const std::string& place) {
  TokenDecoder decoder;
  decoder.byte_level = true;
  Vocabulary vocabulary;
  vocabulary.reserve(model.tokens.size() + model.added.size());
  for (auto& [content, id] : model.tokens) {
    Vocabulary::Token token;
    token.model = true;
    token.bytes = decoder.bytes(content, false);
    if (id < 0 || id >= kMaximumTokens || !vocabulary.add(id, content, std::move(token))) {
      throw Error(ErrorCode::bad_file,
                  "The token '" + content + "' has its content or its id " + std::to_string(id) +
                      " twice, or an id beyond 2^20.",
                  place);
    }
  }
  Bpe bpe = bpe_of(model, vocabulary, place);
  BpeModel::Settings settings;
  settings.byte_level = true;
  settings.ignore_merges = model.ignore_merges;
  auto words = std::make_unique<BpeModel>(vocabulary, settings, std::move(bpe), place);
  std::vector<AddedToken> before;
  add_tokens(std::move(model.added), decoder, vocabulary, before, place);
  return std::unique_ptr<Tokenizer::Parts>(new Tokenizer::Parts{std::move(vocabulary),
                                                                AddedTokens(std::move(before)),
                                                                AddedTokens({}),
                                                                std::move(model.normalizer),
                                                                std::move(model.pretokenizer),
                                                                std::move(words),
                                                                std::move(decoder),
                                                                {},
                                                                {},
                                                                {},
                                                                {},
                                                                {}});
}

}  // namespace slim
