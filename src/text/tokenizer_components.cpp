// Readers of tokenizer.json's components. A component may be a Sequence of others, so each is
// flattened into a list first.
#include "text/tokenizer_components.h"

#include <string>
#include <string_view>
#include <utility>

#include "slim/error.h"

namespace slim {
namespace {

// Deeper than any file has them.
constexpr int kMaximumDepth = 8;

// One component and where it stands in its file.
struct Component {
  JsonObject object;
  std::string type;
  std::string field;
};

void flatten(const JsonObject& document, const JsonObject& object, const std::string& field,
             std::string_view list, std::vector<Component>& out, int depth = 0) {
  std::string type = object.string("type");
  if (type != "Sequence") {
    out.push_back({object, std::move(type), field});
    return;
  }
  if (depth == kMaximumDepth) refuse_field(document, field, "Sequences are nested too deep.");
  const auto parts = object.objects(list);
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string name = field + "." + std::string(list) + "[" + std::to_string(i) + "]";
    flatten(document, parts[i], name, list, out, depth + 1);
  }
}

// The components of a field in order; none if it is missing.
std::vector<Component> components(const JsonObject& document, const std::string& field,
                                  std::string_view list) {
  std::vector<Component> out;
  if (document.has(field)) flatten(document, document.object(field), field, list, out);
  return out;
}

[[noreturn]] void refuse_type(const JsonObject& document, const Component& component,
                              const std::string& what) {
  refuse_field(document, component.field,
               "The " + what + " '" + component.type + "' is not supported.");
}

// {"Regex": "..."} or {"String": "..."}.
Pattern read_pattern(const JsonObject& document, const Component& component) {
  const JsonObject pattern = component.object.object("pattern");
  if (pattern.has("String")) {
    const std::string text = pattern.string("String");
    if (text.empty()) pattern.reject("String", "must not be empty");
    return Pattern::literal(text);
  }
  return Pattern::from_file(pattern.string("Regex"),
                            document.place() + ", field '" + component.field + ".pattern'");
}

bool flag(const JsonObject& object, std::string_view field, bool otherwise) {
  return object.has(field) ? object.boolean(field) : otherwise;
}

Pretokenizer::Behavior read_behavior(const JsonObject& object) {
  using enum Pretokenizer::Behavior;
  const std::string name = object.string("behavior");
  if (name == "Removed") return removed;
  if (name == "Isolated") return isolated;
  if (name == "MergedWithPrevious") return merged_with_previous;
  if (name == "MergedWithNext") return merged_with_next;
  if (name == "Contiguous") return contiguous;
  object.reject("behavior", "is none of the five that there are");
}

std::string read_mark(const JsonObject& object) {
  const std::string mark = object.string("replacement");
  if (mark.empty() || mark.size() > 4) object.reject("replacement", "must be one character");
  return mark;
}

// Files of before 2024 have add_prefix_space instead.
Pretokenizer::Metaspace::Prepend read_prepend(const JsonObject& object) {
  using enum Pretokenizer::Metaspace::Prepend;
  if (!object.has("prepend_scheme")) return flag(object, "add_prefix_space", true) ? always : never;
  const std::string scheme = object.string("prepend_scheme");
  if (scheme == "always") return always;
  if (scheme == "first") return first;
  if (scheme == "never") return never;
  object.reject("prepend_scheme", "must be 'always', 'first' or 'never'");
}

void read_metaspace(const JsonObject& object, std::vector<Pretokenizer::Step>& steps) {
  const std::string mark = read_mark(object);
  steps.emplace_back(Pretokenizer::Metaspace{mark, read_prepend(object)});
  if (flag(object, "split", true)) {
    steps.emplace_back(Pretokenizer::Split{Pattern::literal(mark),
                                           Pretokenizer::Behavior::merged_with_next, false});
  }
}

void read_byte_level(const JsonObject& object, std::vector<Pretokenizer::Step>& steps) {
  if (object.boolean("add_prefix_space")) steps.emplace_back(Pretokenizer::PrefixSpace{});
  if (flag(object, "use_regex", true)) steps.emplace_back(byte_level_split());
}

void read_step(const JsonObject& document, const Component& component,
               std::vector<Pretokenizer::Step>& steps) {
  using enum Pretokenizer::Behavior;
  const JsonObject& object = component.object;
  if (component.type == "Split") {
    steps.emplace_back(Pretokenizer::Split{read_pattern(document, component), read_behavior(object),
                                           flag(object, "invert", false)});
  } else if (component.type == "Digits") {
    const bool alone = flag(object, "individual_digits", false);
    steps.emplace_back(Pretokenizer::Split{Pattern(R"(\p{N})"), alone ? isolated : contiguous});
  } else if (component.type == "Punctuation") {
    const Pattern pattern(R"([!-\/:-@\[-`{-~\p{P}])");
    steps.emplace_back(
        Pretokenizer::Split{pattern, object.has("behavior") ? read_behavior(object) : isolated});
  } else if (component.type == "WhitespaceSplit") {
    steps.emplace_back(Pretokenizer::Split{Pattern(R"([\p{White_Space}])"), removed});
  } else if (component.type == "Metaspace") {
    read_metaspace(object, steps);
  } else {
    refuse_type(document, component, "pre-tokenizer");
  }
}

// Adds one step of a decoder. After Fuse the whole text is one token.
void read_decoder_step(const JsonObject& document, const Component& component, bool& fused,
                       TokenDecoder& decoder) {
  const JsonObject& object = component.object;
  const auto refuse = [&](const std::string& text) {
    refuse_field(document, component.field, text);
  };
  if (component.type == "ByteLevel") {
    decoder.byte_level = true;
  } else if (component.type == "Metaspace") {
    decoder.replacements.emplace_back(read_mark(object), " ");
    decoder.first_without_spaces = read_prepend(object) != Pretokenizer::Metaspace::Prepend::never;
  } else if (component.type == "Replace") {
    const JsonObject pattern = object.object("pattern");
    if (fused || decoder.byte_fallback || !pattern.has("String")) {
      refuse("Only a Replace of a String before ByteFallback and Fuse is supported.");
    }
    const std::string from = pattern.string("String");
    if (from.empty()) pattern.reject("String", "must not be empty");
    decoder.replacements.emplace_back(from, object.string("content"));
  } else if (component.type == "ByteFallback") {
    decoder.byte_fallback = true;
  } else if (component.type == "Fuse") {
    fused = true;
  } else if (component.type == "Strip") {
    const std::string content = object.string("content");
    if (!fused || content.size() != 1 || object.integer("stop", 0, INT32_MAX) != 0) {
      refuse("Only a Strip of an ASCII character at the start, after Fuse, is supported.");
    }
    decoder.strip = content[0];
    decoder.strip_count = static_cast<int>(object.integer("start", 0, INT32_MAX));
  } else {
    refuse_type(document, component, "decoder");
  }
}

// The ids of a special token that a template names.
std::vector<int32_t> template_ids(const JsonObject& tokens, const std::string& name,
                                  const Vocabulary& vocabulary) {
  std::vector<int32_t> ids;
  const JsonObject token = tokens.object(name);
  for (const int64_t id : token.integers("ids", 0, vocabulary.size() - 1)) {
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

void read_template_processing(const JsonObject& object, const Vocabulary& vocabulary,
                              TextTemplate& text) {
  bool before = true;
  for (const JsonObject& piece : object.objects("single")) {
    if (piece.has("Sequence")) {
      if (!before) object.reject("single", "has the text twice");
      before = false;
      continue;
    }
    const std::string name = piece.object("SpecialToken").string("id");
    auto& list = before ? text.prefix : text.suffix;
    for (const int32_t id : template_ids(object.object("special_tokens"), name, vocabulary)) {
      list.push_back(id);
    }
  }
  if (before) object.reject("single", "has no place for the text");
}

// {"cls": ["<s>", 0], "sep": ["</s>", 2]}: one before the text, one after it.
void read_pair_processing(const JsonObject& object, const Vocabulary& vocabulary,
                          TextTemplate& text) {
  const auto id_of = [&](const char* field) {
    const auto [name, number] = object.named_number(field);
    const std::optional<int32_t> id = vocabulary.id(name);
    if (!id || *id != number) object.reject(field, "is not a token with its id");
    return *id;
  };
  text.prefix.push_back(id_of("cls"));
  text.suffix.push_back(id_of("sep"));
}

}  // namespace

void refuse_field(const JsonObject& document, const std::string& field, const std::string& text) {
  throw Error(ErrorCode::unsupported_model, text, document.place() + ", field '" + field + "'");
}

Normalizer read_normalizer(const JsonObject& document) {
  std::vector<Normalizer::Step> steps;
  for (const Component& component : components(document, "normalizer", "normalizers")) {
    using enum Normalizer::Form;
    const JsonObject& object = component.object;
    if (component.type == "NFC") {
      steps.emplace_back(nfc);
    } else if (component.type == "NFD") {
      steps.emplace_back(nfd);
    } else if (component.type == "NFKC") {
      steps.emplace_back(nfkc);
    } else if (component.type == "NFKD") {
      steps.emplace_back(nfkd);
    } else if (component.type == "Lowercase") {
      steps.emplace_back(Normalizer::Lowercase{});
    } else if (component.type == "Precompiled") {
      const std::string place =
          document.place() + ", field '" + component.field + ".precompiled_charsmap'";
      steps.emplace_back(Normalizer::Characters{
          CharacterMap::read_base64(object.string("precompiled_charsmap"), place), true});
    } else if (component.type == "Prepend") {
      steps.emplace_back(Normalizer::Prepend{object.string("prepend")});
    } else if (component.type == "Replace") {
      steps.emplace_back(
          Normalizer::Replace{read_pattern(document, component), object.string("content")});
    } else if (component.type == "Strip") {
      steps.emplace_back(
          Normalizer::Strip{object.boolean("strip_left"), object.boolean("strip_right")});
    } else {
      refuse_type(document, component, "normalizer");
    }
  }
  return Normalizer(std::move(steps));
}

PretokenizerSettings read_pretokenizer(const JsonObject& document) {
  PretokenizerSettings settings;
  std::vector<Pretokenizer::Step> steps;
  for (const Component& component : components(document, "pre_tokenizer", "pretokenizers")) {
    if (settings.byte_level) {
      refuse_field(document, component.field, "Nothing may follow 'ByteLevel' here.");
    }
    if (component.type == "ByteLevel") {
      settings.byte_level = true;
      read_byte_level(component.object, steps);
    } else {
      read_step(document, component, steps);
    }
  }
  settings.pretokenizer = Pretokenizer(std::move(steps));
  return settings;
}

TokenDecoder read_decoder(const JsonObject& document) {
  TokenDecoder decoder;
  const auto parts = components(document, "decoder", "decoders");
  if (parts.empty())
    refuse_field(document, "decoder", "A tokenizer without a decoder is not supported.");
  bool fused = false;
  for (const Component& component : parts) read_decoder_step(document, component, fused, decoder);
  if (decoder.byte_level && parts.size() > 1) {
    refuse_field(document, "decoder", "'ByteLevel' together with other decoders is not supported.");
  }
  return decoder;
}

TextTemplate read_template(const JsonObject& document, const Vocabulary& vocabulary) {
  TextTemplate text;
  for (const Component& component : components(document, "post_processor", "processors")) {
    if (component.type == "ByteLevel") continue;  // only moves offsets
    if (component.type == "RobertaProcessing" || component.type == "BertProcessing") {
      read_pair_processing(component.object, vocabulary, text);
      continue;
    }
    if (component.type != "TemplateProcessing") {
      refuse_type(document, component, "post-processor");
    }
    read_template_processing(component.object, vocabulary, text);
  }
  return text;
}

}  // namespace slim
