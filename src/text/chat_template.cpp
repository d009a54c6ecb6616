// ChatTemplate over the parser and the evaluator.
#include "text/chat_template.h"

#include <utility>

#include "text/template_evaluator.h"
#include "text/template_syntax.h"

namespace slim {
namespace {

constexpr size_t kBudget = size_t{16} << 20;
constexpr size_t kBudgetPerByte = 256;

}  // namespace

ChatTemplate ChatTemplate::parse(const std::string& source) {
  return ChatTemplate(
      std::make_shared<const std::vector<TemplateStatement>>(parse_template(source)));
}

std::string ChatTemplate::render(std::span<const ChatMessage> messages,
                                 const Options& options) const {
  size_t size = 0;
  Value::List list;
  for (const ChatMessage& message : messages) {
    size += message.role.size() + message.content.size() + sizeof(ChatMessage);
    list.push_back(Value::dict(
        {{"role", Value::text(message.role)}, {"content", Value::text(message.content)}}));
  }
  TemplateRun run(kBudget + kBudgetPerByte * size, options.now);
  TemplateEvaluator evaluator(
      {{"messages", Value::list(std::move(list))},
       // Transformers passes these always.
       {"tools", Value::none()},
       {"documents", Value::none()},
       {"add_generation_prompt", Value::boolean(options.add_generation_prompt)},
       {"bos_token", Value::text(options.bos)},
       {"eos_token", Value::text(options.eos)}},
      run);
  return evaluator.render(*body_);
}

}  // namespace slim
