// Ids are ranks: a byte-level tokenizer whose merges are not listed.
#include "text/ranked_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "slim/error.h"
#include "text/byte_alphabet.h"
#include "text/byte_level_tokenizer.h"

namespace slim {
namespace {

// A token as files write it, in the alphabet of bytes.
std::string content_of(std::string_view bytes, size_t id, const std::string& place) {
  if (bytes.size() > kMaximumContent) {
    throw Error(ErrorCode::bad_file,
                "Token " + std::to_string(id) + " has " + std::to_string(bytes.size()) +
                    " bytes, more than " + std::to_string(kMaximumContent) + ".",
                place);
  }
  std::string content;
  for (const char byte : bytes) content += byte_symbol(static_cast<uint8_t>(byte));
  return content;
}

// Pairs whose joint bytes are a token; of one token by the ranks of their parts.
nlohmann::json merges_of(std::span<const std::string_view> tokens,
                         std::span<const std::string> contents) {
  std::unordered_map<std::string_view, size_t> ranks;
  for (size_t id = 0; id < tokens.size(); ++id) ranks.emplace(tokens[id], id);
  nlohmann::json merges = nlohmann::json::array();
  for (const std::string_view token : tokens) {
    std::vector<std::pair<size_t, size_t>> pairs;
    for (size_t cut = 1; cut < token.size(); ++cut) {
      const auto left = ranks.find(token.substr(0, cut));
      const auto right = ranks.find(token.substr(cut));
      if (left != ranks.end() && right != ranks.end()) {
        pairs.emplace_back(left->second, right->second);
      }
    }
    std::sort(pairs.begin(), pairs.end());
    for (const auto& [left, right] : pairs)
      merges.push_back(contents[left] + " " + contents[right]);
  }
  return merges;
}

}  // namespace

std::shared_ptr<const Tokenizer> ranked_tokenizer(std::span<const std::string_view> tokens,
                                                  std::vector<AddedToken> added,
                                                  const std::string& place) {
  ByteLevelModel model;
  model.ranked = true;
  model.tokens.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    model.tokens.emplace_back(content_of(tokens[id], id, place), static_cast<int32_t>(id));
  }
  model.added = std::move(added);
  std::vector<Pretokenizer::Step> steps;
  steps.emplace_back(byte_level_split());
  model.pretokenizer = Pretokenizer(std::move(steps));
  return std::make_shared<const Tokenizer>(make_byte_level_tokenizer(std::move(model), place));
}

std::string ranked_tokenizer_json(std::span<const std::string_view> tokens,
                                  std::span<const AddedToken> added, const std::string& place) {
  using Json = nlohmann::ordered_json;
  ranked_tokenizer(tokens, {added.begin(), added.end()}, place);  // throws where something is amiss
  std::vector<std::string> contents;
  for (size_t id = 0; id < tokens.size(); ++id) {
    contents.push_back(content_of(tokens[id], id, place));
  }
  nlohmann::json vocabulary;
  for (size_t id = 0; id < contents.size(); ++id) vocabulary[contents[id]] = id;
  Json listed = Json::array();
  for (const AddedToken& token : added) {
    listed.push_back({{"id", token.id},
                      {"content", token.content},
                      {"single_word", token.single_word},
                      {"lstrip", token.strip_left},
                      {"rstrip", token.strip_right},
                      {"normalized", false},
                      {"special", token.special}});
  }
  const Json bytes = {{"type", "ByteLevel"},
                      {"add_prefix_space", false},
                      {"trim_offsets", true},
                      {"use_regex", true}};
  const Json model = {{"type", "BPE"},
                      {"dropout", nullptr},
                      {"unk_token", nullptr},
                      {"continuing_subword_prefix", nullptr},
                      {"end_of_word_suffix", nullptr},
                      {"fuse_unk", false},
                      {"byte_fallback", false},
                      {"vocab", vocabulary},
                      {"merges", merges_of(tokens, contents)}};
  const Json all = {{"version", "1.0"},          {"truncation", nullptr}, {"padding", nullptr},
                    {"added_tokens", listed},    {"normalizer", nullptr}, {"pre_tokenizer", bytes},
                    {"post_processor", nullptr}, {"decoder", bytes},      {"model", model}};
  return all.dump() + "\n";
}

}  // namespace slim
