// TokenizerConfig.
#include "text/tokenizer_config.h"

#include <string_view>
#include <utility>

#include "base/json.h"
#include "base/mapped_file.h"
#include "slim/error.h"
#include "text/utf8.h"

namespace slim {
namespace {

// Far above any template in use (the longest have 20 KB).
constexpr size_t kMaximumTemplate = size_t{1} << 20;

// A token named by a string or by an object with its content.
std::optional<std::string> token_name(const JsonObject& object, std::string_view field) {
  if (!object.has(field)) return std::nullopt;
  if (object.is_object(field)) return object.object(field).string("content");
  return object.string(field);
}

// One template, or several with names, of which 'default' is for plain conversations.
std::optional<std::string> read_template(const JsonObject& object) {
  if (!object.has("chat_template")) return std::nullopt;
  if (object.is_string("chat_template")) return object.string("chat_template");
  for (const JsonObject& named : object.objects("chat_template")) {
    if (named.string("name") == "default") return named.string("template");
  }
  return std::nullopt;
}

void read_special_names(const JsonObject& object, TokenizerConfig& config) {
  if (!config.bos) config.bos = token_name(object, "bos_token");
  if (!config.eos) config.eos = token_name(object, "eos_token");
  for (const char* field : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    if (auto name = token_name(object, field)) config.specials.push_back(std::move(*name));
  }
  if (!config.mask) config.mask = token_name(object, "mask_token");
  if (!config.sentence_mask) config.sentence_mask = token_name(object, "mask_token_sent");
  // Named so before and since version 5 of the library that writes these files.
  for (const char* field : {"additional_special_tokens", "extra_special_tokens"}) {
    if (!config.additional.empty() || !object.has(field) || !object.is_list(field)) continue;
    config.additional = object.strings(field, "content");
  }
}

std::optional<int32_t> count(const JsonObject& object, std::string_view field) {
  if (!object.has(field)) return std::nullopt;
  return static_cast<int32_t>(object.integer(field, 0, 1 << 16));
}

std::optional<bool> flag(const JsonObject& object, std::string_view field) {
  return object.has(field) ? std::optional(object.boolean(field)) : std::nullopt;
}

int32_t id_of(const JsonObject& object, const std::string& field) {
  int32_t id = 0;
  for (const char digit : field) {
    if (digit < '0' || digit > '9' || id >= kMaximumTokens) object.reject(field, "is no id");
    id = 10 * id + (digit - '0');
  }
  return id;
}

void read_config(const JsonObject& object, TokenizerConfig& config) {
  read_special_names(object, config);
  config.add_bos = flag(object, "add_bos_token");
  config.add_eos = flag(object, "add_eos_token");
  config.legacy = flag(object, "legacy");
  config.prefix_space = flag(object, "add_prefix_space").value_or(false);
  config.chat_template = read_template(object);
  config.extra_ids = count(object, "extra_ids");
  config.offset = count(object, "offset");
  if (object.has("language_codes")) config.language_codes = object.string("language_codes");
  config.separate = flag(object, "separate_vocabs").value_or(false);
  if (!object.has("added_tokens_decoder")) return;
  const JsonObject list = object.object("added_tokens_decoder");
  for (const std::string& field : list.fields()) {
    const JsonObject token = list.object(field);
    const auto is = [&](const char* name) { return flag(token, name).value_or(false); };
    config.added.push_back({token.string("content"), id_of(list, field), is("special"),
                            is("single_word"), is("lstrip"), is("rstrip")});
  }
}

std::string read_text(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.size() > kMaximumTemplate || utf8_prefix(text) < text.size()) {
    throw Error(ErrorCode::bad_file, "A chat template must be UTF-8 of at most 1 MiB.",
                path.string());
  }
  return std::string(text);
}

}  // namespace

TokenizerConfig TokenizerConfig::read(const std::filesystem::path& folder) {
  TokenizerConfig config;
  const auto exists = [&](const char* name) { return std::filesystem::exists(folder / name); };
  if (exists("tokenizer_config.json")) {
    read_config(JsonObject::read(folder / "tokenizer_config.json"), config);
  }
  if (exists("special_tokens_map.json")) {
    read_special_names(JsonObject::read(folder / "special_tokens_map.json"), config);
  }
  if (config.added.empty() && exists("added_tokens.json")) {
    const JsonObject list = JsonObject::read(folder / "added_tokens.json");
    for (const std::string& content : list.fields()) {
      config.added.push_back(
          {content, static_cast<int32_t>(list.integer(content, 0, kMaximumTokens - 1))});
    }
  }
  if (exists("chat_template.jinja")) {
    config.chat_template = read_text(folder / "chat_template.jinja");
  } else if (exists("chat_template.json")) {
    config.chat_template = read_template(JsonObject::read(folder / "chat_template.json"));
  }
  return config;
}

void TokenizerConfig::apply(Tokenizer::Parts& parts) const {
  const auto find = [&](const std::optional<std::string>& name) {
    return name ? parts.vocabulary.id(*name) : std::nullopt;
  };
  if (bos) parts.bos = find(bos);
  if (eos) parts.eos = find(eos);
  if (add_bos || add_eos) {
    parts.prefix.clear();
    parts.suffix.clear();
    if (add_bos.value_or(false) && parts.bos) parts.prefix.push_back(*parts.bos);
    if (add_eos.value_or(false) && parts.eos) parts.suffix.push_back(*parts.eos);
  }
  if (chat_template) parts.chat_template = chat_template;
}

}  // namespace slim
