// Keys that may be absent are those that llama.cpp's converters leave out.
#include "engine/gguf_text.h"

#include <limits>
#include <optional>
#include <string>

#include "text/gguf_vocabulary.h"

namespace slim {
namespace {

constexpr int64_t kLargestId = std::numeric_limits<int32_t>::max();

// The keys "tokenizer.ggml.<name>".
class Keys {
 public:
  explicit Keys(const GgufMetadata& metadata) : metadata_(metadata) {}

  bool has(const char* name) const { return metadata_.has(full(name)); }
  std::string text(const char* name) const { return std::string(metadata_.string(full(name))); }
  std::vector<std::string> texts(const char* name) const {
    const std::vector<std::string_view> views = metadata_.strings(full(name));
    return {views.begin(), views.end()};
  }
  std::vector<float> reals(const char* name) const { return metadata_.reals(full(name)); }
  std::vector<int32_t> integers(const char* name) const {
    const std::vector<int64_t> values = metadata_.integers(full(name), 0, kLargestId);
    return {values.begin(), values.end()};
  }
  // Of signed and of unsigned ones.
  std::string bytes(const char* name) const {
    std::string bytes;
    for (const int64_t byte : metadata_.integers(full(name), -128, 255)) {
      bytes.push_back(static_cast<char>(byte));
    }
    return bytes;
  }
  std::optional<int32_t> id(const char* name) const {
    if (!has(name)) return std::nullopt;
    return static_cast<int32_t>(metadata_.integer(full(name), 0, kLargestId));
  }
  std::optional<bool> flag(const char* name) const {
    if (!has(name)) return std::nullopt;
    return metadata_.boolean(full(name));
  }

 private:
  static std::string full(const char* name) { return std::string("tokenizer.ggml.") + name; }

  const GgufMetadata& metadata_;
};

}  // namespace

std::shared_ptr<const Tokenizer> read_gguf_tokenizer(const GgufMetadata& metadata) {
  const Keys keys(metadata);
  GgufVocabulary vocabulary;
  vocabulary.model = keys.text("model");
  if (keys.has("pre")) vocabulary.pre = keys.text("pre");
  vocabulary.tokens = keys.texts("tokens");
  if (keys.has("scores")) vocabulary.scores = keys.reals("scores");
  if (keys.has("token_type")) vocabulary.token_types = keys.integers("token_type");
  if (keys.has("merges")) vocabulary.merges = keys.texts("merges");
  vocabulary.bos = keys.id("bos_token_id");
  vocabulary.eos = keys.id("eos_token_id");
  vocabulary.unk = keys.id("unknown_token_id");
  vocabulary.add_bos = keys.flag("add_bos_token");
  vocabulary.add_eos = keys.flag("add_eos_token");
  vocabulary.add_space_prefix = keys.flag("add_space_prefix");
  vocabulary.remove_extra_whitespaces = keys.flag("remove_extra_whitespaces");
  if (keys.has("precompiled_charsmap")) {
    vocabulary.characters = keys.bytes("precompiled_charsmap");
  }
  constexpr const char* kTemplate = "tokenizer.chat_template";
  if (metadata.has(kTemplate)) vocabulary.chat_template = metadata.string(kTemplate);
  return gguf_tokenizer(vocabulary, metadata.place());
}

TranslationFiles read_gguf_translation(const GgufMetadata& metadata) {
  const std::string key =
      std::string(metadata.string("general.architecture")) + ".decoder_start_token_id";
  const JsonObject nothing = JsonObject::parse("{}", metadata.place());
  TranslationFiles files{nothing, nothing, nothing, metadata.place()};
  if (!metadata.has(key)) return files;
  const int64_t start = metadata.integer(key, 0, kLargestId);
  files.config = JsonObject::parse("{\"decoder_start_token_id\": " + std::to_string(start) + "}",
                                   metadata.place());
  return files;
}

std::vector<int32_t> read_gguf_ends(const GgufMetadata& metadata, const Tokenizer& tokenizer) {
  std::vector<int32_t> ends;
  for (const char* key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    if (!metadata.has(key)) continue;
    ends.push_back(static_cast<int32_t>(metadata.integer(key, 0, tokenizer.size() - 1)));
  }
  for (const char* name : {"<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>",
                           "<|END_OF_TURN_TOKEN|>", "<|endoftext|>", "<|end_of_text|>"}) {
    const std::optional<int32_t> id = tokenizer.id(name);
    if (id && tokenizer.special(*id)) ends.push_back(*id);
  }
  return ends;
}

}  // namespace slim
