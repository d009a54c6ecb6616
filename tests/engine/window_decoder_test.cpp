// Windows through a random model: beams and samples that share pages, against texts that are
// computed one at a time from their first token.
#include "engine/window_decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>

#include "engine/noise.h"
#include "engine/random_whisper.h"
#include "engine/runtime.h"
#include "temporary_folder.h"

namespace slim {
namespace {

class WindowDecoder : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    RandomWhisper shape;
    shape.text_positions = 160;  // more than two pages
    write_random_whisper(folder->path() / "model", shape);
    EngineOptions options;
    options.threads = 2;
    runtime = new Runtime((folder->path() / "model").string(), options);
  }
  static void TearDownTestSuite() {
    delete runtime;
    delete folder;
  }

  static const Model& model(const std::string& kind, RowType type) {
    CacheChoice choice;
    choice.kind = kind;
    choice.row_type = type;
    choice.forced = true;
    return runtime->model(choice);
  }
  static DecodeSetting setting(int candidates) {
    DecodeSetting made;
    made.rules.tokens = &runtime->tokens();
    made.rules.suppressed = runtime->tokens().steering;
    made.candidates = candidates;
    made.max_tokens = 90;
    return made;
  }
  // Encoder rows of windows of noise.
  static std::vector<PageTable> encoded(const Model& model, size_t count) {
    std::vector<PageTable> rows;
    for (size_t i = 0; i < count; ++i) {
      std::vector<float> mel = noise(static_cast<size_t>(200 * 80), 5 + static_cast<uint32_t>(i));
      const Tensor window = Tensor::from(mel, {200, 80});
      rows.push_back(model.remember(model.encode(window.matrix(), 1).matrix()));
    }
    return rows;
  }
  // Prompts of different lengths; the last window's text is begun.
  static std::vector<WindowRequest> requests(const std::vector<PageTable>& rows) {
    std::vector<WindowRequest> made;
    for (size_t i = 0; i < rows.size(); ++i) {
      WindowRequest request;
      if (i > 0) request.prompt.assign(20 * i, static_cast<int32_t>(40 + i));
      request.start_index = static_cast<int64_t>(request.prompt.size());
      request.prompt.push_back(runtime->tokens().start);
      request.encoded = &rows[i];
      request.stream = i;
      made.push_back(std::move(request));
    }
    made.back().begun = {runtime->tokens().first_timestamp, 50, 51};
    return made;
  }
  static std::vector<WindowResult> decode(const Model& model,
                                          std::span<const WindowRequest> windows,
                                          const DecodeSetting& setting,
                                          DecodeCounts* counts = nullptr) {
    DecodeCounts unwanted;
    return decode_windows(model, windows, setting, counts != nullptr ? counts : &unwanted);
  }
  // What may follow a text, from rows of its own.
  static std::vector<float> after(const Model& model, const WindowRequest& request,
                                  std::span<const int32_t> text, const SamplingRules& rules) {
    std::vector<int32_t> tokens = request.prompt;
    tokens.insert(tokens.end(), text.begin(), text.end());
    Sequence sequence{model.new_sequence(), request.encoded};
    StepBatch batch(model);
    batch.clear();
    batch.add(sequence, tokens);
    batch.run();
    settle(rules, text, batch);
    return {batch.logits(0).begin(), batch.logits(0).end()};
  }
  // The rules, on the first row of logits.
  static void settle(const SamplingRules& rules, std::span<const int32_t> text, StepBatch& batch) {
    const std::span<float> row = batch.logits(0);
    ForbiddenTokens forbidden(rules, std::ssize(row));
    forbidden.forbid_always(0);
    forbidden.forbid_after(text, 0);
    for (const ForbiddenColumns& columns : forbidden.columns()) {
      std::fill(row.begin() + columns.begin, row.begin() + columns.end,
                -std::numeric_limits<float>::infinity());
    }
    batch.log_softmax(1);
    settle_timestamps(rules, row);
  }
  static void expect_same(const std::vector<WindowResult>& a, const std::vector<WindowResult>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].tokens, b[i].tokens) << i;
      EXPECT_NEAR(a[i].avg_logprob, b[i].avg_logprob, 1e-5) << i;
      EXPECT_NEAR(a[i].no_speech_prob, b[i].no_speech_prob, 1e-6) << i;
    }
  }

  static TemporaryFolder* folder;
  static Runtime* runtime;
};
TemporaryFolder* WindowDecoder::folder = nullptr;
Runtime* WindowDecoder::runtime = nullptr;

TEST_F(WindowDecoder, OneBeamIsGreedyExactly) {
  const Model& slim = model("auto", RowType::f16);
  const std::vector<PageTable> rows = encoded(slim, 1);
  std::vector<WindowRequest> windows = requests(rows);
  windows[0].begun.clear();
  for (const bool timestamps : {true, false}) {
    DecodeSetting greedy = setting(1);
    greedy.rules.timestamps = timestamps;
    const WindowResult found = decode(slim, windows, greedy).front();

    Sequence sequence{slim.new_sequence(), windows[0].encoded};
    StepBatch batch(slim);
    batch.clear();
    // Two rows, as the decoder asks for them: a product of one rounds otherwise.
    batch.add(sequence, windows[0].prompt, std::array<int64_t, 2>{0, 0});
    std::vector<int32_t> text;
    double sum = 0;
    while (static_cast<int64_t>(text.size()) < greedy.max_tokens) {
      batch.run();
      const std::span<float> row = batch.logits(0);
      settle(greedy.rules, text, batch);
      const int64_t token = argmax(row);
      sum += row[static_cast<size_t>(token)];
      if (token == runtime->tokens().end) break;
      text.push_back(static_cast<int32_t>(token));
      batch.clear();
      batch.add(sequence, std::span(text).last(1));
    }
    EXPECT_EQ(found.tokens, text);
    EXPECT_NEAR(found.avg_logprob, sum / static_cast<double>(text.size() + 1), 1e-6);
  }
}

TEST_F(WindowDecoder, BeamsThatShareRowsAreTextsOfTheirOwn) {
  const Model& slim = model("auto", RowType::f32);
  const std::vector<PageTable> rows = encoded(slim, 3);
  const std::vector<WindowRequest> windows = requests(rows);
  DecodeSetting beams = setting(4);
  beams.length_penalty = 0.5;
  const std::vector<WindowResult> found = decode(slim, windows, beams);
  for (size_t i = 0; i < windows.size(); ++i) {
    BeamSearch search({4, 1, 0.5, {runtime->tokens().end}}, windows[i].begun);
    bool moved = false;
    while (!search.over() && search.length() < beams.max_tokens) {
      for (size_t beam = 0; beam < search.live(); ++beam) {
        search.offer(beam, after(slim, windows[i], search.tokens(beam), beams.rules));
      }
      search.advance(search.ranked());
      for (size_t beam = 0; beam < search.live(); ++beam) moved |= search.parents()[beam] != beam;
    }
    EXPECT_TRUE(moved) << "beams must take each other's rows for this to say anything";
    const Hypothesis best = search.best().front();
    EXPECT_EQ(found[i].tokens, best.tokens) << i;
    const auto sampled = static_cast<double>(best.tokens.size() - windows[i].begun.size());
    EXPECT_NEAR(found[i].avg_logprob, best.sum_logprob / (sampled + 1), 1e-4) << i;
  }
}

TEST_F(WindowDecoder, WindowsTogetherAreWindowsAlone) {
  const Model& slim = model("auto", RowType::f16);
  const std::vector<PageTable> rows = encoded(slim, 3);
  const std::vector<WindowRequest> windows = requests(rows);
  for (const double temperature : {0.0, 0.8}) {
    for (const int candidates : {1, 5}) {
      DecodeSetting any = setting(candidates);
      any.temperature = temperature;
      any.patience = 1.4;
      std::vector<WindowResult> alone;
      int64_t steps = 0;
      for (const WindowRequest& window : windows) {
        DecodeCounts counts;
        alone.push_back(decode(slim, std::span(&window, 1), any, &counts).front());
        steps = std::max(steps, counts.steps);
      }
      DecodeCounts counts;
      expect_same(decode(slim, windows, any, &counts), alone);
      EXPECT_EQ(counts.steps, steps) << "all beams of all windows are one step's batch";
    }
  }
}

TEST_F(WindowDecoder, BeamsAreThoseOfTheStandardCache) {
  const Model& kv = model("kv", RowType::f32);
  const std::vector<PageTable> kv_rows = encoded(kv, 2);
  const std::vector<WindowResult> expected = decode(kv, requests(kv_rows), setting(5));
  for (const char* kind : {"x", "k"}) {
    const Model& slim = model(kind, RowType::f32);
    const std::vector<PageTable> rows = encoded(slim, 2);
    expect_same(decode(slim, requests(rows), setting(5)), expected);
  }
}

TEST_F(WindowDecoder, BeamsHoldTheirOwnLastPagesAndShareTheRest) {
  const Model& slim = model("auto", RowType::f16);
  const std::vector<PageTable> rows = encoded(slim, 1);
  WindowRequest window;
  window.prompt.assign(100, 40);
  window.prompt.push_back(runtime->tokens().start);
  window.start_index = 100;
  window.encoded = rows.data();
  DecodeSetting beams = setting(5);
  beams.max_tokens = 20;  // 121 rows: within two pages
  beams.rules.suppressed.push_back(runtime->tokens().end);
  const int64_t page = slim.self_pages().page_bytes();
  DecodeCounts one;
  DecodeCounts five;
  beams.candidates = 1;
  decode(slim, std::span(&window, 1), beams, &one);
  EXPECT_EQ(one.peak.slim, rows[0].held_bytes() + 2 * page);
  EXPECT_EQ(one.tokens, 20);
  beams.candidates = 5;
  decode(slim, std::span(&window, 1), beams, &five);
  EXPECT_EQ(five.peak.slim, rows[0].held_bytes() + (1 + 5) * page);
  EXPECT_EQ(five.tokens, 5 * 20);
  EXPECT_EQ(five.steps, one.steps);
  EXPECT_EQ(slim.self_pages().pages_in_use(), 0);
}

TEST_F(WindowDecoder, BeamsEndWhereThePositionsDo) {
  const Model& slim = model("auto", RowType::f16);
  const std::vector<PageTable> rows = encoded(slim, 1);
  std::vector<WindowRequest> windows = requests(rows);
  DecodeSetting beams = setting(3);
  beams.max_tokens = 1000;
  beams.rules.suppressed.push_back(runtime->tokens().end);
  // The last token needs no row; the prompt has one, and what is begun three.
  EXPECT_EQ(decode(slim, windows, beams).front().tokens.size(), 160U);
}

}  // namespace
}  // namespace slim
