// The loop over tokens.
#include "engine/window_decoder.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"

namespace slim {
namespace {

// A window and its texts: beams, or samples.
struct Active {
  const WindowRequest* request;
  WindowResult* result;
  BeamSearch search;
  std::vector<Sequence> sequences;    // of the live texts
  std::vector<RandomNumbers> random;  // of the samples
  int64_t row = 0;                    // of the first text's next token; the others' follow it
  bool over = false;
};

void raise_peak(const Model& model, const std::vector<Active>& active, ContextBytes* peak) {
  std::vector<const Sequence*> sequences;
  for (const Active& window : active) {
    for (const Sequence& sequence : window.sequences) sequences.push_back(&sequence);
  }
  slim::raise_peak(model, sequences, peak);
}

Active begin(const Model& model, const WindowRequest& request, const DecodeSetting& setting,
             WindowResult* result) {
  const bool samples = setting.temperature > 0;
  const BeamSetting beams{.beams = setting.candidates,
                          .patience = samples ? 1 : setting.patience,
                          .length_penalty = setting.length_penalty,
                          .ends = {setting.rules.tokens->end}};
  Active active{&request, result, BeamSearch(beams, request.begun), {}, {}};
  active.sequences.push_back({model.new_sequence(), request.encoded});
  for (int number = 0; samples && number < setting.candidates; ++number) {
    const uint64_t stream = request.stream << 20 | static_cast<uint64_t>(setting.attempt) << 10 |
                            static_cast<uint64_t>(number);
    active.random.emplace_back(setting.seed, stream);
  }
  result->temperature = setting.temperature;
  return active;
}

// A pass of what was added: to the likeliest tokens, or to rows to draw from.
void run(StepBatch& batch, const DecodeSetting& setting, const ForbiddenTokens& forbidden,
         std::span<const int32_t> asked) {
  if (setting.temperature > 0) return batch.run_to_probabilities(forbidden.columns());
  const FindCandidates wanted{.x = {},
                              .count = int64_t{setting.candidates} + 1,  // as BeamSearch::offered
                              .tail = settled_tail(setting.rules),
                              .asked = asked};
  batch.run_to_candidates(wanted, forbidden.columns());
}

// What may not follow the text of a window in this row.
void forbid(const Active& window, size_t text, int64_t row, ForbiddenTokens& forbidden) {
  const std::span<const int32_t> tokens = window.search.tokens(text);
  forbidden.forbid_after(tokens, static_cast<int32_t>(row));
  forbidden.require_text(tokens, window.request->whole_before, static_cast<int32_t>(row));
}

// Prefill: the prompts of all windows in one pass, and what is begun. A window has two rows, that
// of its start token, which is read on the way and where nothing is forbidden, and that of its last
// one.
void prefill(StepBatch& batch, const DecodeSetting& setting, std::vector<Active>& active) {
  const int32_t no_speech = setting.rules.tokens->no_speech;
  ForbiddenTokens forbidden(setting.rules, batch.model().spec().vocabulary);
  std::vector<int32_t> asked;
  batch.clear();
  for (Active& window : active) {
    const WindowRequest& request = *window.request;
    std::vector<int32_t> prompt = request.prompt;
    prompt.insert(prompt.end(), request.begun.begin(), request.begun.end());
    const auto last = static_cast<int64_t>(prompt.size()) - 1;
    check(request.start_index >= 0 && request.start_index <= last,
          "the start token lies in the prompt");
    batch.add(window.sequences.front(), prompt, std::array{request.start_index, last});
    window.row = batch.rows() - 1;
    forbidden.forbid_always(static_cast<int32_t>(window.row));
    forbid(window, 0, window.row, forbidden);
    asked.insert(asked.end(), {no_speech, -1});
  }
  run(batch, setting, forbidden, asked);
  if (no_speech < 0) return;
  for (const Active& window : active) {
    const int64_t row = window.row - 1;
    const float logprob = setting.temperature > 0
                              ? batch.logits(row)[static_cast<size_t>(no_speech)]
                              : batch.candidates(row).front().log_probability;
    window.result->no_speech_prob = std::exp(static_cast<double>(logprob));
  }
}

// One more token of every text. Those of one window stand together, so that a kernel reads its
// encoder rows once for all of them.
void step(StepBatch& batch, const DecodeSetting& setting, std::vector<Active>& active) {
  ForbiddenTokens forbidden(setting.rules, batch.model().spec().vocabulary);
  forbidden.forbid_always(-1);
  batch.clear();
  for (Active& window : active) {
    window.row = batch.rows();
    for (size_t i = 0; i < window.search.live(); ++i) {
      forbid(window, i, batch.rows(), forbidden);
      batch.add(window.sequences[i], window.search.tokens(i).last(1));
    }
  }
  run(batch, setting, forbidden, {});
}

// Each sample draws from its text's row; all from the only one there is where none has drawn yet.
void advance_samples(StepBatch& batch, const DecodeSetting& setting, Active& window) {
  for (size_t i = 0; i < window.search.live(); ++i) {
    settle_timestamps(setting.rules, batch.logits(window.row + static_cast<int64_t>(i)));
  }
  std::vector<Continuation> drawn;
  std::vector<RandomNumbers> left;
  for (size_t i = 0; i < window.random.size(); ++i) {
    const size_t text = window.search.length() == 0 ? 0 : i;
    const auto row = window.row + static_cast<int64_t>(text);
    const Choice choice = draw(batch.logits(row), setting.temperature, window.random[i]);
    drawn.push_back({text, choice.token, window.search.sum_logprob(text) + choice.logprob});
    if (!window.search.ends(drawn.back())) left.push_back(window.random[i]);
  }
  window.search.advance(drawn);
  window.random = std::move(left);
}

void advance_beams(const StepBatch& batch, Active& window) {
  for (size_t i = 0; i < window.search.live(); ++i) {
    window.search.offer(i, batch.candidates(window.row + static_cast<int64_t>(i)));
  }
  window.search.advance(window.search.ranked());
}

int64_t most_tokens(const Active& window, const DecodeSetting& setting) {
  const int64_t own = window.request->max_tokens;
  return own == 0 ? setting.max_tokens : std::min(own, setting.max_tokens);
}

void take_best(const Active& window) {
  Hypothesis best = std::move(window.search.best().front());
  const size_t sampled = best.tokens.size() - window.request->begun.size();
  window.result->avg_logprob = best.sum_logprob / (static_cast<double>(sampled) + 1);
  window.result->tokens = std::move(best.tokens);
}

}  // namespace

std::vector<WindowResult> decode_windows(const Model& model, std::span<const WindowRequest> windows,
                                         const DecodeSetting& setting, DecodeCounts* counts) {
  std::vector<WindowResult> results(windows.size());
  if (windows.empty()) return results;
  std::vector<Active> active;
  for (size_t i = 0; i < windows.size(); ++i) {
    active.push_back(begin(model, windows[i], setting, &results[i]));
  }
  StepBatch batch(model);
  prefill(batch, setting, active);
  while (true) {
    ++counts->steps;
    raise_peak(model, active, &counts->peak);
    for (Active& window : active) {
      BeamSearch& search = window.search;
      if (setting.temperature > 0) {
        advance_samples(batch, setting, window);
      } else {
        advance_beams(batch, window);
      }
      if (!search.over()) counts->tokens += static_cast<int64_t>(search.live());
      const bool full = window.sequences.front().rows.rows() >= model.spec().decoder.positions;
      window.over = search.over() || search.length() >= most_tokens(window, setting) || full;
      if (window.over) {
        take_best(window);
      } else {
        window.sequences = followed(search.parents(), std::move(window.sequences));
      }
    }
    std::erase_if(active, [](const Active& window) { return window.over; });
    if (active.empty()) return results;
    step(batch, setting, active);
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
