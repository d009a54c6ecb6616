// ChatTemplate: from a conversation to the text that a model was trained on, by the model's own
// template, which is written in Jinja. Renders what Transformers' apply_chat_template does, for the
// part of Jinja that template_syntax.h names. Immutable after parse; thread-safe.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace slim {

struct TemplateStatement;

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

class ChatTemplate {
 public:
  struct Options {
    bool add_generation_prompt = true;  // end with what starts an answer
    std::string bos;  // the contents of the model's tokens, for the template to use
    std::string eos;
    std::optional<std::time_t> now;  // what strftime_now tells (UTC); not given: there is no such
                                     // function, and templates fall back to a date of their own
  };

  // Throws Error{unsupported_model} naming the line and the construct that is not supported.
  static ChatTemplate parse(const std::string& source);

  // The text to encode with special tokens recognised and without the tokenizer's own template.
  // Throws Error{bad_request} with the template's words if it refuses the conversation (as with two
  // questions in a row); Error{unsupported_model} naming the line if it does what has no meaning,
  // or takes more than 16 million steps and bytes and 256 more a byte of the conversation.
  std::string render(std::span<const ChatMessage> messages, const Options& options) const;

 private:
  explicit ChatTemplate(std::shared_ptr<const std::vector<TemplateStatement>> body)
      : body_(std::move(body)) {}
  std::shared_ptr<const std::vector<TemplateStatement>> body_;
};

}  // namespace slim
