// The greedy loop.
#include "engine/window_decoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_set>

#include "base/check.h"

namespace slim {
namespace {

struct Active {
  size_t window;  // index into requests and results
  Sequence sequence;
  double sum_logprob = 0;
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
  for (const Active& one : active) {
    own += one.sequence.rows.held_bytes();
    const bool first = encoded.insert(one.sequence.encoded).second;
    if (first) encoder += one.sequence.encoded->held_bytes();
  }
  if (own + encoder <= peak->slim) return;
  peak->slim = own + encoder;
  peak->kv = own / model.self_pages().page_bytes() * kv_page_bytes(model, false) +
             encoder / model.cross_pages().page_bytes() * kv_page_bytes(model, true);
}

// Prefill: the prompts of all windows in one pass. The row of a window's last prompt token comes to
// stand at the window's place in the batch's rows; the start token's row is read on the way.
void prefill(StepBatch& batch, std::span<const WindowRequest> windows, const SpeechTokens& tokens,
             std::vector<Active>& active, std::vector<WindowResult>& results) {
  batch.clear();
  for (size_t i = 0; i < windows.size(); ++i) {
    const auto last = static_cast<int64_t>(windows[i].prompt.size()) - 1;
    check(windows[i].start_index >= 0 && windows[i].start_index <= last,
          "the start token lies in the prompt");
    const std::array<int64_t, 2> rows = {windows[i].start_index, last};
    batch.add(active[i].sequence, windows[i].prompt, rows);
  }
  batch.run();
  for (size_t i = 0; i < windows.size(); ++i) {
    const auto row = static_cast<int64_t>(2 * i);
    results[i].no_speech_prob = probability_of(batch.logits(row), tokens.no_speech);
    const std::span<float> last = batch.logits(row + 1);
    std::copy(last.begin(), last.end(), batch.logits(static_cast<int64_t>(i)).begin());
  }
}

// Samples one token for every active window from the batch's first rows; drops windows that end.
void sample(const Model& model, StepBatch& batch, const SamplingRules& rules, int64_t max_tokens,
            std::vector<Active>& active, std::vector<WindowResult>& results) {
  const auto count = static_cast<int64_t>(active.size());
  for (int64_t i = 0; i < count; ++i) {
    apply_rules(rules, results[active[static_cast<size_t>(i)].window].tokens, batch.logits(i));
  }
  batch.log_softmax(count);
  for (int64_t i = 0; i < count; ++i) {
    Active& one = active[static_cast<size_t>(i)];
    WindowResult& result = results[one.window];
    const Choice choice = choose_greedily(rules, batch.logits(i));
    one.sum_logprob += choice.logprob;
    if (choice.token != rules.tokens->end) result.tokens.push_back(choice.token);
    const auto sampled = static_cast<int64_t>(result.tokens.size());
    result.avg_logprob = one.sum_logprob / static_cast<double>(sampled + 1);
    const bool full = one.sequence.rows.rows() >= model.spec().decoder.positions;
    if (choice.token == rules.tokens->end || sampled >= max_tokens || full) {
      one.sequence.encoded = nullptr;
    }
  }
  std::erase_if(active, [](const Active& one) { return one.sequence.encoded == nullptr; });
}

}  // namespace

std::vector<WindowResult> decode_windows(const Model& model, std::span<const WindowRequest> windows,
                                         const SamplingRules& rules, int64_t max_tokens,
                                         DecodeCounts* counts) {
  std::vector<WindowResult> results(windows.size());
  std::vector<Active> active;
  active.reserve(windows.size());
  for (size_t i = 0; i < windows.size(); ++i) {
    active.push_back({i, {model.new_sequence(), windows[i].encoded}});
  }
  if (windows.empty()) return results;
  StepBatch batch(model);
  prefill(batch, windows, *rules.tokens, active, results);
  while (true) {
    ++counts->steps;
    raise_peak(model, active, &counts->peak);
    sample(model, batch, rules, max_tokens, active, results);
    if (active.empty()) break;
    batch.clear();
    for (Active& one : active) {
      batch.add(one.sequence, std::span(&results[one.window].tokens.back(), 1));
    }
    batch.run();
  }
  for (const WindowResult& result : results) {
    counts->tokens += static_cast<int64_t>(result.tokens.size());
  }
  return results;
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
