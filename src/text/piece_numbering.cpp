// Numbering of pieces. Where a config lists its added tokens with their ids, that list says more
// than the rule, and is taken instead.
#include "text/piece_numbering.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "slim/error.h"

namespace slim {
namespace {

constexpr int32_t kExtraIds = 100;
constexpr int32_t kOffset = 103;

// The languages of M2M100, and of its kin for WMT 2021, in the order of their ids, which files that
// Transformers writes need not list.
constexpr std::string_view kLanguages =
    "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga "
    "gd gl gu ha he hi hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv "
    "mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su "
    "sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu";
constexpr std::string_view kLanguagesOf2021 = "en ha is ja cs ru zh de";

// Texts end in </s>, where there is one, and do not begin with <s>.
void end_only(PieceModel& model) {
  model.add_bos = false;
  model.add_eos = true;
}

int32_t size_of(const PieceModel& model) { return static_cast<int32_t>(model.pieces.size()); }

std::vector<std::string> language_tokens(const TokenizerConfig& config) {
  std::vector<std::string> tokens;
  std::string_view rest = config.language_codes == "wmt21" ? kLanguagesOf2021 : kLanguages;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(' '), rest.size());
    tokens.push_back("__" + std::string(rest.substr(0, end)) + "__");
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return tokens;
}

AddedToken special(std::string content, int32_t id) { return {std::move(content), id, true}; }

}  // namespace

void number_with_extra_ids(PieceModel& model, const TokenizerConfig& config) {
  end_only(model);
  for (const AddedToken& token : config.added) {
    // Those that are pieces keep what they are as pieces.
    if (token.id >= size_of(model)) model.added.push_back(token);
  }
  if (!model.added.empty()) return;
  const int32_t count = config.extra_ids.value_or(kExtraIds);
  for (int32_t i = 0; i < count; ++i) {
    AddedToken token =
        special("<extra_id_" + std::to_string(i) + ">", size_of(model) + count - 1 - i);
    token.strip_left = token.strip_right = true;
    model.added.push_back(std::move(token));
  }
}

void number_after_offset(PieceModel& model, const TokenizerConfig& config) {
  end_only(model);
  const int32_t offset = config.offset.value_or(kOffset);
  std::unordered_map<std::string_view, int32_t> firsts = {{"<pad>", 0}, {"</s>", 1}};
  int32_t next = 2;
  for (const auto& [name, usual] :
       {std::pair(config.sentence_mask, "<mask_1>"), std::pair(config.mask, "<mask_2>")}) {
    if (next < offset) model.added.push_back(special(name.value_or(usual), next++));
  }
  for (int32_t i = 2; next < offset; ++i) {
    model.added.push_back(special("<unk_" + std::to_string(i) + ">", next++));
  }
  for (const Piece& piece : model.pieces) {
    const auto first = firsts.find(piece.content);
    const auto place = static_cast<int32_t>(model.ids.size());
    model.ids.push_back(first == firsts.end() ? place + offset : first->second);
  }
  model.eos = 1;
}

void number_aligned(PieceModel& model, const TokenizerConfig& config) {
  end_only(model);
  for (const Piece& piece : model.pieces) {
    const auto place = static_cast<int32_t>(model.ids.size());
    model.ids.push_back(piece.kind == PieceKind::unknown ? 3
                        : piece.content == "<s>"         ? 0
                        : piece.content == "</s>"        ? 2
                                                         : place + 1);
  }
  model.bos = 0;
  model.eos = 2;
  model.added.push_back(special("<pad>", 1));
  for (const AddedToken& token : config.added) {
    if (token.id > size_of(model)) model.added.push_back(token);
  }
  if (model.added.size() > 1) return;
  int32_t next = size_of(model) + 1;
  for (const std::string& name : config.additional) model.added.push_back(special(name, next++));
  AddedToken mask = special(config.mask.value_or("<mask>"), next);
  mask.strip_left = true;
  model.added.push_back(std::move(mask));
}

void number_by_vocabulary(PieceModel& model, const TokenizerConfig& config, const TokenList& list,
                          bool with_languages, const std::string& place) {
  end_only(model);
  std::unordered_map<std::string_view, int32_t> ids(list.begin(), list.end());
  const auto find = [&](const char* name) {
    const auto found = ids.find(name);
    if (found != ids.end()) return found->second;
    throw Error(ErrorCode::bad_file, "The vocabulary has no token '" + std::string(name) + "'.",
                place);
  };
  model.unknown = find("<unk>");
  model.eos = find("</s>");
  std::unordered_set<std::string_view> pieces;
  for (const Piece& piece : model.pieces) {
    const auto found = ids.find(piece.content);
    model.ids.push_back(found == ids.end() ? -1 : found->second);
    pieces.insert(piece.content);
  }
  int32_t next = 0;
  for (const auto& [content, id] : list) {
    if (!pieces.contains(content)) model.others.emplace_back(content, id);
    next = std::max(next, id + 1);
  }
  model.added = config.added;
  std::unordered_set<int32_t> added;
  std::unordered_set<std::string_view> listed;
  for (const AddedToken& token : config.added) {
    added.insert(token.id);
    listed.insert(token.content);
  }
  const auto add_unless_there = [&](const std::string& name, int32_t id) {
    if (added.insert(id).second) model.added.push_back(special(name, id));
  };
  for (const std::string& name :
       {std::string("<unk>"), std::string("</s>"), std::string("<pad>")}) {
    const auto found = ids.find(name);
    if (found != ids.end()) add_unless_there(name, found->second);
  }
  std::vector<std::string> names = config.additional;
  if (names.empty() && with_languages) names = language_tokens(config);
  for (const std::string& name : names) {
    if (listed.contains(name)) continue;
    const auto found = ids.find(name);
    add_unless_there(name, found == ids.end() ? next++ : found->second);
  }
}

}  // namespace slim
