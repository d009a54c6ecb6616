// Sentencepiece's models on this engine's parts. User-defined pieces of BPE are matched in
// normalised text and stand apart from merging, as there; control pieces in the text as it is.
#include "text/piece_tokenizer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "slim/error.h"
#include "text/bpe_model.h"
#include "text/merges.h"
#include "text/unigram_model.h"
#include "text/utf8.h"

namespace slim {
namespace {

constexpr std::string_view kMark = "\xE2\x96\x81";  // U+2581

[[noreturn]] void reject(const std::string& place, size_t id, const std::string& why) {
  throw Error(ErrorCode::bad_file, "The token " + std::to_string(id) + " " + why + ".", place);
}

// What a table of characters leaves as it is.
std::shared_ptr<const PrefixTree> kept_pieces(const PieceModel& model) {
  std::vector<PrefixTree::Entry> entries;
  for (const Piece& piece : model.pieces) {
    if (piece.kind == PieceKind::user_defined) entries.push_back({piece.content, 0});
  }
  return entries.empty() ? nullptr : std::make_shared<const PrefixTree>(std::move(entries));
}

Normalizer make_normalizer(const PieceModel& model) {
  std::vector<Normalizer::Step> steps;
  if (model.characters != nullptr) {
    steps.emplace_back(Normalizer::Characters{model.characters, false, kept_pieces(model)});
  }
  if (model.remove_extra_spaces) {
    steps.emplace_back(Normalizer::Replace{Pattern(R"(\A +)"), ""});
    steps.emplace_back(Normalizer::Replace{Pattern(" {2,}"), " "});
  }
  if (model.prefix_space) {
    steps.emplace_back(Normalizer::Prepend{std::string(kMark), model.prefix_first_only,
                                           !model.remove_extra_spaces});
  }
  steps.emplace_back(Normalizer::Replace{Pattern::literal(" "), std::string(kMark)});
  if (model.remove_extra_spaces) {
    // At the end a mark in the text counts as a space. A run of them is tried once, from its start.
    steps.emplace_back(Normalizer::Replace{Pattern(R"((?<!\x{2581})\x{2581}++\z)"), ""});
  }
  return Normalizer(std::move(steps));
}

void check_piece(const Piece& piece, size_t id, const std::string& place) {
  if (piece.content.empty() || piece.content.size() > kMaximumContent) {
    reject(place, id, "must have 1 to " + std::to_string(kMaximumContent) + " bytes");
  }
  if (utf8_prefix(piece.content) < piece.content.size()) reject(place, id, "is not UTF-8");
  if (!std::isfinite(piece.score)) reject(place, id, "has a score that is not a number");
  if (piece.kind < PieceKind::normal || piece.kind > PieceKind::byte) {
    reject(place, id, "is of a kind that there is not");
  }
}

// Builds the parts that depend on the pieces, one piece at a time.
struct Builder {
  Builder(const PieceModel& pieces, const std::string& file) : model(pieces), place(file) {}

  const PieceModel& model;
  const std::string& place;
  Vocabulary vocabulary;
  TokenDecoder decoder;
  std::vector<AddedToken> before;
  std::vector<AddedToken> after;
  std::vector<float> scores;                  // by id
  std::vector<UnigramModel::Piece> unigrams;  // that a text may be cut into
  std::optional<int32_t> unknown;
  bool byte_fallback = false;

  void add(size_t index) {
    const Piece& piece = model.pieces[index];
    check_piece(piece, index, place);
    const int32_t id = model.ids.empty() ? static_cast<int32_t>(index) : model.ids[index];
    const bool control = piece.kind == PieceKind::control || piece.kind == PieceKind::unknown;
    const bool user_defined = piece.kind == PieceKind::user_defined;
    if (model.unigram && (piece.kind == PieceKind::normal || user_defined)) {
      unigrams.push_back({piece.content, piece.score, id, user_defined});
    }
    if (id < 0) {
      if (!model.unigram && !control) reject(place, index, "is a piece without an id");
      return;
    }
    Vocabulary::Token token;
    token.special = control;
    // Of a unigram model they are pieces among others.
    token.added = control || (user_defined && !model.unigram);
    // Byte pieces never merge, since no text is written with them.
    token.model = piece.kind == PieceKind::normal || piece.kind == PieceKind::byte;
    token.bytes = decoder.bytes(piece.content, token.added);
    if (!vocabulary.add(id, piece.content, std::move(token))) {
      reject(place, index, "is the same as another");
    }
    scores.resize(static_cast<size_t>(vocabulary.size()));
    scores[static_cast<size_t>(id)] = piece.score;
    if (piece.kind == PieceKind::unknown && !unknown) unknown = id;
    byte_fallback = byte_fallback || piece.kind == PieceKind::byte;
    if (control) before.push_back({piece.content, id, true});
    if (user_defined && !model.unigram) after.push_back({piece.content, id});
  }

  void add_others() {
    for (const auto& [content, id] : model.others) {
      Vocabulary::Token token;
      token.bytes = decoder.bytes(content, false);
      if (content.size() > kMaximumContent || !vocabulary.add(id, content, std::move(token))) {
        throw Error(ErrorCode::bad_file,
                    "The token " + std::to_string(id) + " is too long or there twice.", place);
      }
    }
  }

  std::unique_ptr<const WordModel> words() {
    if (!model.unigram) {
      BpeModel::Settings settings;
      settings.fuse_unknown = true;
      settings.byte_fallback = byte_fallback;
      settings.unknown = unknown;
      return std::make_unique<BpeModel>(vocabulary, settings, make_bpe(scores, vocabulary), place);
    }
    UnigramModel::Settings settings;
    settings.single_precision = true;
    settings.byte_fallback = byte_fallback;
    settings.outer_vocabulary = !model.ids.empty();
    settings.unknown = unknown;
    // The bounds that sentencepiece starts from.
    settings.least = std::numeric_limits<float>::max();
    settings.most = std::numeric_limits<float>::min();
    for (const Piece& piece : model.pieces) {
      if (piece.kind != PieceKind::normal) continue;
      settings.least = std::min(settings.least, double{piece.score});
      settings.most = std::max(settings.most, double{piece.score});
    }
    return std::make_unique<UnigramModel>(vocabulary, std::move(unigrams), settings, place);
  }
};

}  // namespace

std::unique_ptr<Tokenizer::Parts> make_piece_tokenizer(PieceModel model, const std::string& place) {
  if (model.pieces.size() >= kMaximumTokens) {
    throw Error(ErrorCode::bad_file, "There are more than 2^20 tokens.", place);
  }
  Builder builder(model, place);
  builder.decoder.replacements = {{std::string(kMark), " "}};
  builder.decoder.byte_fallback = true;
  builder.decoder.strip_count = model.prefix_space ? 1 : 0;
  if (model.remove_extra_spaces) builder.decoder.strip_count = std::numeric_limits<int>::max();
  builder.vocabulary.reserve(model.pieces.size());
  for (size_t i = 0; i < model.pieces.size(); ++i) builder.add(i);
  builder.add_others();
  if (model.unknown) builder.unknown = model.unknown;
  std::unique_ptr<const WordModel> words = builder.words();
  add_tokens(std::move(model.added), builder.decoder, builder.vocabulary, builder.before, place);

  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;
  if (model.add_bos && model.bos) prefix.push_back(*model.bos);
  if (model.add_eos && model.eos) suffix.push_back(*model.eos);
  Normalizer normalizer = make_normalizer(model);
  return std::unique_ptr<Tokenizer::Parts>(
      new Tokenizer::Parts{std::move(builder.vocabulary),
                           AddedTokens(std::move(builder.before)),
                           AddedTokens(std::move(builder.after)),
                           std::move(normalizer),
                           Pretokenizer(),
                           std::move(words),
                           std::move(builder.decoder),
                           std::move(prefix),
                           std::move(suffix),
                           model.bos,
                           model.eos,
                           {}});
}

}  // namespace slim
