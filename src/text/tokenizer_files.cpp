// Tokenizer::load: which files of a folder make a tokenizer.
#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "base/mapped_file.h"
#include "slim/error.h"
#include "text/byte_level_tokenizer.h"
#include "text/piece_numbering.h"
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

PieceModel read_pieces(const fs::path& path, bool legacy) {
  PieceModel model = with_text(
      path, [&](std::string_view text) { return read_sentencepiece(text, path.string()); });
  model.prefix_first_only = !legacy;
  return model;
}

// A language model's: the ids are the pieces' places.
PartsPointer from_sentencepiece(const fs::path& path, const TokenizerConfig& config) {
  PieceModel model = read_pieces(path, config.legacy.value_or(false));
  for (const AddedToken& token : config.added) {
    // Those that are pieces keep what they are as pieces.
    if (static_cast<size_t>(token.id) >= model.pieces.size()) model.added.push_back(token);
  }
  return make_piece_tokenizer(std::move(model), path.string());
}

TokenList read_token_list(const fs::path& path) {
  TokenList tokens;
  const JsonObject list = JsonObject::read(path);
  for (const std::string& content : list.fields()) {
    tokens.emplace_back(content,
                        static_cast<int32_t>(list.integer(content, 0, kMaximumTokens - 1)));
  }
  return tokens;
}

// Without what numbers them, pieces would silently get ids of another model's kind.
void require_numbering(const fs::path& folder, const std::string& name,
                       const TokenizerConfig& config) {
  const bool marked = !config.additional.empty() && config.additional.front().starts_with("__");
  const bool named = !config.additional.empty() || !config.added.empty();
  if (name == "source.spm" || marked) {
    throw Error(ErrorCode::bad_file,
                "The ids of " + name + " are those of a vocab.json: there is none.",
                folder.string());
  }
  if (name != "sentencepiece.bpe.model" || named) return;
  throw Error(ErrorCode::bad_file,
              "The ids of " + name +
                  " are those of a vocab.json, or depend on the languages that "
                  "tokenizer_config.json or special_tokens_map.json names: there is neither.",
              folder.string());
}

// An encoder-decoder model's: which of these files there is says how the pieces are numbered.
PartsPointer from_numbered_pieces(const fs::path& folder, const char* name,
                                  const TokenizerConfig& config) {
  const fs::path vocabulary = folder / "vocab.json";
  PieceModel model = read_pieces(folder / name, config.legacy.value_or(true));
  const bool aligned = std::string_view(name) == "sentencepiece.bpe.model";
  if (!fs::exists(vocabulary)) require_numbering(folder, name, config);
  if (fs::exists(vocabulary)) {
    number_by_vocabulary(model, config, read_token_list(vocabulary), aligned, vocabulary.string());
  } else if (aligned) {
    number_aligned(model, config);
  } else if (config.offset || config.sentence_mask) {
    number_after_offset(model, config);
  } else {
    number_with_extra_ids(model, config);
  }
  return make_piece_tokenizer(std::move(model), (folder / name).string());
}

PartsPointer from_target_pieces(const fs::path& folder, TokenizerConfig config) {
  const fs::path pieces = folder / "target.spm";
  fs::path vocabulary = folder / "vocab.json";
  if (config.separate) {
    vocabulary = folder / "target_vocab.json";
    config.added.clear();  // with the source's ids
    config.additional.clear();
  }
  PieceModel model = read_pieces(pieces, config.legacy.value_or(true));
  number_by_vocabulary(model, config, read_token_list(vocabulary), false, vocabulary.string());
  return make_piece_tokenizer(std::move(model), pieces.string());
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
  model.tokens = read_token_list(path);
  model.merges = with_text(folder / "merges.txt", read_merges);
  model.added = config.added;
  for (const std::string& name : config.specials) {
    const auto found = std::find_if(model.tokens.begin(), model.tokens.end(),
                                    [&](const auto& token) { return token.first == name; });
    if (found != model.tokens.end()) model.added.push_back({name, found->second, true});
  }
  std::vector<Pretokenizer::Step> steps;
  if (config.prefix_space) steps.emplace_back(Pretokenizer::PrefixSpace{});
  steps.emplace_back(byte_level_split());
  model.pretokenizer = Pretokenizer(std::move(steps));
  return make_byte_level_tokenizer(std::move(model), path.string());
}

PartsPointer from_folder(const fs::path& folder, const TokenizerConfig& config) {
  const auto exists = [&](const char* name) { return fs::exists(folder / name); };
  if (exists("tokenizer.json")) return from_json(folder / "tokenizer.json");
  for (const char* name : {"source.spm", "spiece.model", "sentencepiece.bpe.model"}) {
    if (exists(name)) return from_numbered_pieces(folder, name, config);
  }
  if (exists("tokenizer.model")) return from_sentencepiece(folder / "tokenizer.model", config);
  if (exists("vocab.json") && exists("merges.txt")) return from_vocabulary(folder, config);
  throw Error(ErrorCode::bad_file,
              "There is no tokenizer: neither tokenizer.json nor a sentencepiece file "
              "(tokenizer.model, spiece.model, sentencepiece.bpe.model, source.spm) nor vocab.json "
              "with merges.txt.",
              folder.string());
}

PartsPointer from_folder(const fs::path& folder) {
  const TokenizerConfig config = TokenizerConfig::read(folder);
  PartsPointer parts = from_folder(folder, config);
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

std::shared_ptr<const Tokenizer> Tokenizer::load_target(const fs::path& folder) {
  const auto exists = [&](const char* name) { return fs::exists(folder / name); };
  const TokenizerConfig config = TokenizerConfig::read(folder);
  const bool shared = !exists("tokenizer.json") && exists("source.spm") && exists("target.spm") &&
                      exists("vocab.json");
  if (!config.separate && !shared) return nullptr;
  PartsPointer parts = from_target_pieces(folder, config);
  config.apply(*parts);
  return std::make_shared<const Tokenizer>(std::move(parts));
}

}  // namespace slim
