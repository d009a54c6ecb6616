// slim chat: a conversation in the terminal, or with lines of a pipe. Answers come on stdout; the
// prompt sign and everything else on stderr.
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "command.h"
#include "output.h"
#include "sampling_options.h"

namespace slim::cli {
namespace {

struct Options {
  ModelOptions model;
  std::string system;
  GenerateOptions generate;
  bool stats = false;
};

// One answer. False if nobody reads it any more.
bool answer(const Options& options, ChatSession& session, Interrupt& interrupt,
            const std::string& message) {
  GenerateOptions generate = options.generate;
  bool read = true;
  generate.on_text = [&](int, const std::string& text) {
    read = put(text);
    return read && !interrupt.requested();
  };
  generate.on_prompt = [&](int64_t, int64_t) { return !interrupt.requested(); };
  try {
    const Generation generation = session.reply(message, generate);
    if (read) read = put("\n");
    if (generation.samples.front().finish == Finish::context) {
      std::fprintf(stderr, "slim: The context is full: /reset begins anew.\n");
    }
    if (options.stats) print_generate_stats(generation.stats);
  } catch (const Error& error) {
    // A message that is too long leaves the conversation as it was.
    if (error.code() != ErrorCode::bad_request) throw;
    std::fprintf(stderr, "slim: %s\n", error.what());
  }
  return read;
}

int run(const Options& options) {
  Engine engine(options.model.model, options.model.engine);
  ChatSession session(engine, options.system);
  Interrupt interrupt;
  const bool terminal = isatty(STDIN_FILENO) != 0 && isatty(STDERR_FILENO) != 0;
  if (terminal) std::fprintf(stderr, "/reset begins anew, /exit ends; Ctrl-C stops an answer.\n");
  std::string line;
  while (true) {
    if (terminal) std::fprintf(stderr, "> ");
    if (!read_line(&line)) break;
    if (line == "/exit") return 0;
    if (line == "/reset") {
      session.reset();
      continue;
    }
    if (line.empty()) continue;
    if (!answer(options, session, interrupt, line)) return 0;
    if (interrupt.requested()) interrupt.rearm();
  }
  if (terminal) std::fprintf(stderr, "\n");
  return interrupt.requested() ? kInterrupted : 0;
}

}  // namespace

Action add_chat(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  options->generate.max_tokens = 0;
  add_model_options(app, options->model);
  app.add_option("--system", options->system, "System message");
  add_generate_options(app, options->generate);
  app.add_flag("--stats", options->stats, "Print times and memory of each answer to stderr");
  return [options] { return run(*options); };
}

}  // namespace slim::cli
