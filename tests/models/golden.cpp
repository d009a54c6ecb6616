// Golden files read, and models decoded step by step.
#include "models/golden.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/staged_kernels.h"
#include "models/waveform.h"

namespace slim::test {

std::filesystem::path golden_directory(const std::string& model) {
  return std::filesystem::path(SLIM_TEST_DATA) / "golden" / "whisper" / model;
}

Expected read_expected(const std::string& model) {
  const auto file = Checkpoint::open(golden_directory(model) / "expected");
  const auto rows = [&](const char* name) {
    const Tensor tensor = file->get(name, {kWindows, -1, -1}).to_f32();
    return tensor.reshape({kWindows * tensor.size(1), tensor.size(2)});
  };
  // f32 in the file: safetensors are read for weights, which are no integers.
  const auto tokens = floats(file->get("tokens", {kWindows, -1}));
  return {rows("mel"), rows("encoded"), {tokens.begin(), tokens.end()}, rows("logits")};
}

std::span<const int32_t> Expected::window_tokens(int64_t window) const {
  return std::span(tokens).subspan(static_cast<size_t>(window * length()),
                                   static_cast<size_t>(length()));
}

std::span<const float> Expected::logits_at(int64_t window, int64_t position) const {
  const auto vocabulary = static_cast<size_t>(logits.size(1));
  return floats(logits).subspan(static_cast<size_t>(window * length() + position) * vocabulary,
                                vocabulary);
}

CacheChoice cache(const std::string& kind, std::optional<RowType> type, bool forced) {
  CacheChoice choice;
  choice.kind = kind;
  choice.row_type = type;
  choice.forced = forced;
  return choice;
}

Loaded::Loaded(const std::filesystem::path& directory, const std::string& kernel_name,
               const CacheChoice& choice, int64_t context)
    : files(open_model(directory)),
      kernels(device_kernels(kernel_name, 2)),
      weights(std::make_shared<const ModelWeights>(files.spec, *files.checkpoint)),
      model(std::make_unique<Model>(files.spec, weights, *kernels, choice, context)) {}

Decoding::Decoding(const Model& model, ConstMatrix encoded, int64_t windows) : batch_(model) {
  const int64_t positions = encoded.rows / windows;
  encoded_.reserve(static_cast<size_t>(windows));  // sequences point into it
  for (int64_t window = 0; window < windows; ++window) {
    encoded_.push_back(model.remember(encoded.rows_from(window * positions, positions)));
    sequences_.push_back({model.new_sequence(), &encoded_.back()});
  }
}

Decoding::Decoding(const Model& model, std::vector<PageTable> encoded)
    : batch_(model), encoded_(std::move(encoded)) {
  for (const PageTable& rows : encoded_) sequences_.push_back({model.new_sequence(), &rows});
}

Decoding::Decoding(const Model& model, int64_t sequences, int64_t length) : batch_(model) {
  for (int64_t i = 0; i < sequences; ++i) {
    sequences_.push_back({.rows = model.new_sequence(), .regime = model.regime(length)});
  }
}

Tensor Decoding::step(const std::vector<std::span<const int32_t>>& next) {
  batch_.clear();
  for (size_t i = 0; i < next.size(); ++i) {
    if (next[i].empty()) continue;
    std::vector<int64_t> all(next[i].size());
    std::iota(all.begin(), all.end(), 0);
    batch_.add(sequences_[i], next[i], all);
  }
  batch_.run();
  const Matrix logits = batch_.all_logits();
  return Tensor::from({logits.row<float>(0), static_cast<size_t>(logits.rows * logits.columns)},
                      {logits.rows, logits.columns});
}

namespace {

std::vector<std::vector<int32_t>> read_tokens(const Checkpoint& file, const char* name) {
  std::vector<std::vector<int32_t>> tokens;
  const Tensor& all = file.get(name, {-1, -1});
  for (int64_t i = 0; i < all.size(0); ++i) {
    const Tensor row = all.slice(i, 1);
    const std::span<const float> values = floats(row);
    tokens.emplace_back(values.begin(), values.end());
  }
  return tokens;
}

Scored read_scored(const Checkpoint& file, const char* tokens) {
  Scored scored;
  scored.tokens = read_tokens(file, tokens);
  const std::span<const float> at = floats(file.get("at", {-1}));
  scored.at.assign(at.begin(), at.end());
  const Tensor& logits = file.get("logits", {std::ssize(scored.tokens), std::ssize(scored.at), -1});
  scored.logits = logits.reshape({logits.size(0) * logits.size(1), logits.size(2)});
  return scored;
}

float decode_difference(Decoding& decoding, const Scored& scored, int64_t chunk) {
  const size_t sequences = scored.tokens.size();
  std::vector<int64_t> done(sequences, 0);
  const float scale = largest(floats(scored.logits));
  float worst = 0;
  for (size_t step = 0; done.back() < scored.length(); ++step) {
    std::vector<std::span<const int32_t>> next(sequences);
    for (size_t i = 0; i < std::min(sequences, step + 1); ++i) {
      const int64_t count = std::min(chunk, scored.length() - done[i]);
      next[i] = std::span(scored.tokens[i])
                    .subspan(static_cast<size_t>(done[i]), static_cast<size_t>(count));
    }
    const Tensor logits = decoding.step(next);
    int64_t row = 0;
    for (size_t i = 0; i < sequences; ++i) {
      for (int64_t j = 0; j < std::ssize(next[i]); ++j, ++row, ++done[i]) {
        const auto found = std::find(scored.at.begin(), scored.at.end(), done[i]);
        if (found == scored.at.end()) continue;
        const Tensor want = scored.logits.slice(
            static_cast<int64_t>(i) * std::ssize(scored.at) + (found - scored.at.begin()), 1);
        const Tensor got = logits.slice(row, 1);
        const float difference = relative_difference(floats(got), floats(want));
        worst = std::max(worst, difference * largest(floats(want)) / scale);
      }
    }
  }
  return worst;
}

}  // namespace

Scored read_scored(const std::filesystem::path& directory) {
  return read_scored(*Checkpoint::open(directory), "tokens");
}

Translated read_translated(const std::filesystem::path& directory) {
  const auto file = Checkpoint::open(directory);
  Translated translated;
  const std::span<const float> sources = floats(file->get("sources", {-1}));
  translated.sources.assign(sources.begin(), sources.end());
  const std::span<const float> lengths = floats(file->get("lengths", {-1}));
  translated.lengths.assign(lengths.begin(), lengths.end());
  translated.encoded = file->get("encoded", {std::ssize(sources), -1});
  translated.scored = read_scored(*file, "targets");
  translated.greedy = read_tokens(*file, "greedy");
  translated.start = static_cast<int32_t>(floats(file->get("start", {1})).front());
  return translated;
}

Spoken read_spoken(const std::filesystem::path& directory) {
  const auto file = Checkpoint::open(directory);
  const auto number = [&](const char* name) {
    return static_cast<int32_t>(floats(file->get(name, {1})).front());
  };
  Spoken spoken;
  const Tensor samples = file->get("samples", {-1}).to_f32();
  spoken.samples.assign(floats(samples).begin(), floats(samples).end());
  const std::span<const float> lengths = floats(file->get("lengths", {-1}));
  spoken.lengths.assign(lengths.begin(), lengths.end());
  spoken.encoded = file->get("encoded");
  spoken.scored = read_scored(*file, "targets");
  spoken.greedy = read_tokens(*file, "greedy");
  spoken.beams = read_tokens(*file, "beams");
  for (std::vector<int32_t>& beam : spoken.beams) std::erase(beam, -1);
  spoken.start = number("start");
  spoken.end = number("end");
  return spoken;
}

std::vector<PageTable> hear(const Model& model, const Spoken& spoken) {
  std::vector<int64_t> rows;
  for (const int64_t length : spoken.lengths) rows.push_back(waveform_rows(length));
  return model.remember(model.encode(spoken.samples, spoken.lengths).matrix(), rows);
}

std::span<const int32_t> Translated::source(size_t index) const { return all_sources()[index]; }

std::vector<std::span<const int32_t>> Translated::all_sources() const {
  std::vector<std::span<const int32_t>> all;
  size_t first = 0;
  for (const int64_t length : lengths) {
    all.push_back(std::span(sources).subspan(first, static_cast<size_t>(length)));
    first += static_cast<size_t>(length);
  }
  return all;
}

float decode_difference(const Model& model, const Scored& scored, int64_t chunk) {
  Decoding decoding(model, std::ssize(scored.tokens), scored.length());
  return decode_difference(decoding, scored, chunk);
}

float decode_difference(const Model& model, const Translated& translated, int64_t chunk) {
  Decoding decoding(model, model.read(translated.all_sources()));
  return decode_difference(decoding, translated.scored, chunk);
}

float decode_difference(const Model& model, const Spoken& spoken, int64_t chunk) {
  Decoding decoding(model, hear(model, spoken));
  return decode_difference(decoding, spoken.scored, chunk);
}

double predicted_error(const Model& model) {
  double sum = 0;
  for (const LayerPlan& layer : model.plan()) sum += layer.predicted_error.value_or(0);
  return sum;
}

std::span<const float> floats(const Tensor& tensor) {
  return {tensor.values<float>(), static_cast<size_t>(tensor.elements())};
}

float largest(std::span<const float> values) {
  float most = 0;
  for (const float value : values) most = std::max(most, std::abs(value));
  return most;
}

float relative_difference(std::span<const float> a, std::span<const float> b) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (a.size() != b.size()) return kInfinity;
  float most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const float difference = std::abs(a[i] - b[i]);
    if (std::isnan(difference)) return kInfinity;
    most = std::max(most, difference);
  }
  return most / largest(b);
}

}  // namespace slim::test
