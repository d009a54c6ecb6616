// Tokenizer: added tokens are taken out of the text first, the rest is normalised and cut into
// words, and each word is encoded by itself; equal words give equal tokens wherever they stand.
#include "text/tokenizer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "slim/error.h"
#include "text/characters.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace slim {
namespace {

// One call of encode().
class Encoding {
 public:
  Encoding(const Tokenizer::Parts& parts, bool specials) : parts_(parts), specials_(specials) {}

  std::vector<int32_t> run(std::string_view text) {
    if (text.size() >= static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
      throw Error(ErrorCode::bad_request, "A text to encode must be shorter than 2 GiB.");
    }
    parts_.added_before.split(
        text, specials_, [&](std::string_view piece, const AddedToken* token) {
          token == nullptr ? plain(piece, piece.data() == text.data()) : found(*token);
        });
    return std::move(ids_);
  }

  // Instead of run(). A token of the text itself counts as text even where it is special, as that
  // of unknown characters is.
  bool has_specials_alone(std::string_view text) {
    looking_ = true;
    run(text);
    return specials_found_ && !text_found_;
  }

 private:
  // Text without added tokens: runs of UTF-8 and single bytes that are none.
  void plain(std::string_view piece, bool first) {
    PiecePlace place{first, false};
    while (!piece.empty()) {
      const std::string_view whole = piece.substr(0, utf8_prefix(piece));
      piece.remove_prefix(whole.size());
      if (!whole.empty()) normalize(whole, place);
      place = {false, true};
      if (piece.empty()) break;
      ids_.push_back(parts_.model->byte_id(static_cast<uint8_t>(piece[0])));
      text_found_ = true;
      piece.remove_prefix(1);
    }
  }

  void normalize(std::string_view whole, PiecePlace place) {
    if (parts_.normalizer.changes_nothing()) return second(whole, place);
    const std::string normal = parts_.normalizer.apply(whole, place, matcher_);
    second(normal, place);
  }

  void second(std::string_view text, PiecePlace place) {
    parts_.added_after.split(text, specials_, [&](std::string_view piece, const AddedToken* token) {
      const bool start = piece.data() == text.data();
      token == nullptr ? words(piece, {place.first && start, place.continues && start})
                       : found(*token);
    });
  }

  void found(const AddedToken& token) {
    ids_.push_back(token.id);
    (token.special ? specials_found_ : text_found_) = true;
  }

  void words(std::string_view piece, PiecePlace place) {
    if (looking_ && text_found_) return;
    const size_t before = ids_.size();
    parts_.pretokenizer.each_word(piece, place, matcher_, [&](std::string_view word) {
      parts_.model->encode(word, parts_.vocabulary, scratch_, ids_);
    });
    text_found_ = text_found_ || std::any_of(ids_.begin() + static_cast<ptrdiff_t>(before),
                                             ids_.end(), [&](int32_t id) { return !blank(id); });
  }

  bool blank(int32_t id) const {
    const std::vector<char32_t> codes = code_points(parts_.vocabulary.token(id).bytes);
    return std::all_of(codes.begin(), codes.end(), is_white_space);
  }

  const Tokenizer::Parts& parts_;
  bool specials_;
  Matcher matcher_;
  WordModel::Scratch scratch_;
  std::vector<int32_t> ids_;
  bool looking_ = false;         // for text alone: no ids are wanted
  bool specials_found_ = false;  // in the text, as they are written
  bool text_found_ = false;      // anything else but white space
};

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool specials,
                                       bool add_template) const {
  std::vector<int32_t> ids = Encoding(*parts_, specials).run(text);
  if (add_template) {
    ids.insert(ids.begin(), parts_->prefix.begin(), parts_->prefix.end());
    ids.insert(ids.end(), parts_->suffix.begin(), parts_->suffix.end());
  }
  return ids;
}

bool Tokenizer::has_specials_alone(std::string_view text) const {
  return Encoding(*parts_, true).has_specials_alone(text);
}

std::string Tokenizer::decode(const std::vector<int32_t>& ids, bool specials) const {
  std::string text;
  TokenDecoder::Text decoded(parts_->decoder, false);
  for (const int32_t id : ids) {
    const Vocabulary::Token& token = parts_->vocabulary.token(id);
    if (specials || !token.special) decoded.append(token, text);
  }
  return text;
}

int32_t Tokenizer::size() const noexcept { return parts_->vocabulary.size(); }

std::optional<int32_t> Tokenizer::id(std::string_view token) const {
  return parts_->vocabulary.id(token);
}

bool Tokenizer::has(int32_t id) const noexcept { return parts_->vocabulary.has(id); }

bool Tokenizer::special(int32_t id) const { return parts_->vocabulary.token(id).special; }

std::string_view Tokenizer::bytes(int32_t id) const { return parts_->vocabulary.token(id).bytes; }

std::string_view Tokenizer::content(int32_t id) const {
  return parts_->vocabulary.token(id).content;
}

std::optional<int32_t> Tokenizer::bos() const noexcept { return parts_->bos; }
std::optional<int32_t> Tokenizer::eos() const noexcept { return parts_->eos; }

const std::optional<std::string>& Tokenizer::chat_template() const noexcept {
  return parts_->chat_template;
}

}  // namespace slim
