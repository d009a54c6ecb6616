// UnigramModel. Sentencepiece rounds sums to f32 before it compares them; the other library adds in
// f64. Ties and near ties come out by that, so it is followed.
#include "text/unigram_model.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "slim/error.h"
#include "text/bpe_model.h"
#include "text/utf8.h"

namespace slim {
namespace {

constexpr double kUnknownPenalty = 10;
constexpr int32_t kUnknown = -1;  // the piece of a cut

PrefixTree make_tree(const std::vector<UnigramModel::Piece>& pieces) {
  std::vector<PrefixTree::Entry> entries;
  entries.reserve(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    entries.push_back({pieces[i].content, static_cast<int32_t>(i)});
  }
  return PrefixTree(std::move(entries));
}

}  // namespace

UnigramModel::UnigramModel(const Vocabulary& vocabulary, std::vector<Piece> pieces,
                           const Settings& settings, const std::string& place)
    : settings_(settings), tree_(make_tree(pieces)) {
  values_.reserve(pieces.size());
  for (const Piece& piece : pieces) {
    values_.push_back({piece.score, piece.id, piece.user_defined});
  }
  has_bytes_ = settings_.byte_fallback;
  for (size_t i = 0; i < byte_ids_.size(); ++i) {
    const auto id = vocabulary.model_id(byte_token(static_cast<uint8_t>(i)));
    byte_ids_[i] = id ? *id : settings_.outer_vocabulary ? settings_.unknown.value_or(-1) : -1;
    has_bytes_ = has_bytes_ && byte_ids_[i] >= 0;
  }
  if (!has_bytes_ && !settings_.unknown) {
    throw Error(ErrorCode::unsupported_model,
                "There is neither an unknown token nor a token for each byte, so not every text "
                "can be encoded.",
                place);
  }
}

int32_t UnigramModel::byte_id(uint8_t byte) const {
  return has_bytes_ ? byte_ids_[byte] : settings_.unknown.value();
}

void UnigramModel::cut(std::string_view word, std::vector<Scratch::Cut>& cuts) const {
  cuts.assign(word.size() + 1, {0, kUnknown, -1});
  const auto rounded = [&](double sum) {
    return settings_.single_precision ? static_cast<double>(static_cast<float>(sum)) : sum;
  };
  const double unknown = rounded(settings_.least - kUnknownPenalty);
  for (size_t begin = 0; begin < word.size();) {
    const double before = cuts[begin].score;
    const size_t character = utf8_part(word.substr(begin)).size;
    bool single = false;  // this character has a piece of its own
    const auto propose = [&](size_t end, double sum, int32_t piece) {
      Scratch::Cut& best = cuts[end];
      sum = rounded(sum);
      if (best.begin >= 0 && !(sum > best.score)) return;
      best = {sum, piece, static_cast<int32_t>(begin)};
    };
    tree_.each_prefix(word.substr(begin), [&](size_t length, int32_t piece) {
      const Value& value = values_[static_cast<size_t>(piece)];
      const double user_defined =
          rounded(static_cast<double>(length) * settings_.most) - 0.1;  // as sentencepiece has it
      propose(begin + length, (value.user_defined ? user_defined : value.score) + before, piece);
      single = single || length == character;
    });
    if (!single) propose(begin + character, unknown + before, kUnknown);
    begin += character;
  }
}

void UnigramModel::append_unknown(std::string_view surface, const Vocabulary& vocabulary,
                                  std::vector<int32_t>& ids) const {
  if (has_bytes_) {
    for (const char byte : surface) ids.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
    return;
  }
  const auto whole = settings_.outer_vocabulary ? vocabulary.id(surface) : std::nullopt;
  ids.push_back(whole ? *whole : *settings_.unknown);
}

void UnigramModel::encode(std::string_view word, const Vocabulary& vocabulary, Scratch& scratch,
                          std::vector<int32_t>& ids) const {
  if (word.size() >= static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    throw Error(ErrorCode::bad_request, "A text grew beyond 2 GiB when it was normalised.");
  }
  cut(word, scratch.cuts);
  scratch.ends.clear();
  for (size_t end = word.size(); end > 0;) {
    scratch.ends.push_back(end);
    end = static_cast<size_t>(scratch.cuts[end].begin);
  }
  size_t begin = 0;
  size_t unknown = 0;  // where the unknown characters before `begin` start
  for (size_t i = scratch.ends.size(); i-- > 0;) {
    const size_t end = scratch.ends[i];
    const int32_t piece = scratch.cuts[end].piece;
    if (piece != kUnknown) {
      if (unknown < begin) append_unknown(word.substr(unknown, begin - unknown), vocabulary, ids);
      const int32_t id = values_[static_cast<size_t>(piece)].id;
      ids.push_back(id >= 0 ? id : settings_.unknown.value());
      unknown = end;
    }
    begin = end;
  }
  if (unknown < begin) append_unknown(word.substr(unknown, begin - unknown), vocabulary, ids);
}

}  // namespace slim
