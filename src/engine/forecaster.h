// Forecaster: from series to forecasts, several side by side, by either of two ways, which are
// those of the chronos-forecasting package:
//   by tokens (Chronos)        paths are drawn, those of a series over one copy of its encoder
//   rows;
//                              quantiles are the paths'. Beyond what the model foretells at a time,
//                              the median of the paths is taken for known and all is read anew.
//   by patches (Chronos-Bolt)  one step gives Q quantiles of all values. Beyond them each quantile
//   is
//                              taken for known in turn, and of the Q * Q that follow the quantiles
//                              of the same levels go on.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/model.h"
#include "slim/forecasting.h"
#include "slim/generation.h"

namespace slim {

struct ForecastSetting {
  int64_t horizon = 1;
  std::vector<double> levels;  // asked for
  SamplingOptions sampling;    // of paths; seed is set
  int64_t samples = 1;
};

// `series`: not empty each, with at least one known value among those that are looked at; the
// others are NaN. `stream`: of the first series' random numbers. Throws Error{bad_file} for outputs
// that are no numbers, and Error{bad_request} for a forecast that 32 bits cannot hold, of values
// near the largest or after many steps. Adds to `stats` what it does.
std::vector<Forecast> foretell(const Model& model, std::span<const std::vector<float>> series,
                               const ForecastSetting& setting, uint64_t stream,
                               ForecastStats& stats);

}  // namespace slim
