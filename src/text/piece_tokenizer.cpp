// Sentencepiece's BPE on this engine's parts. User-defined pieces are matched in normalised text
// and stand apart from merging, as there; control pieces in the text as it is.
#include "text/piece_tokenizer.h"

#include <cmath>
#include <limits>
#include <utility>

#include "slim/error.h"
#include "text/merges.h"
#include "text/utf8.h"

namespace slim {
namespace {

constexpr std::string_view kMark = "\xE2\x96\x81";  // U+2581

[[noreturn]] void reject(const std::string& place, size_t id, const std::string& why) {
  throw Error(ErrorCode::bad_file, "The token " + std::to_string(id) + " " + why + ".", place);
}

Normalizer make_normalizer(const PieceModel& model) {
  std::vector<Normalizer::Step> steps;
  if (model.remove_extra_spaces) {
    steps.emplace_back(Normalizer::Replace{Pattern(R"(\A +)"), ""});
    steps.emplace_back(Normalizer::Replace{Pattern(" {2,}"), " "});
  }
  if (model.prefix_space) {
    steps.emplace_back(Normalizer::Prepend{std::string(kMark), model.prefix_first_only});
  }
  steps.emplace_back(Normalizer::Replace{Pattern::literal(" "), std::string(kMark)});
  if (model.remove_extra_spaces) {
    // At the end a mark in the text counts as a space.
    steps.emplace_back(Normalizer::Replace{Pattern(R"(\x{2581}+\z)"), ""});
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
  Vocabulary vocabulary;
  TokenDecoder decoder;
  std::vector<AddedToken> before;
  std::vector<AddedToken> after;
  std::vector<float> scores;
  BpeModel::Settings settings;

  void add(const Piece& piece, const std::string& place) {
    const auto id = static_cast<int32_t>(scores.size());
    check_piece(piece, scores.size(), place);
    const bool control = piece.kind == PieceKind::control || piece.kind == PieceKind::unknown;
    const bool user_defined = piece.kind == PieceKind::user_defined;
    Vocabulary::Token token;
    token.special = control;
    token.added = control || user_defined;
    // Byte pieces never merge, since no text is written with them.
    token.model = piece.kind == PieceKind::normal || piece.kind == PieceKind::byte;
    token.bytes = decoder.bytes(piece.content, token.added);
    if (!vocabulary.add(id, piece.content, std::move(token))) {
      reject(place, scores.size(), "is the same as another");
    }
    scores.push_back(piece.score);
    if (piece.kind == PieceKind::unknown && !settings.unknown) settings.unknown = id;
    settings.byte_fallback = settings.byte_fallback || piece.kind == PieceKind::byte;
    if (control) before.push_back({piece.content, id, true});
    if (user_defined) after.push_back({piece.content, id});
  }
};

}  // namespace

std::unique_ptr<Tokenizer::Parts> make_piece_tokenizer(PieceModel model, const std::string& place) {
  if (model.pieces.size() >= kMaximumTokens) {
    throw Error(ErrorCode::bad_file, "There are more than 2^20 tokens.", place);
  }
  Builder builder;
  builder.decoder.replacements = {{std::string(kMark), " "}};
  builder.decoder.byte_fallback = true;
  builder.decoder.strip_count = model.prefix_space ? 1 : 0;
  if (model.remove_extra_spaces) builder.decoder.strip_count = std::numeric_limits<int>::max();
  builder.settings.fuse_unknown = true;
  builder.vocabulary.reserve(model.pieces.size());
  for (const Piece& piece : model.pieces) builder.add(piece, place);
  Bpe bpe = make_bpe(builder.scores, builder.vocabulary);
  BpeModel words(builder.vocabulary, builder.settings, std::move(bpe), place);
  add_tokens(std::move(model.added), builder.decoder, builder.vocabulary, builder.before, place);

  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;
  if (model.add_bos && model.bos) prefix.push_back(*model.bos);
  if (model.add_eos && model.eos) suffix.push_back(*model.eos);
  return std::unique_ptr<Tokenizer::Parts>(
      new Tokenizer::Parts{std::move(builder.vocabulary),
                           AddedTokens(std::move(builder.before)),
                           AddedTokens(std::move(builder.after)),
                           make_normalizer(model),
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
