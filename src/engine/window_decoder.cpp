// The loop over tokens.
#include "engine/window_decoder.h"

#include <algorithm>
#include <array>
#include <limits>
#include <unordered_set>

#include "base/check.h"

namespace slim {
namespace {

// One candidate of a window.
struct Active {
  size_t window;  // index into requests
  Sequence sequence;
  RandomNumbers random;
  std::vector<int32_t> tokens;
  int64_t row = 0;  // of the batch's logits
  double sum_logprob = 0;
  bool done = false;
};

// What pages of the standard cache would take, in place of one page of each side's own.
int64_t kv_page_bytes(const Model& model, bool cross) {
  int64_t bytes = 0;
  for (const LayerPlan& layer : model.plan()) {
    if (layer.cross == cross) bytes += layer.kv_bytes_per_token * kPageRows;
  }
  return bytes;
}

void raise_peak(const Model& model, const std::vector<Active>& active, ContextBytes* peak) {
  int64_t own = 0;
  int64_t encoder = 0;
  std::unordered_set<const PageTable*> encoded;
  std::unordered_set<const std::byte*> pages;
  for (const Active& one : active) {
    const PageTable& rows = one.sequence.rows;
    own += rows.held_bytes();
    for (int64_t i = 0; i < rows.page_count(); ++i) {
      const bool shared = !pages.insert(rows.pages()[i]).second;
      if (shared) own -= model.self_pages().page_bytes();
    }
    const bool first = encoded.insert(one.sequence.encoded).second;
    if (first) encoder += one.sequence.encoded->held_bytes();
  }
  if (own + encoder <= peak->slim) return;
  peak->slim = own + encoder;
  peak->kv = own / model.self_pages().page_bytes() * kv_page_bytes(model, false) +
             encoder / model.cross_pages().page_bytes() * kv_page_bytes(model, true);
}

// Prefill: the prompts of all windows in one pass, and what is begun. The row of a window's last
// token comes to stand at the window's place in the batch's rows; the start token's row is read on
// the way.
void prefill(StepBatch& batch, std::span<const WindowRequest> windows, const SpeechTokens& tokens,
             std::vector<Active>& active, std::vector<WindowResult>& results) {
  batch.clear();
  for (size_t i = 0; i < windows.size(); ++i) {
    std::vector<int32_t> prompt = windows[i].prompt;
    prompt.insert(prompt.end(), windows[i].begun.begin(), windows[i].begun.end());
    const auto last = static_cast<int64_t>(prompt.size()) - 1;
    check(windows[i].start_index >= 0 && windows[i].start_index <= last,
          "the start token lies in the prompt");
    const std::array<int64_t, 2> rows = {windows[i].start_index, last};
    batch.add(active[i].sequence, prompt, rows);
  }
  batch.run();
  for (size_t i = 0; i < windows.size(); ++i) {
    const auto row = static_cast<int64_t>(2 * i);
    results[i].no_speech_prob = probability_of(batch.logits(row), tokens.no_speech);
    const std::span<float> last = batch.logits(row + 1);
    std::copy(last.begin(), last.end(), batch.logits(static_cast<int64_t>(i)).begin());
    active[i].row = static_cast<int64_t>(i);
  }
}

Active candidate(const WindowRequest& request, size_t window, int number, Sequence sequence,
                 const DecodeSetting& setting) {
  const uint64_t stream = request.stream << 20 | static_cast<uint64_t>(setting.attempt) << 10 |
                          static_cast<uint64_t>(number);
  return {window, std::move(sequence), RandomNumbers(setting.seed, stream), request.begun};
}

// The other candidates of each window, which go on from the same rows. Those of one window stand
// together, so that a kernel reads its encoder rows once for all of them.
void fork(std::span<const WindowRequest> windows, const DecodeSetting& setting,
          std::vector<Active>& active) {
  std::vector<Active> all;
  for (Active& first : active) {
    const size_t window = first.window;
    all.push_back(std::move(first));
    const size_t original = all.size() - 1;
    for (int number = 1; number < setting.candidates; ++number) {
      const Sequence& from = all[original].sequence;
      Sequence sequence{from.rows.fork(), from.encoded, from.regime};
      all.push_back(candidate(windows[window], window, number, std::move(sequence), setting));
      all.back().row = all[original].row;
    }
  }
  active = std::move(all);
}

// Samples one token for every active candidate from its row.
void sample(StepBatch& batch, const DecodeSetting& setting, std::vector<Active>& active) {
  const SamplingRules& rules = setting.rules;
  for (const Active& one : active) apply_rules(rules, one.tokens, batch.logits(one.row));
  batch.log_softmax(active.back().row + 1);
  for (Active& one : active) {
    const std::span<const float> logprobs = batch.logits(one.row);
    const Choice choice = setting.temperature > 0
                              ? choose_randomly(rules, logprobs, setting.temperature, one.random)
                              : choose_greedily(rules, logprobs);
    one.sum_logprob += choice.logprob;
    one.done = choice.token == rules.tokens->end;
    if (!one.done) one.tokens.push_back(choice.token);
  }
}

// Which candidate of each window is the likeliest so far.
class Best {
 public:
  explicit Best(std::span<const WindowRequest> windows)
      : windows_(windows),
        scores_(windows.size(), -std::numeric_limits<double>::infinity()),
        taken_(windows.size(), false) {}

  int64_t sampled(const Active& one) const {
    return static_cast<int64_t>(one.tokens.size() - windows_[one.window].begun.size());
  }
  void offer(Active& one, WindowResult* result) {
    const auto tokens = static_cast<double>(sampled(one));
    const double score = one.sum_logprob / std::max(1.0, tokens);
    // Equals: the first to end, then the first in number; neighbours have no say in either.
    if (taken_[one.window] && !(score > scores_[one.window])) return;
    taken_[one.window] = true;
    scores_[one.window] = score;
    result->tokens = std::move(one.tokens);
    result->avg_logprob = one.sum_logprob / (tokens + 1);
  }

 private:
  std::span<const WindowRequest> windows_;
  std::vector<double> scores_;
  std::vector<bool> taken_;
};

}  // namespace

std::vector<WindowResult> decode_windows(const Model& model, std::span<const WindowRequest> windows,
                                         const DecodeSetting& setting, DecodeCounts* counts) {
  std::vector<WindowResult> results(windows.size());
  std::vector<Active> active;
  for (size_t i = 0; i < windows.size(); ++i) {
    Sequence sequence{model.new_sequence(), windows[i].encoded};
    active.push_back(candidate(windows[i], i, 0, std::move(sequence), setting));
    results[i].temperature = setting.temperature;
  }
  if (windows.empty()) return results;
  StepBatch batch(model);
  prefill(batch, windows, *setting.rules.tokens, active, results);
  if (setting.temperature > 0) fork(windows, setting, active);
  Best best(windows);
  while (true) {
    ++counts->steps;
    raise_peak(model, active, &counts->peak);
    sample(batch, setting, active);
    for (Active& one : active) {
      const int64_t sampled = best.sampled(one);
      const bool full = one.sequence.rows.rows() >= model.spec().decoder.positions;
      one.done |= sampled >= setting.max_tokens || full;
      if (!one.done) continue;
      counts->tokens += sampled;
      best.offer(one, &results[one.window]);
    }
    std::erase_if(active, [](const Active& one) { return one.done; });
    if (active.empty()) return results;
    batch.clear();
    for (size_t i = 0; i < active.size(); ++i) {
      batch.add(active[i].sequence, std::span(&active[i].tokens.back(), 1));
      active[i].row = static_cast<int64_t>(i);
    }
    batch.run();
  }
}

std::vector<DetectedLanguage> detect_languages(const Model& model,
                                               std::span<const PageTable* const> encoded,
                                               const SpeechTokens& tokens) {
  std::vector<Sequence> sequences;
  sequences.reserve(encoded.size());
  StepBatch batch(model);
  batch.clear();
  for (const PageTable* rows : encoded) {
    sequences.push_back({model.new_sequence(), rows});
    batch.add(sequences.back(), std::span(&tokens.start, 1));
  }
  batch.run();
  std::vector<DetectedLanguage> detected(encoded.size());
  std::vector<float> logits(tokens.languages.size());
  for (size_t i = 0; i < encoded.size(); ++i) {
    const std::span<float> row = batch.logits(static_cast<int64_t>(i));
    for (size_t j = 0; j < logits.size(); ++j) {
      logits[j] = row[static_cast<size_t>(tokens.languages[j].id)];
    }
    const int64_t best = std::max<int64_t>(0, argmax(logits));
    detected[i] = {static_cast<size_t>(best), probability_of(logits, best)};
  }
  return detected;
}

}  // namespace slim
