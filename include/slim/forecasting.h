// Series of numbers: what Engine::forecast takes and gives, of models that foretell them (Chronos,
// Chronos-Bolt).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace slim {

// A series: its values at equal steps of time, the latest last. NaN: not known.
using Series = std::vector<double>;

struct ForecastOptions {
  int64_t horizon = 0;  // steps foretold; 0: as many as the model does at once
  std::vector<double> quantiles = {0.1, 0.5, 0.9};  // levels in [0, 1]
  // Of models that draw paths of tokens (Chronos); what is not given is what the model's files say.
  // For others they must not be given.
  std::optional<int> samples;         // paths of each series
  std::optional<double> temperature;  // 0: the likeliest path alone
  std::optional<int> top_k;           // as SamplingOptions has them
  std::optional<double> top_p;
  std::optional<uint64_t> seed;  // none: a random one. Path s of series i has numbers of its own
  int batch = 16;  // series foretold side by side; it changes results by rounding alone
  // After each batch; false stops: what is not done has no steps.
  std::function<bool(size_t done, size_t total)> on_done;
};

struct Forecast {
  int64_t values = 0;  // of the series that were looked at, the latest; missing ones included
  std::vector<double> median;  // [horizon]
  std::vector<double> mean;    // [horizon]: of the paths; the median, where none are drawn
  std::vector<std::vector<double>> quantiles;  // [levels][horizon]
};

struct ForecastStats {
  int64_t series = 0;
  int64_t values = 0;  // looked at, of all series
  int64_t steps = 0;   // passes through the decoder
  int64_t tokens = 0;  // written in all paths
  double encode_seconds = 0;
  double decode_seconds = 0;
  double load_seconds = 0;
  uint64_t seed = 0;             // of models that draw
  int64_t context_bytes = 0;     // most that was held: pages of both sides; shared ones once
  int64_t context_kv_bytes = 0;  // a standard cache: as many pages, and encoder rows
  int64_t weight_bytes = 0;      // as used: mapped or derived
};

// What a model was made for.
struct SeriesLimits {
  int64_t context = 0;  // values it looks at, the latest
  int64_t horizon = 0;  // steps foretold at once; further ones go on from these, and are worse
  bool draws = false;   // paths (Chronos); else quantiles at once (Chronos-Bolt)
};

}  // namespace slim
