// Every source is optional: without an end the text runs to max_tokens.
#include "engine/text_tokens.h"

#include <algorithm>

#include "base/json.h"

namespace slim {
namespace {

std::optional<JsonObject> read_if_there(const std::filesystem::path& directory, const char* name) {
  if (directory.empty() || !std::filesystem::exists(directory / name)) return std::nullopt;
  return JsonObject::read(directory / name);
}

std::vector<int32_t> ids_of(const JsonObject& config, std::string_view field, int64_t vocabulary) {
  if (!config.has(field)) return {};
  const std::vector<int64_t> ids =
      config.is_list(field) ? config.integers(field, 0, vocabulary - 1)
                            : std::vector<int64_t>{config.integer(field, 0, vocabulary - 1)};
  return {ids.begin(), ids.end()};
}

}  // namespace

bool TextTokens::is_end(int32_t token) const {
  return std::binary_search(ends.begin(), ends.end(), token);
}

TextTokens read_text_tokens(const std::filesystem::path& directory, int64_t vocabulary,
                            const Tokenizer& tokenizer, std::span<const int32_t> others) {
  TextTokens tokens;
  tokens.begin = tokenizer.bos();
  for (const char* name : {"generation_config.json", "config.json"}) {
    const std::optional<JsonObject> config = read_if_there(directory, name);
    if (!config) continue;
    const std::vector<int32_t> begin = ids_of(*config, "bos_token_id", vocabulary);
    if (!tokens.begin && !begin.empty()) tokens.begin = begin.front();
    if (tokens.ends.empty()) tokens.ends = ids_of(*config, "eos_token_id", vocabulary);
  }
  const std::vector<int32_t> around = tokenizer.encode("", false, true);
  tokens.begins = tokens.begin && !around.empty() && around.front() == *tokens.begin;
  if (tokenizer.eos()) tokens.ends.push_back(*tokenizer.eos());
  tokens.ends.insert(tokens.ends.end(), others.begin(), others.end());
  std::sort(tokens.ends.begin(), tokens.ends.end());
  tokens.ends.erase(std::unique(tokens.ends.begin(), tokens.ends.end()), tokens.ends.end());
  return tokens;
}

}  // namespace slim
