// Models advance pass by pass, so that the logits of one pass are all that is held.
#include "engine/text_scoring.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "base/mapped_file.h"
#include "engine/logits.h"
#include "engine/runtime.h"

namespace slim {
namespace {

constexpr int64_t kContext = 1024;  // of a sequence, unless asked for

int64_t sequence_length(const Runtime& runtime, int64_t asked) {
  const int64_t limit = runtime.context();
  if (asked == 0) return std::min(kContext, limit);
  if (asked >= 2 && asked <= limit) return asked;
  throw Error(ErrorCode::bad_request,
              "Sequences can have between 2 and " + std::to_string(limit) + " tokens.",
              std::to_string(asked));
}

}  // namespace

std::vector<std::vector<int32_t>> cut_text(std::span<const int32_t> tokens,
                                           std::span<const int32_t> begin, int64_t context) {
  const int64_t room = context - static_cast<int64_t>(begin.size());
  check(room > 0, "a sequence has room for its text");
  std::vector<std::vector<int32_t>> sequences;
  while (!tokens.empty()) {
    const auto count = std::min(tokens.size(), static_cast<size_t>(room));
    std::vector<int32_t> sequence(begin.begin(), begin.end());
    sequence.insert(sequence.end(), tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(count));
    if (sequence.size() > 1) sequences.push_back(std::move(sequence));
    tokens = tokens.subspan(count);
  }
  return sequences;
}

int64_t scoring_step(int64_t vocabulary) {
  constexpr int64_t kLogits = int64_t{1} << 24;
  return std::clamp<int64_t>(kLogits / vocabulary, 16, 512);
}

void score_sequence(std::span<const Model* const> models, std::span<const int32_t> tokens,
                    int64_t step_tokens, ScoreToken score) {
  const auto length = static_cast<int64_t>(tokens.size());
  std::vector<Sequence> sequences;
  std::vector<StepBatch> batches;
  for (const Model* model : models) {
    sequences.push_back({model->new_sequence()});
    sequences.back().regime = model->regime(length);
    batches.emplace_back(*model);
  }
  std::vector<int64_t> rows;
  std::vector<std::span<float>> logits(models.size());
  for (int64_t first = 0; first < length; first += step_tokens) {
    const int64_t count = std::min(step_tokens, length - first);
    rows.resize(static_cast<size_t>(count));
    std::iota(rows.begin(), rows.end(), 0);
    for (size_t m = 0; m < models.size(); ++m) {
      batches[m].clear();
      batches[m].add(sequences[m],
                     tokens.subspan(static_cast<size_t>(first), static_cast<size_t>(count)), rows);
      batches[m].run();
    }
    for (int64_t i = 0; i < count; ++i) {
      for (size_t m = 0; m < models.size(); ++m) logits[m] = batches[m].logits(i);
      score(static_cast<size_t>(first + i), logits);
    }
  }
}

TextSequences read_sequences(const Runtime& runtime, const std::string& path,
                             const ScoreOptions& options) {
  if (options.max_tokens < 0 || options.step_tokens < 0) {
    throw Error(ErrorCode::bad_request, "The number of tokens must not be negative.");
  }
  const int64_t length = sequence_length(runtime, options.context);
  const auto file = MappedFile::open(path);
  const std::string_view text(reinterpret_cast<const char*>(file->bytes().data()),
                              file->bytes().size());
  const TextTokens& ids = runtime.text_tokens();
  std::vector<int32_t> begin;
  if (ids.begins) begin.push_back(*ids.begin);
  std::vector<int32_t> tokens = runtime.tokenizer().encode(text);
  if (options.max_tokens > 0) {
    tokens.resize(std::min(tokens.size(), static_cast<size_t>(options.max_tokens)));
  }
  TextSequences sequences = cut_text(tokens, begin, length);
  if (sequences.empty()) {
    throw Error(ErrorCode::bad_request, "There are not two tokens of text in it.", path);
  }
  return sequences;
}

int64_t score_text(std::span<const Model* const> models, const TextSequences& sequences,
                   const ScoreOptions& options, ScoreTextToken score) {
  const int64_t step = options.step_tokens > 0 ? options.step_tokens
                                               : scoring_step(models.front()->spec().vocabulary);
  int64_t total = 0;
  for (const auto& tokens : sequences) total += static_cast<int64_t>(tokens.size());
  int64_t done = 0;
  int64_t count = 0;
  for (const auto& tokens : sequences) {
    score_sequence(models, tokens, step, [&](size_t i, std::span<const std::span<float>> logits) {
      score(tokens, i, logits);
    });
    ++count;
    done += static_cast<int64_t>(tokens.size());
    if (options.on_progress && !options.on_progress(done, total)) break;
  }
  return count;
}

int64_t add_divergence(const std::array<const Model*, 2>& models, const TextSequences& sequences,
                       const ScoreOptions& options, Divergence& divergence) {
  return score_text(models, sequences, options, [&](const auto&, size_t, auto logits) {
    check_logits(logits[0]);
    divergence.add(logits[0], logits[1]);
  });
}

}  // namespace slim
