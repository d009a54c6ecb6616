// Rotary frequencies under every scaling, as Transformers computes them: in f32, because models
// were trained with those very numbers and a last digit is half a radian at position 10^7.
//
//   f_i = base^(-2i / width)
//   linear    f_i / factor
//   dynamic   base *= (factor n / original - (factor - 1))^(width / (width - 2)), n the context
//   llama3    wavelength 2 pi / f_i: below original / high kept, above original / low divided by
//             factor, between them in proportion to the turns that `original` positions make
//   yarn      the same by pair: kept up to the pair that makes beta_fast turns in `original`
//             positions, divided by factor from the one that makes beta_slow, between them linearly
//   longrope  f_i / short_factors[i], f_i / long_factors[i]
#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>

#include "base/check.h"
#include "models/spec.h"

namespace slim {
namespace {

// base^(2i / width), in f32.
std::vector<float> wavelengths(double base, int64_t width) {
  std::vector<float> powers;
  for (int64_t i = 0; i < width; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(width);
    powers.push_back(std::pow(static_cast<float>(base), exponent));
  }
  return powers;
}

std::vector<float> inverses(const std::vector<float>& powers, std::span<const double> divisors) {
  std::vector<float> frequencies;
  for (size_t i = 0; i < powers.size(); ++i) {
    const float divisor = divisors.empty() ? 1.0F : static_cast<float>(divisors[i]);
    frequencies.push_back(1.0F / (divisor * powers[i]));
  }
  return frequencies;
}

double dynamic_base(const RopeSpec& rope, int64_t context) {
  if (context <= rope.original) return rope.base;
  const double growth =
      rope.factor * static_cast<double>(context) / static_cast<double>(rope.original) -
      (rope.factor - 1);
  const auto width = static_cast<double>(rope.width);
  return rope.base * std::pow(growth, width / (width - 2));
}

void scale_llama3(const RopeSpec& rope, std::vector<float>& frequencies) {
  const auto original = static_cast<double>(rope.original);
  const auto factor = static_cast<float>(rope.factor);
  for (float& frequency : frequencies) {
    const float wavelength = static_cast<float>(2 * std::numbers::pi) / frequency;
    if (wavelength < static_cast<float>(original / rope.high_frequency)) continue;
    if (wavelength > static_cast<float>(original / rope.low_frequency)) {
      frequency /= factor;
      continue;
    }
    const float kept =
        (static_cast<float>(original) / wavelength - static_cast<float>(rope.low_frequency)) /
        static_cast<float>(rope.high_frequency - rope.low_frequency);
    frequency = (1 - kept) * frequency / factor + kept * frequency;
  }
}

// The pair, as a real number, that makes so many turns in `original` positions.
double pair_of_turns(const RopeSpec& rope, double turns) {
  return static_cast<double>(rope.width) *
         std::log(static_cast<double>(rope.original) / (turns * 2 * std::numbers::pi)) /
         (2 * std::log(rope.base));
}

std::vector<float> yarn(const RopeSpec& rope, const std::vector<float>& powers) {
  double low = pair_of_turns(rope, rope.beta_fast);
  double high = pair_of_turns(rope, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rope.width - 1));
  if (low == high) high += 0.001;
  std::vector<float> frequencies;
  for (size_t i = 0; i < powers.size(); ++i) {
    const float place =
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float kept = 1 - std::clamp(place, 0.0F, 1.0F);
    const float divided = 1 / (static_cast<float>(rope.factor) * powers[i]);
    frequencies.push_back(divided * (1 - kept) + 1 / powers[i] * kept);
  }
  return frequencies;
}

std::shared_ptr<const Rotation> rotation(const RopeSpec& rope, int64_t context,
                                         const std::vector<float>& frequencies) {
  std::vector<double> exact(frequencies.begin(), frequencies.end());
  return std::make_shared<const Rotation>(rope.width, rope.interleaved, exact, rope.magnitude,
                                          context);
}

}  // namespace

std::vector<std::vector<float>> rope_frequencies(const RopeSpec& rope, int64_t context) {
  check(rope.width > 0 && rope.width % 2 == 0, "pairs of columns rotate");
  const double base =
      rope.scaling == RopeScaling::dynamic ? dynamic_base(rope, context) : rope.base;
  const std::vector<float> powers = wavelengths(base, rope.width);
  if (rope.scaling == RopeScaling::yarn) return {yarn(rope, powers)};
  if (rope.scaling == RopeScaling::longrope) {
    std::vector<std::vector<float>> regimes = {inverses(powers, rope.short_factors)};
    if (context > rope.original) regimes.push_back(inverses(powers, rope.long_factors));
    return regimes;
  }
  std::vector<float> frequencies = inverses(powers, rope.divisors);
  if (rope.scaling == RopeScaling::linear) {
    for (float& frequency : frequencies) frequency /= static_cast<float>(rope.factor);
  }
  if (rope.scaling == RopeScaling::llama3) scale_llama3(rope, frequencies);
  return {frequencies};
}

std::vector<std::shared_ptr<const Rotation>> rotations(const RopeSpec& rope, int64_t context) {
  std::vector<std::shared_ptr<const Rotation>> regimes;
  for (const std::vector<float>& frequencies : rope_frequencies(rope, context)) {
    regimes.push_back(rotation(rope, context, frequencies));
  }
  return regimes;
}

}  // namespace slim
