// The loop over tokens.
#include "engine/window_decoder.h"

#include <algorithm>
#include <array>

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
  int64_t row = 0;                    // of the first text's logits; the others' follow it
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

// Prefill: the prompts of all windows in one pass, and what is begun. The row of a window's last
// token comes to stand at the window's place in the batch's rows; the start token's row is read on
// the way.
void prefill(StepBatch& batch, const SpeechTokens& tokens, std::vector<Active>& active) {
  batch.clear();
  for (Active& window : active) {
    const WindowRequest& request = *window.request;
    std::vector<int32_t> prompt = request.prompt;
    prompt.insert(prompt.end(), request.begun.begin(), request.begun.end());
    const auto last = static_cast<int64_t>(prompt.size()) - 1;
    check(request.start_index >= 0 && request.start_index <= last,
          "the start token lies in the prompt");
    batch.add(window.sequences.front(), prompt, std::array{request.start_index, last});
  }
  batch.run();
  for (size_t i = 0; i < active.size(); ++i) {
    const auto row = static_cast<int64_t>(2 * i);
    active[i].result->no_speech_prob = probability_of(batch.logits(row), tokens.no_speech);
    const std::span<float> last = batch.logits(row + 1);
    active[i].row = static_cast<int64_t>(i);
    std::copy(last.begin(), last.end(), batch.logits(active[i].row).begin());
  }
}

// One more token of every text. Those of one window stand together, so that a kernel reads its
// encoder rows once for all of them.
void step(StepBatch& batch, std::vector<Active>& active) {
  batch.clear();
  int64_t row = 0;
  for (Active& window : active) {
    window.row = row;
    for (size_t i = 0; i < window.search.live(); ++i, ++row) {
      batch.add(window.sequences[i], window.search.tokens(i).last(1));
    }
  }
  batch.run();
}

// Each sample draws from its text's row; all from the only one there is where none has drawn yet.
void advance_samples(StepBatch& batch, double temperature, Active& window) {
  std::vector<Continuation> drawn;
  std::vector<RandomNumbers> left;
  for (size_t i = 0; i < window.random.size(); ++i) {
    const size_t text = window.search.length() == 0 ? 0 : i;
    const auto row = window.row + static_cast<int64_t>(text);
    const Choice choice = draw(batch.logits(row), temperature, window.random[i]);
    drawn.push_back({text, choice.token, window.search.sum_logprob(text) + choice.logprob});
    if (!window.search.ends(drawn.back())) left.push_back(window.random[i]);
  }
  window.search.advance(drawn);
  window.random = std::move(left);
}

void advance_beams(StepBatch& batch, Active& window) {
  for (size_t i = 0; i < window.search.live(); ++i) {
    window.search.offer(i, batch.logits(window.row + static_cast<int64_t>(i)));
  }
  window.search.advance(window.search.ranked());
}

void advance(StepBatch& batch, const DecodeSetting& setting, std::vector<Active>& active) {
  int64_t rows = 0;
  for (const Active& window : active) {
    for (size_t i = 0; i < window.search.live(); ++i, ++rows) {
      const std::span<const int32_t> tokens = window.search.tokens(i);
      apply_rules(setting.rules, tokens, batch.logits(rows));
      require_text(setting.rules, tokens, window.request->whole_before, batch.logits(rows));
    }
  }
  batch.log_softmax(rows);
  for (int64_t row = 0; row < rows; ++row) settle_timestamps(setting.rules, batch.logits(row));
  for (Active& window : active) {
    if (setting.temperature > 0) {
      advance_samples(batch, setting.temperature, window);
    } else {
      advance_beams(batch, window);
    }
  }
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
  prefill(batch, *setting.rules.tokens, active);
  while (true) {
    ++counts->steps;
    raise_peak(model, active, &counts->peak);
    advance(batch, setting, active);
    for (Active& window : active) {
      BeamSearch& search = window.search;
      if (!search.over()) counts->tokens += static_cast<int64_t>(search.live());
      const bool full = window.sequences.front().rows.rows() >= model.spec().decoder.positions;
      window.over = search.over() || search.length() >= setting.max_tokens || full;
      if (window.over) {
        take_best(window);
      } else {
        window.sequences = followed(search.parents(), std::move(window.sequences));
      }
    }
    std::erase_if(active, [](const Active& window) { return window.over; });
    if (active.empty()) return results;
    step(batch, active);
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
