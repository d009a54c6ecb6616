// Scaling, bins and patches.
#include "engine/series_source.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/check.h"

namespace slim {
namespace {

// Of sources whose encoder output is held until it is remembered.
constexpr int64_t kRowsAtOnce = 4096;

// A series whose values do not differ is divided by this.
constexpr float kLeastScale = 1e-5F;

std::span<const float> latest(std::span<const float> values, int64_t most) {
  return values.last(std::min(values.size(), static_cast<size_t>(most)));
}

// The mean of f(value) over the known values; NaN if there are none.
template <typename Function>
double mean_of(std::span<const float> values, Function f) {
  double sum = 0;
  int64_t count = 0;
  for (const float value : values) {
    if (std::isnan(value)) continue;
    sum += f(static_cast<double>(value));
    ++count;
  }
  return sum / static_cast<double>(count);
}

int64_t rows_of(const SeriesSource& source) { return std::ssize(source.places); }

Tensor encode(const Model& model, std::span<const SeriesSource> sources,
              std::vector<int64_t>& lengths) {
  SeriesSource all;
  lengths.clear();
  for (const SeriesSource& source : sources) {
    const auto append = [](const auto& part, auto& whole) {
      whole.insert(whole.end(), part.begin(), part.end());
    };
    append(source.tokens, all.tokens);
    append(source.patches, all.patches);
    append(source.places, all.places);
    lengths.push_back(rows_of(source));
  }
  Sources rows{.lengths = lengths, .tokens = all.tokens, .places = all.places};
  if (const int64_t columns = 2 * model.spec().series.patch; columns > 0) {
    rows.patches = {reinterpret_cast<const std::byte*>(all.patches.data()), DType::f32,
                    rows_of(all), columns, columns};
  }
  return model.encode(rows);
}

}  // namespace

SeriesBins::SeriesBins(const ModelSpec& spec) : series_(spec.series), vocabulary_(spec.vocabulary) {
  const int64_t count = vocabulary_ - series_.specials - 1;
  const auto low = static_cast<float>(series_.low);
  const auto high = static_cast<float>(series_.high);
  const float step = (high - low) / static_cast<float>(count - 1);
  // From either end, with one rounding: torch.linspace.
  for (int64_t i = 0; i < count; ++i) {
    centers_.push_back(i < count / 2 ? std::fma(step, static_cast<float>(i), low)
                                     : std::fma(-step, static_cast<float>(count - 1 - i), high));
  }
}

SeriesSource SeriesBins::read(std::span<const float> values) const {
  values = latest(values, series_.context);
  SeriesSource source;
  const auto scale = static_cast<float>(mean_of(values, [](double v) { return std::fabs(v); }));
  source.scale = scale > 0 ? scale : 1.0F;
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    // The bin is 1 + how many of the boundaries, halfway between centers, are not above it.
    const float scaled = values[i] / source.scale;
    int64_t low = 0;
    int64_t high = std::ssize(centers_) - 1;
    while (low < high) {
      const auto middle = static_cast<size_t>((low + high) / 2);
      const float boundary = (centers_[middle + 1] + centers_[middle]) / 2;
      scaled < boundary ? high = static_cast<int64_t>(middle)
                        : low = static_cast<int64_t>(middle) + 1;
    }
    const int64_t bin = scaled < -1e20F ? 0 : scaled >= 1e20F ? low + 2 : low + 1;
    const int64_t token = std::min(bin + series_.specials, vocabulary_ - 1);
    source.tokens.push_back(static_cast<int32_t>(token));
    source.places.push_back(static_cast<int32_t>(i));
  }
  if (series_.ended) {
    source.tokens.push_back(series_.end);
    source.places.push_back(static_cast<int32_t>(values.size()));
  }
  return source;
}

float SeriesBins::value(int32_t token) const {
  const int64_t center =
      std::clamp<int64_t>(token - series_.specials - 1, 0, std::ssize(centers_) - 1);
  return centers_[static_cast<size_t>(center)];
}

SeriesSource cut_patches(const SeriesSpec& series, std::span<const float> values) {
  values = latest(values, series.context);
  SeriesSource source;
  const double mean = mean_of(values, [](double v) { return v; });
  source.location = std::isnan(mean) ? 0.0F : static_cast<float>(mean);
  const double variance = mean_of(values, [&](double v) {
    const double off = static_cast<float>(v) - source.location;
    return off * off;
  });
  source.scale = std::isnan(variance) ? 1.0F : static_cast<float>(std::sqrt(variance));
  if (source.scale == 0) source.scale = kLeastScale;

  const int64_t length = std::ssize(values);
  const int64_t padded = (length + series.patch - 1) / series.patch * series.patch;
  const int64_t missing = padded - length;  // before the first value
  const int64_t count = (padded - series.patch) / series.stride + 1;
  for (int64_t row = 0; row < count; ++row) {
    std::vector<float> patch(static_cast<size_t>(2 * series.patch), 0.0F);
    bool seen = false;
    for (int64_t i = 0; i < series.patch; ++i) {
      const int64_t at = row * series.stride + i - missing;
      if (at < 0 || std::isnan(values[static_cast<size_t>(at)])) continue;
      patch[static_cast<size_t>(i)] =
          (values[static_cast<size_t>(at)] - source.location) / source.scale;
      patch[static_cast<size_t>(series.patch + i)] = 1.0F;
      seen = true;
    }
    if (!seen) continue;
    source.patches.insert(source.patches.end(), patch.begin(), patch.end());
    source.places.push_back(static_cast<int32_t>(row));
  }
  if (series.closed) {
    source.patches.resize(source.patches.size() + static_cast<size_t>(2 * series.patch), 0.0F);
    source.places.push_back(static_cast<int32_t>(count));
  }
  return source;
}

Tensor encode_series(const Model& model, const SeriesSource& source) {
  std::vector<int64_t> lengths;
  return encode(model, {&source, 1}, lengths);
}

std::vector<PageTable> remember_series(const Model& model, std::span<const SeriesSource> sources) {
  std::vector<PageTable> tables;
  std::vector<int64_t> lengths;
  for (size_t begin = 0; begin < sources.size();) {
    size_t end = begin;
    for (int64_t rows = 0; end < sources.size() && (rows == 0 || rows < kRowsAtOnce); ++end) {
      rows += rows_of(sources[end]);
    }
    const Tensor encoded = encode(model, sources.subspan(begin, end - begin), lengths);
    std::vector<PageTable> some = model.remember(encoded.matrix(), lengths);
    std::move(some.begin(), some.end(), std::back_inserter(tables));
    begin = end;
  }
  return tables;
}

double quantile_of(std::span<const double> ascending, double level) {
  check(!ascending.empty(), "a quantile is of at least one value");
  const double rank = level * static_cast<double>(ascending.size() - 1);
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, ascending.size() - 1);
  const double share = rank - static_cast<double>(below);
  return ascending[below] + share * (ascending[above] - ascending[below]);
}

double at_level(std::span<const double> levels, std::span<const double> values, double level) {
  const auto next = std::upper_bound(levels.begin(), levels.end(), level);
  if (next == levels.begin()) return values.front();
  if (next == levels.end()) return values.back();
  const auto above = static_cast<size_t>(next - levels.begin());
  const double share = (level - levels[above - 1]) / (levels[above] - levels[above - 1]);
  return values[above - 1] + share * (values[above] - values[above - 1]);
}

}  // namespace slim
