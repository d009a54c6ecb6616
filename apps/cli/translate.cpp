// slim translate: a line in, a line out, in the order of the lines. Or JSON, an object a line, with
// scores and the alternatives. Everything else goes to stderr.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "output.h"
#include "progress.h"

namespace slim::cli {
namespace {

struct Options {
  ModelOptions model;
  std::string file = "-";
  TranslateOptions translate;
  bool json = false;
  bool stats = false;
};

// A terminal is answered line by line; from elsewhere lines are read as many at a time as make
// batches of all lengths worth while.
constexpr size_t kBlockOfBatches = 64;

std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return text;
}

std::string as_json(const std::string& source, const Translation& translation) {
  nlohmann::ordered_json hypotheses = nlohmann::ordered_json::array();
  for (const TranslationHypothesis& one : translation.hypotheses) {
    hypotheses.push_back({{"text", one.text},
                          {"score", one.score},
                          {"logprob", one.sum_logprob},
                          {"tokens", one.tokens},
                          {"finish", name_of(one.finish)}});
  }
  const nlohmann::ordered_json all = {
      {"source", source}, {"source_tokens", translation.source_tokens}, {"hypotheses", hypotheses}};
  return all.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string printed(const Options& options, const std::string& source,
                    const Translation& translation) {
  if (options.json) return as_json(source, translation);
  std::string lines;
  for (const TranslationHypothesis& one : translation.hypotheses) {
    lines += one_line(one.text) + "\n";
  }
  return lines;
}

void add(const TranslateStats& part, TranslateStats& all) {
  all.sources += part.sources;
  all.source_tokens += part.source_tokens;
  all.tokens += part.tokens;
  all.steps += part.steps;
  all.encode_seconds += part.encode_seconds;
  all.decode_seconds += part.decode_seconds;
  all.load_seconds = part.load_seconds;
  all.weight_bytes = part.weight_bytes;
  all.context_bytes = std::max(all.context_bytes, part.context_bytes);
  all.context_kv_bytes = std::max(all.context_kv_bytes, part.context_kv_bytes);
}

void print_stats(const TranslateStats& stats) {
  const double rate =
      stats.decode_seconds > 0 ? static_cast<double>(stats.tokens) / stats.decode_seconds : 0;
  std::fprintf(stderr, "load      %9.2f s\n", stats.load_seconds);
  std::fprintf(stderr, "sources   %9lld of %lld tokens: read in %.2f s\n",
               static_cast<long long>(stats.sources), static_cast<long long>(stats.source_tokens),
               stats.encode_seconds);
  std::fprintf(stderr,
               "text      %9lld tokens of all beams: %.2f s, %.1f tokens/s, in %lld passes\n",
               static_cast<long long>(stats.tokens), stats.decode_seconds, rate,
               static_cast<long long>(stats.steps));
  std::fprintf(stderr, "weights   %12s\n", bytes_text(stats.weight_bytes).c_str());
  std::fprintf(stderr, "context   %12s held at most; a standard cache: %s\n",
               bytes_text(stats.context_bytes).c_str(), bytes_text(stats.context_kv_bytes).c_str());
}

// What of the translations was cut without having been asked for.
class Cuts {
 public:
  explicit Cuts(bool length) : length_(length) {}

  void add(const Translation& translation) {
    ++lines_;
    const auto cut = [&](const TranslationHypothesis& one) {
      return one.finish == Finish::context || (length_ && one.finish == Finish::length);
    };
    if (std::any_of(translation.hypotheses.begin(), translation.hypotheses.end(), cut)) ++cut_;
  }
  void report() const {
    if (cut_ == 0) return;
    std::fprintf(stderr, "slim: %zu of %zu lines have translations that were cut: %s.\n", cut_,
                 lines_,
                 length_ ? "the model's --max-length, or the context, allows no more tokens"
                         : "the context is full");
  }

 private:
  bool length_;
  size_t lines_ = 0;
  size_t cut_ = 0;
};

// Of a file or stdin, some lines at a time.
class Lines {
 public:
  explicit Lines(const std::string& path) : terminal_(path == "-" && isatty(STDIN_FILENO) != 0) {
    if (path == "-") return;
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) {
      throw Error(ErrorCode::bad_file, "A directory is no text.", path);
    }
    file_.open(path, std::ios::binary);
    if (!file_) throw Error(ErrorCode::bad_file, "The file cannot be read.", path);
    if (!std::filesystem::is_regular_file(path, ignored)) return;  // a pipe is read once
    std::string line;
    while (std::getline(file_, line)) ++count_;
    file_.clear();
    file_.seekg(0);
  }

  std::vector<std::string> next(size_t most) {
    std::vector<std::string> lines;
    std::istream& in = file_.is_open() ? static_cast<std::istream&>(file_) : std::cin;
    std::string line;
    while (lines.size() < (terminal_ ? 1 : most) && std::getline(in, line)) {
      if (line.ends_with('\r')) line.pop_back();
      lines.push_back(line);
    }
    return lines;
  }

  size_t count() const { return count_; }  // 0: not known

 private:
  std::ifstream file_;
  bool terminal_;
  size_t count_ = 0;
};

int run(Options& options) {
  Lines lines(options.file);
  if (options.translate.target_prefix.empty()) {
    options.model.engine.most_tokens = options.translate.max_tokens.value_or(0);
  }
  Engine engine(options.model.model, options.model.engine);
  const Interrupt interrupt;
  Progress progress(true);
  TranslateStats total;
  Cuts cuts(!options.translate.max_tokens);
  size_t before = 0;
  bool read = true;
  engine.translate({}, options.translate);  // says what is wrong with options before a line is read
  options.translate.on_done = [&](size_t, size_t done, size_t) {
    progress.show(options.file, static_cast<double>(before + done),
                  static_cast<double>(lines.count()), "lines");
    return !interrupt.requested();
  };
  while (read && !interrupt.requested()) {
    const auto sources = lines.next(kBlockOfBatches * static_cast<size_t>(options.translate.batch));
    if (sources.empty()) break;
    TranslateStats part;
    options.translate.first = before;
    const auto translations = engine.translate(sources, options.translate, &part);
    progress.clear();
    for (size_t i = 0; read && i < sources.size(); ++i) {
      if (translations[i].hypotheses.empty()) break;  // interrupted
      cuts.add(translations[i]);
      read = put(printed(options, sources[i], translations[i]));
    }
    add(part, total);
    before += sources.size();
  }
  cuts.report();
  if (options.stats) print_stats(total);
  return interrupt.requested() ? kInterrupted : 0;
}

void add_search_options(CLI::App& app, TranslateOptions& options) {
  app.add_option("--beam-size", options.beams,
                 "Texts kept side by side (1: greedy; default: the model's, or 4)");
  app.add_option("--num-hypotheses", options.hypotheses,
                 "Translations of each line, the best first")
      ->capture_default_str();
  app.add_option("--length-penalty", options.length_penalty,
                 "Scores are divided by length^this (default: the model's, or 1)");
  app.add_option("--patience", options.patience, "Ends are awaited for so many times the beams")
      ->capture_default_str();
  app.add_option("--repetition-penalty", options.repetition_penalty,
                 "Of tokens that are written again (default: the model's, or 1)");
  app.add_option("--no-repeat-ngram-size", options.no_repeat_ngram,
                 "No sequence of so many tokens comes twice (default: the model's, or 0: it may)");
  app.add_option("--min-length", options.min_tokens, "Tokens written at least")->check(counts());
  app.add_option("--max-length", options.max_tokens,
                 "Tokens written at most (default: the model's, or 256)")
      ->check(counts());
}

void add_draw_options(CLI::App& app, SamplingOptions& options) {
  app.add_option("--temp,--temperature", options.temperature,
                 "Above 0: draw the translations instead of searching them")
      ->capture_default_str();
  app.add_option("--top-k", options.top_k, "Draw from the k likeliest tokens (0: all)")
      ->capture_default_str();
  app.add_option("--top-p", options.top_p, "Draw from the fewest with this much of the probability")
      ->capture_default_str();
  app.add_option("--seed", options.seed, "Seed (default: a random one)")->check(seeds());
}

}  // namespace

Action add_translate(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  TranslateOptions& translate = options->translate;
  add_model_options(app, options->model);
  app.add_option("file", options->file, "Text, a line each (- is stdin)")->capture_default_str();
  app.add_option("--source", translate.source, "Language of the lines, as the model calls it");
  app.add_option("--target", translate.target, "Language to translate to");
  app.add_option("--target-prefix", translate.target_prefix, "What each translation begins with");
  add_search_options(app, translate);
  add_draw_options(app, translate.sampling);
  app.add_option("--batch-size", translate.batch, "Lines decoded side by side")
      ->capture_default_str();
  app.add_flag("--json", options->json, "Print an object a line, with scores");
  app.add_flag("--stats", options->stats, "Print times and memory to stderr");
  return [options] { return run(*options); };
}

}  // namespace slim::cli
