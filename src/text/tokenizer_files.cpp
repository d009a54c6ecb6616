// Tokenizer::load: which files of a folder make a tokenizer.
#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "base/mapped_file.h"
#include "slim/error.h"
#include "text/byte_level_tokenizer.h"
#include "text/piece_tokenizer.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_json.h"

namespace slim {
namespace {

namespace fs = std::filesystem;
using PartsPointer = std::unique_ptr<Tokenizer::Parts>;

// Calls read(text) with all of a file.
template <typename Read>
auto with_text(const fs::path& path, Read&& read) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  if (bytes.size() > kMaximumTokenizerFile) {
    throw Error(ErrorCode::bad_file, "A tokenizer may have at most 256 MiB.", path.string());
  }
  return read(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

PartsPointer from_json(const fs::path& path) {
  return with_text(
      path, [&](std::string_view text) { return parse_tokenizer_parts(text, path.string()); });
}

PartsPointer from_sentencepiece(const fs::path& path, const TokenizerConfig& config) {
  PieceModel model = with_text(
      path, [&](std::string_view text) { return read_sentencepiece(text, path.string()); });
  model.prefix_first_only = !config.legacy;
  for (const AddedToken& token : config.added) {
    // Those that are pieces keep what they are as pieces.
    if (static_cast<size_t>(token.id) >= model.pieces.size()) model.added.push_back(token);
  }
  return make_piece_tokenizer(std::move(model), path.string());
}

// A merge a line; the first line may be a comment with the format's version.
std::vector<std::vector<std::string>> read_merges(std::string_view text) {
  std::vector<std::vector<std::string>> merges;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    merges.push_back({std::string(line)});
  }
  return merges;
}

PartsPointer from_vocabulary(const fs::path& folder, const TokenizerConfig& config) {
  const fs::path path = folder / "vocab.json";
  ByteLevelModel model;
  const JsonObject list = JsonObject::read(path);
  for (const std::string& content : list.fields()) {
    model.tokens.emplace_back(content,
                              static_cast<int32_t>(list.integer(content, 0, kMaximumTokens - 1)));
  }
  model.merges = with_text(folder / "merges.txt", read_merges);
  model.added = config.added;
  for (const std::string& name : config.specials) {
    if (!list.has(name)) continue;
    const auto id = static_cast<int32_t>(list.integer(name, 0, kMaximumTokens - 1));
    model.added.push_back({name, id, true});
  }
  std::vector<Pretokenizer::Step> steps;
  if (config.prefix_space) steps.emplace_back(Pretokenizer::PrefixSpace{});
  steps.emplace_back(byte_level_split());
  model.pretokenizer = Pretokenizer(std::move(steps));
  return make_byte_level_tokenizer(std::move(model), path.string());
}

PartsPointer from_folder(const fs::path& folder) {
  const TokenizerConfig config = TokenizerConfig::read(folder);
  const auto exists = [&](const char* name) { return fs::exists(folder / name); };
  PartsPointer parts;
  if (exists("tokenizer.json")) {
    parts = from_json(folder / "tokenizer.json");
  } else if (exists("tokenizer.model")) {
    parts = from_sentencepiece(folder / "tokenizer.model", config);
  } else if (exists("vocab.json") && exists("merges.txt")) {
    parts = from_vocabulary(folder, config);
  } else {
    throw Error(ErrorCode::bad_file,
                "There is no tokenizer: neither tokenizer.json nor tokenizer.model nor vocab.json "
                "with merges.txt.",
                folder.string());
  }
  config.apply(*parts);
  return parts;
}

}  // namespace

std::shared_ptr<const Tokenizer> Tokenizer::load(const fs::path& path) {
  PartsPointer parts;
  if (fs::is_directory(path)) {
    parts = from_folder(path);
  } else if (path.extension() == ".model") {
    parts = from_sentencepiece(path, {});
  } else {
    parts = from_json(path);
  }
  return std::make_shared<const Tokenizer>(std::move(parts));
}

}  // namespace slim
