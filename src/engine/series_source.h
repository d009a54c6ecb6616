// SeriesSource: a series as a model's encoder reads it, and the way back from what its decoder
// says. By tokens (SeriesBins): value / scale, scale the mean |value|, in the bin of the nearest of
// centers that lie evenly; an end token after them. By patches (cut_patches): (value - location) /
// scale, the mean and the standard deviation, so many at a time, each with a 1; 0 and 0 where a
// value is missing or where the first patch reaches beyond the series.
//
// Missing values, and patches without any value, are rows that nothing may see: they are left out,
// and `places` has the gaps. Sums are in double precision; what goes into f32 does so where the
// chronos-forecasting package has it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/model.h"

namespace slim {

struct SeriesSource {
  std::vector<int32_t> tokens;
  std::vector<float> patches;   // [rows, 2 patch], instead
  std::vector<int32_t> places;  // of each row
  float location = 0;
  float scale = 1;
};

class SeriesBins {
 public:
  explicit SeriesBins(const ModelSpec& spec);

  // `values`: NaN is missing, the others are finite. At most the last SeriesSpec::context count.
  SeriesSource read(std::span<const float> values) const;
  // What a token says, before it is multiplied by a scale. Of special tokens: the lowest center.
  float value(int32_t token) const;

 private:
  const SeriesSpec& series_;
  int64_t vocabulary_;
  std::vector<float> centers_;
};

SeriesSource cut_patches(const SeriesSpec& series, std::span<const float> values);

// The encoder's output of one source.
Tensor encode_series(const Model& model, const SeriesSource& source);
// What cross attention needs of each, some thousand rows at a time.
std::vector<PageTable> remember_series(const Model& model, std::span<const SeriesSource> sources);

// By linear interpolation between values in ascending order, of which the first is the quantile of
// level 0 and the last that of level 1.
double quantile_of(std::span<const double> ascending, double level);
// By linear interpolation between values at ascending levels; those outside are the outermost.
double at_level(std::span<const double> levels, std::span<const double> values, double level);

}  // namespace slim
