// The loop over tokens. Tokens are `written` from the ones that were begun and count on.
#include "engine/translator.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/stopwatch.h"
#include "engine/logits.h"
#include "engine/sampler.h"
#include "engine/step_batch.h"
#include "slim/error.h"

namespace slim {
namespace {

// A source and its texts: beams, or samples.
struct Active {
  size_t index = 0;
  const TranslationRequest* request = nullptr;
  std::unique_ptr<const PageTable> encoded;
  BeamSearch search;
  std::vector<Sequence> sequences;  // of the live texts
  std::vector<Sampler> samplers;    // of the samples
  int64_t limit = 0;                // tokens added, at most
  bool begins = true;               // its beginning has no rows yet
  bool over = false;

  int64_t written() const { return request->counted + search.length(); }
  // The next token is the last.
  bool ends_now() const { return search.length() + 1 >= limit; }
};

class Run {
 public:
  Run(const Model& model, std::span<const TranslationRequest> requests,
      const TranslationSetting& setting, TranslateStats& stats)
      : model_(model), requests_(requests), setting_(setting), stats_(stats), batch_(model) {}

  void run(FunctionRef<bool(size_t, std::vector<Hypothesis>)> done);

 private:
  void admit();
  Active begin(size_t index, PageTable encoded) const;
  void step();
  void advance();
  bool needs_rows(const Active& text) const;
  void settle_rows();
  void settle(Active& text, size_t live, std::span<float> row) const;
  void advance_beams(Active& text, int64_t row);
  void advance_samples(Active& text, int64_t row);
  void note_peak();

  const Model& model_;
  std::span<const TranslationRequest> requests_;
  const TranslationSetting& setting_;
  TranslateStats& stats_;
  StepBatch batch_;
  std::vector<Active> active_;
  bool whole_rows_ = true;  // in this step; else their likeliest tokens
  size_t next_ = 0;         // request
  ContextBytes peak_;
};

Active Run::begin(size_t index, PageTable encoded) const {
  const TranslationRequest& request = requests_[index];
  BeamSetting beams = setting_.search;
  beams.counted = request.counted;
  Active text{index,
              &request,
              std::make_unique<const PageTable>(std::move(encoded)),
              BeamSearch(beams, request.begun),
              {},
              {}};
  text.sequences.push_back({model_.new_sequence(), text.encoded.get()});
  const auto begun = static_cast<int64_t>(request.begun.size());
  // Its last token needs no row.
  const int64_t room = model_.context() - begun + 1;
  text.limit = std::min(setting_.most - request.counted, room);
  if (text.limit < 1) {
    throw Error(ErrorCode::bad_request, "A text that begins with " + std::to_string(begun) +
                                            " tokens has no room for more: at most " +
                                            std::to_string(setting_.most) +
                                            " are to be written, and the context is " +
                                            std::to_string(model_.context()) + ".");
  }
  for (int number = 0; setting_.samples() && number < setting_.hypotheses; ++number) {
    const uint64_t stream = request.stream << 20 | static_cast<uint64_t>(number);
    text.samplers.emplace_back(setting_.sampling, stream, 0);
    text.samplers.back().observe(request.begun);
  }
  return text;
}

void Run::admit() {
  const auto room = static_cast<size_t>(setting_.batch) - active_.size();
  if (next_ == requests_.size() || 2 * room < static_cast<size_t>(setting_.batch)) return;
  const Stopwatch clock;
  const size_t count = std::min(room, requests_.size() - next_);
  std::vector<std::span<const int32_t>> sources;
  for (size_t i = 0; i < count; ++i) sources.emplace_back(requests_[next_ + i].source);
  std::vector<PageTable> tables = model_.read(sources);
  for (PageTable& table : tables) active_.push_back(begin(next_++, std::move(table)));
  stats_.encode_seconds += clock.seconds();
}

// One more token of every text. Those over one source stand together, so that a kernel reads its
// encoder rows once for all of them.
void Run::step() {
  batch_.clear();
  for (Active& text : active_) {
    if (text.begins) {
      batch_.add(text.sequences.front(), text.request->begun);
      text.begins = false;
      continue;
    }
    for (size_t i = 0; i < text.search.live(); ++i) {
      batch_.add(text.sequences[i], text.search.tokens(i).last(1));
    }
  }
  whole_rows_ =
      !model_.judges_logits() || std::any_of(active_.begin(), active_.end(),
                                             [&](const Active& text) { return needs_rows(text); });
  if (whole_rows_) {
    batch_.run();
  } else {
    batch_.run_to_candidates({.x = {}, .count = active_.front().search.offered()});
  }
  ++stats_.steps;
}

bool Run::needs_rows(const Active& text) const {
  return setting_.samples() || text.search.offered() > kMostCandidates ||
         setting_.rules.apply_to(text.written()) || (text.ends_now() && setting_.forced_end);
}

// What may follow one text. Greedily the rules change logits, else log-probabilities.
void Run::settle(Active& text, size_t live, std::span<float> row) const {
  if (text.ends_now() && setting_.forced_end) {
    std::fill(row.begin(), row.end(), -std::numeric_limits<float>::infinity());
    row[static_cast<size_t>(*setting_.forced_end)] = 0;
    return;
  }
  setting_.rules.apply(text.search.tokens(live), text.written(), row);
}

void Run::advance_beams(Active& text, int64_t row) {
  for (size_t i = 0; i < text.search.live(); ++i) {
    const int64_t own = row + static_cast<int64_t>(i);
    if (whole_rows_) {
      text.search.offer(i, batch_.logits(own));
    } else {
      check_candidates(batch_.candidates(own));
      text.search.offer(i, batch_.candidates(own));
    }
  }
  const std::vector<Continuation> ranked = text.search.ranked();
  text.ends_now() ? text.search.finish(ranked) : text.search.advance(ranked);
}

// Each sample draws from its text's row; all from the only one there is where none has drawn yet.
void Run::advance_samples(Active& text, int64_t row) {
  std::vector<Continuation> drawn;
  std::vector<Sampler> left;
  std::vector<float> own;
  for (size_t i = 0; i < text.samplers.size(); ++i) {
    const size_t live = text.search.length() == 0 ? 0 : i;
    const std::span<const float> logits = batch_.logits(row + static_cast<int64_t>(live));
    own.assign(logits.begin(), logits.end());
    const SampledToken sampled = text.samplers[i].sample(own);
    drawn.push_back({live, sampled.token, text.search.sum_logprob(live) + sampled.logprob});
    if (!text.search.ends(drawn.back())) left.push_back(std::move(text.samplers[i]));
  }
  text.ends_now() ? text.search.finish(drawn) : text.search.advance(drawn);
  text.samplers = std::move(left);
}

void Run::settle_rows() {
  const bool logits_first = setting_.greedy() || setting_.samples();
  const int64_t rows = batch_.rows();
  for (int64_t row = 0; row < rows; ++row) check_logits(batch_.logits(row));
  if (!logits_first) batch_.log_softmax(rows);
  int64_t row = 0;
  for (Active& text : active_) {
    for (size_t i = 0; i < text.search.live(); ++i) settle(text, i, batch_.logits(row++));
  }
  if (setting_.greedy() || (setting_.renormalized && !setting_.samples())) batch_.log_softmax(rows);
}

void Run::advance() {
  if (whole_rows_) settle_rows();
  int64_t row = 0;
  for (Active& text : active_) {
    const int64_t first = row;
    row += static_cast<int64_t>(text.search.live());
    setting_.samples() ? advance_samples(text, first) : advance_beams(text, first);
    stats_.tokens += static_cast<int64_t>(text.search.live());
    text.over = text.search.over() || text.search.length() >= text.limit;
    if (!text.over) text.sequences = followed(text.search.parents(), std::move(text.sequences));
  }
}

void Run::note_peak() {
  std::vector<const Sequence*> sequences;
  for (const Active& text : active_) {
    for (const Sequence& sequence : text.sequences) sequences.push_back(&sequence);
  }
  raise_peak(model_, sequences, &peak_);
  stats_.context_bytes = std::max(stats_.context_bytes, peak_.slim);
  stats_.context_kv_bytes = std::max(stats_.context_kv_bytes, peak_.kv);
}

void Run::run(FunctionRef<bool(size_t, std::vector<Hypothesis>)> done) {
  while (true) {
    admit();
    if (active_.empty()) return;
    const Stopwatch clock;
    step();
    note_peak();
    advance();
    stats_.decode_seconds += clock.seconds();
    for (Active& text : active_) {
      if (text.over && !done(text.index, text.search.best())) return;
    }
    std::erase_if(active_, [](const Active& text) { return text.over; });
  }
}

}  // namespace

void translate_requests(const Model& model, std::span<const TranslationRequest> requests,
                        const TranslationSetting& setting, TranslateStats& stats,
                        FunctionRef<bool(size_t, std::vector<Hypothesis>)> done) {
  Run(model, requests, setting, stats).run(done);
}

}  // namespace slim
