// Slaney's mel filters.
#include "audio/mel_filters.h"

#include <algorithm>
#include <cmath>

namespace slim {
namespace {

constexpr double kHighest = 8000;         // Hz
constexpr double kSpacing = 40;           // Hz between frequencies
constexpr size_t kFrequencies = 201;      // 0, 40, ..., 8000 Hz
constexpr double kLinearEnd = 1000;       // Hz: linear below, logarithmic above
constexpr double kLinearStep = 200. / 3;  // Hz a mel
constexpr double kLinearMels = kLinearEnd / kLinearStep;

double mels_per_log() { return 27 / std::log(6.4); }

double mel_of(double frequency) {
  if (frequency < kLinearEnd) return frequency / kLinearStep;
  return kLinearMels + mels_per_log() * std::log(frequency / kLinearEnd);
}

double frequency_of(double mel) {
  if (mel < kLinearMels) return mel * kLinearStep;
  return kLinearEnd * std::exp((mel - kLinearMels) / mels_per_log());
}

}  // namespace

std::vector<MelFilter> mel_filters(int64_t bins) {
  const auto corner = [&](int64_t index) {
    return frequency_of(mel_of(kHighest) * static_cast<double>(index) /
                        static_cast<double>(bins + 1));
  };
  std::vector<MelFilter> filters(static_cast<size_t>(bins));
  for (int64_t bin = 0; bin < bins; ++bin) {
    const double low = corner(bin);
    const double middle = corner(bin + 1);
    const double high = corner(bin + 2);
    MelFilter& filter = filters[static_cast<size_t>(bin)];
    for (size_t index = 0; index < kFrequencies; ++index) {
      const double frequency = kSpacing * static_cast<double>(index);
      const double weight =
          std::min((frequency - low) / (middle - low), (high - frequency) / (high - middle));
      if (weight <= 0) continue;
      if (filter.weights.empty()) filter.first = index;
      filter.weights.push_back(static_cast<float>(weight * 2 / (high - low)));
    }
  }
  return filters;
}

}  // namespace slim
