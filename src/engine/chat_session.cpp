// A turn renders the whole conversation and keeps the rows of the tokens that it has in common with
// what is cached: usually all but the new message and a few tokens that surround it.
#include <algorithm>
#include <ctime>

#include "engine/engine_state.h"
#include "engine/generator.h"
#include "text/chat_template.h"

namespace slim {

struct ChatSession::State {
  State(Runtime& loaded, const std::string& system_message)
      : runtime(loaded),
        model(loaded.model()),
        chat(chat_template(loaded)),
        system(system_message),
        sequence{model.new_sequence()} {
    reset();
  }

  static ChatTemplate chat_template(const Runtime& runtime) {
    require_text(runtime);
    const std::optional<std::string>& source = runtime.tokenizer().chat_template();
    if (!source) {
      throw Error(ErrorCode::bad_request, "The model has no chat template.", runtime.name());
    }
    return ChatTemplate::parse(*source);
  }

  // The tokens of a conversation up to where the model's answer begins.
  std::vector<int32_t> render(const std::vector<Message>& conversation) const {
    const Tokenizer& tokenizer = runtime.tokenizer();
    ChatTemplate::Options options;
    if (tokenizer.bos()) options.bos = tokenizer.content(*tokenizer.bos());
    if (tokenizer.eos()) options.eos = tokenizer.content(*tokenizer.eos());
    options.now = begun;
    std::vector<ChatMessage> texts;
    for (const Message& one : conversation) texts.push_back({one.role, one.content});
    // The template writes the token that begins a text itself, where there is to be one.
    return tokenizer.encode(chat.render(texts, options), true);
  }

  void reset() {
    messages.clear();
    if (!system.empty()) messages.push_back({"system", system});
  }

  // Keeps the rows that the prompt can use. A page that has been sealed is not opened again: going
  // back to its start costs 63 tokens at most, and leaves what a fresh computation would.
  void keep(const std::vector<int32_t>& prompt) {
    if (prompt.empty()) return;  // refused later
    const auto rows = static_cast<size_t>(sequence.rows.rows());
    const size_t most = std::min(rows, prompt.size() - 1);
    const auto differs = std::mismatch(
        prompt.begin(), prompt.begin() + static_cast<ptrdiff_t>(most), tokens.begin());
    auto common = static_cast<int64_t>(differs.first - prompt.begin());
    const bool sealed = common / kPageRows < static_cast<int64_t>(rows) / kPageRows;
    if (sealed) common = common / kPageRows * kPageRows;
    if (common < static_cast<int64_t>(rows)) model.truncate(sequence.rows, common);
  }

  Generation reply(const std::string& message, const GenerateOptions& options) {
    std::vector<Message> turn = messages;
    turn.push_back({"user", message});
    const auto session = runtime.kernels().begin_session();
    const std::vector<int32_t> prompt = render(turn);
    keep(prompt);
    Generator generator(model, runtime.shared_tokenizer(), runtime.text_tokens());
    TextRequest request;
    request.tokens = prompt;
    request.options = &options;
    request.continues = false;
    request.kept = &sequence;
    Generation generation = std::move(generator.run(std::span(&request, 1)).front());
    const Completion& answer = generation.samples.front();
    tokens = prompt;
    tokens.insert(tokens.end(), answer.tokens.begin(), answer.tokens.end());
    generation.stats.load_seconds = runtime.load_seconds();
    generation.stats.weight_bytes = runtime.weights().bytes() + model.derived_bytes();
    if (answer.tokens.empty()) return generation;
    turn.push_back({"assistant", answer.text});
    messages = std::move(turn);
    return generation;
  }

  Runtime& runtime;
  const Model& model;
  ChatTemplate chat;
  std::string system;
  std::time_t begun = std::time(nullptr);  // the date a template may write, for all turns
  std::vector<Message> messages;
  Sequence sequence;
  std::vector<int32_t> tokens;  // what the rows were computed from, and more
};

ChatSession::ChatSession(Engine& engine, const std::string& system)
    : state_(std::make_unique<State>(engine.state_->runtime, system)) {}

ChatSession::~ChatSession() = default;

Generation ChatSession::reply(const std::string& message, const GenerateOptions& options) {
  return state_->reply(message, options);
}

void ChatSession::reset() { state_->reset(); }

const std::vector<Message>& ChatSession::messages() const { return state_->messages; }

}  // namespace slim
