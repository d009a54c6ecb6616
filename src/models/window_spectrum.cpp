// Even cosines, odd cosines, even sines, odd sines.
#include "models/window_spectrum.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace slim {
namespace {

constexpr int64_t kHalf = WindowSpectrum::kWindow / 2;
constexpr int64_t kQuarter = kHalf / 2;
constexpr int64_t kPart = kQuarter + 1;
constexpr double kTolerance = 1e-6;

double angle(int64_t k, int64_t n) {
  return 2 * std::numbers::pi * static_cast<double>(k * n % WindowSpectrum::kWindow) /
         WindowSpectrum::kWindow;
}

bool close(double a, double b) { return std::abs(a - b) <= kTolerance; }

// [frequencies of this parity, kPart]
Tensor product(int64_t frequencies, int64_t parity, bool sines) {
  std::vector<float> values;
  for (int64_t k = parity; k < frequencies; k += 2) {
    for (int64_t n = 0; n < kPart; ++n) {
      values.push_back(static_cast<float>(sines ? std::sin(angle(k, n)) : std::cos(angle(k, n))));
    }
  }
  return Tensor::from(values, {std::ssize(values) / kPart, kPart});
}

}  // namespace

bool WindowSpectrum::fits(const Tensor& basis) {
  const int64_t frequencies = basis.size(0) / 2;
  if (basis.size(0) % 2 != 0 || frequencies < 2 || frequencies > kHalf + 1) return false;
  const float* const window = basis.values<float>();
  for (int64_t k = 0; k < frequencies; ++k) {
    const float* const cosines = window + k * kWindow;
    const float* const sines = window + (frequencies + k) * kWindow;
    const double sign = window[1] * sines[1] < 0 ? -1 : 1;
    for (int64_t n = 0; n < kWindow; ++n) {
      const double w = double{window[n]};
      if (!close(double{cosines[n]}, w * std::cos(angle(k, n)))) return false;
      if (!close(double{sines[n]}, sign * w * std::sin(angle(k, n)))) return false;
    }
  }
  return true;
}

WindowSpectrum::WindowSpectrum(const Tensor& basis) : frequencies_(basis.size(0) / 2) {
  std::copy_n(basis.values<float>(), kWindow, window_.begin());
  for (int64_t i = 0; i < 4; ++i) {
    products_[static_cast<size_t>(i)] = product(frequencies_, i % 2, i / 2 == 1);
  }
}

void WindowSpectrum::fold(const float* x, float* folded) const {
  float even[kHalf + 1];
  float odd[kHalf + 1];
  even[0] = window_[0] * x[0];
  even[kHalf] = window_[kHalf] * x[kHalf];
  odd[0] = odd[kHalf] = 0;
  for (int64_t n = 1; n < kHalf; ++n) {
    const float early = window_[static_cast<size_t>(n)] * x[n];
    const float late = window_[static_cast<size_t>(kWindow - n)] * x[kWindow - n];
    even[n] = early + late;
    odd[n] = early - late;
  }
  for (int64_t n = 0; n < kQuarter; ++n) {
    folded[n] = even[n] + even[kHalf - n];
    folded[kPart + n] = even[n] - even[kHalf - n];
    folded[2 * kPart + n] = odd[n] - odd[kHalf - n];
    folded[3 * kPart + n] = odd[n] + odd[kHalf - n];
  }
  folded[kQuarter] = even[kQuarter];
  folded[kPart + kQuarter] = 0;
  folded[2 * kPart + kQuarter] = 0;
  folded[3 * kPart + kQuarter] = odd[kQuarter];
}

void WindowSpectrum::measure(Kernels& kernels, ConstMatrix folded, Matrix sums,
                             Matrix magnitudes) const {
  int64_t done = 0;
  for (int64_t i = 0; i < 4; ++i) {
    const ConstMatrix weight = products_[static_cast<size_t>(i)].matrix();
    kernels.linear({.x = folded.columns_from(i * kPart, kPart),
                    .weight = weight,
                    .y = sums.columns_from(done, weight.rows)});
    done += weight.rows;
  }
  for (int64_t row = 0; row < magnitudes.rows; ++row) {
    const float* const cosines = sums.row<float>(row);
    const float* const sines = cosines + frequencies_;
    float* const magnitude = magnitudes.row<float>(row);
    for (int64_t parity = 0; parity < 2; ++parity) {
      const int64_t first = parity * ((frequencies_ + 1) / 2);
      for (int64_t k = parity, i = first; k < frequencies_; k += 2, ++i) {
        magnitude[k] = std::sqrt(cosines[i] * cosines[i] + sines[i] * sines[i]);
      }
    }
  }
}

}  // namespace slim
