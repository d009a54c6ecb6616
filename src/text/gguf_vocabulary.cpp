// GGUF vocabularies. A file names its model's way of cutting text by one word (`pre`); the
// expressions behind the words are those of the models' own tokenizer.json files.
#include "text/gguf_vocabulary.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <utility>

#include "slim/error.h"
#include "text/bpe_model.h"
#include "text/byte_level_tokenizer.h"
#include "text/piece_tokenizer.h"

namespace slim {
namespace {

constexpr std::string_view kWords =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kThreeDigits =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kOneDigit =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDigit = R"(\p{N})";
constexpr std::string_view kLineEnd = R"([\r\n])";
constexpr std::string_view kEastAsian = "[一-龥ࠀ-一가-퟿]+";
constexpr std::string_view kPunctuation = R"( ?[^(\s|[.,!?…。，、।۔،])]+)";
// Letters with case. Ends of ranges that normalisation would change are written as numbers.
constexpr std::string_view kCasedLetters =
    R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\x{1F7D}ᾀ-ᾴᾶ-ᾼ\x{1FBE}ῂ-ῄῆ-ῌῐ-\x{1FD3}ῖ-\x{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+)";

constexpr std::string_view kUnigrams = "t5";

struct Cutting {
  std::string_view name;
  std::array<std::string_view, 6> expressions;  // each isolates its matches; "" ends the list
  bool nfc = false;
  bool ignore_merges = false;
  bool add_bos = false;
};

constexpr Cutting kCuttings[] = {
    // Files of before the key existed come from tokenizers that cut as GPT-2 does.
    {"", {kWords}},
    {"default", {kWords}},
    {"gpt-2", {kWords}},
    {"mpt", {kWords}},
    {"phi-2", {kWords}},
    {"olmo", {kWords}, true},
    {"llama-bpe", {kThreeDigits}, false, true, true},
    {"llama3", {kThreeDigits}, false, true, true},
    {"llama-v3", {kThreeDigits}, false, true, true},
    {"dbrx", {kThreeDigits}},
    {"smaug-bpe", {kThreeDigits}},
    {"qwen2", {kOneDigit}, true},
    {"stablelm2", {kOneDigit}, true},
    {"starcoder", {kDigit, kWords}},
    {"refact", {kDigit, kWords}},
    {"smollm", {kDigit, kWords}},
    {"codeshell", {kDigit, kWords}},
    {"command-r", {kDigit, kWords}, true, false, true},
    {"bloom", {kPunctuation}},
    {"deepseek-coder",
     {kLineEnd, R"(\s?\p{L}+)", R"(\s?\p{P}+)", kEastAsian, kDigit},
     false,
     false,
     true},
    {"deepseek-llm",
     {kLineEnd, kCasedLetters, R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)", R"(\s+$)", kEastAsian, kDigit},
     false,
     false,
     true},
};

const Cutting& cutting_of(const GgufVocabulary& vocabulary, const std::string& place) {
  const auto found = std::find_if(std::begin(kCuttings), std::end(kCuttings),
                                  [&](const Cutting& c) { return c.name == vocabulary.pre; });
  if (found != std::end(kCuttings)) return *found;
  throw Error(ErrorCode::unsupported_model,
              "How to cut text into words for '" + vocabulary.pre + "' is not known.",
              place + ", field 'tokenizer.ggml.pre'");
}

void check_lists(const GgufVocabulary& v, const std::string& place) {
  const auto reject = [&](const std::string& field, const std::string& why) {
    throw Error(ErrorCode::bad_file, "The list " + why + ".",
                place + ", field 'tokenizer.ggml." + field + "'");
  };
  const std::string count = std::to_string(v.tokens.size());
  if (v.tokens.empty() || v.tokens.size() >= kMaximumTokens) {
    reject("tokens", "has " + count + " tokens; 1 to 2^20 can be read");
  }
  if (!v.scores.empty() && v.scores.size() != v.tokens.size()) {
    reject("scores", "must have one for each of the " + count + " tokens");
  }
  if (!v.token_types.empty() && v.token_types.size() != v.tokens.size()) {
    reject("token_type", "must have one for each of the " + count + " tokens");
  }
  const std::pair<const char*, std::optional<int32_t>> ids[] = {
      {"bos", v.bos}, {"eos", v.eos}, {"unknown", v.unk}};
  for (const auto& [name, id] : ids) {
    if (id && (*id < 0 || static_cast<size_t>(*id) >= v.tokens.size())) {
      throw Error(ErrorCode::bad_file,
                  "The id " + std::to_string(*id) + " is not one of the " + count + " tokens.",
                  place + ", field 'tokenizer.ggml." + name + "_token_id'");
    }
  }
}

PieceKind kind_of(const GgufVocabulary& v, size_t id) {
  if (!v.token_types.empty()) return static_cast<PieceKind>(v.token_types[id]);
  const auto is = [&](std::optional<int32_t> other) {
    return other && static_cast<size_t>(*other) == id;
  };
  if (is(v.unk)) return PieceKind::unknown;
  if (is(v.bos) || is(v.eos)) return PieceKind::control;
  return byte_of_token(v.tokens[id]) >= 0 ? PieceKind::byte : PieceKind::normal;
}

std::unique_ptr<Tokenizer::Parts> make_pieces(const GgufVocabulary& v, const std::string& place) {
  if (v.scores.empty()) {
    throw Error(ErrorCode::bad_file, "A vocabulary of pieces needs their scores.",
                place + ", field 'tokenizer.ggml.scores'");
  }
  const bool unigram = v.model == kUnigrams;
  PieceModel model;
  model.unigram = unigram;
  if (!v.characters.empty()) model.characters = CharacterMap::read(v.characters, place);
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    PieceKind kind = kind_of(v, id);
    if (unigram && kind == PieceKind::user_defined && v.tokens[id].starts_with("<extra_id_")) {
      // No pieces, but tokens that take the white space around them.
      kind = PieceKind::unused;
      model.added.push_back({.content = v.tokens[id],
                             .id = static_cast<int32_t>(id),
                             .special = true,
                             .strip_left = true,
                             .strip_right = true});
    }
    model.pieces.push_back({v.tokens[id], v.scores[id], kind});
  }
  model.bos = v.bos;
  model.eos = v.eos;
  model.prefix_space = v.add_space_prefix.value_or(true);
  model.prefix_first_only = false;
  model.remove_extra_spaces = v.remove_extra_whitespaces.value_or(false);
  model.add_bos = v.add_bos.value_or(!unigram);
  model.add_eos = v.add_eos.value_or(unigram);
  return make_piece_tokenizer(std::move(model), place);
}

std::unique_ptr<Tokenizer::Parts> make_byte_level(const GgufVocabulary& v,
                                                  const std::string& place) {
  const Cutting& cutting = cutting_of(v, place);
  ByteLevelModel model;
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const PieceKind kind = kind_of(v, i);
    if (kind == PieceKind::control || kind == PieceKind::user_defined ||
        kind == PieceKind::unknown) {
      model.added.push_back({v.tokens[i], id, kind != PieceKind::user_defined});
    } else {
      model.tokens.emplace_back(v.tokens[i], id);
    }
  }
  for (const std::string& merge : v.merges) model.merges.push_back({merge});
  std::vector<Normalizer::Step> normal;
  if (cutting.nfc) normal.emplace_back(Normalizer::Form::nfc);
  model.normalizer = Normalizer(std::move(normal));
  std::vector<Pretokenizer::Step> steps;
  if (v.add_space_prefix.value_or(false)) steps.emplace_back(Pretokenizer::PrefixSpace{});
  for (const std::string_view expression : cutting.expressions) {
    if (expression.empty()) break;
    steps.emplace_back(Pretokenizer::Split{Pattern::from_file(expression, place)});
  }
  model.pretokenizer = Pretokenizer(std::move(steps));
  model.ignore_merges = cutting.ignore_merges;
  auto parts = make_byte_level_tokenizer(std::move(model), place);
  parts->bos = v.bos;
  parts->eos = v.eos;
  if (v.bos && v.add_bos.value_or(cutting.add_bos)) parts->prefix.push_back(*v.bos);
  if (v.eos && v.add_eos.value_or(false)) parts->suffix.push_back(*v.eos);
  return parts;
}

}  // namespace

std::shared_ptr<const Tokenizer> gguf_tokenizer(const GgufVocabulary& vocabulary,
                                                const std::string& place) {
  const bool pieces = vocabulary.model == "llama" || vocabulary.model == kUnigrams;
  if (!pieces && vocabulary.model != "gpt2") {
    throw Error(ErrorCode::unsupported_model,
                "Vocabularies of the model '" + vocabulary.model +
                    "' are not supported, only 'llama', 't5' and 'gpt2'.",
                place + ", field 'tokenizer.ggml.model'");
  }
  check_lists(vocabulary, place);
  auto parts = pieces ? make_pieces(vocabulary, place) : make_byte_level(vocabulary, place);
  if (!vocabulary.chat_template.empty()) parts->chat_template = vocabulary.chat_template;
  return std::make_shared<const Tokenizer>(std::move(parts));
}

}  // namespace slim
