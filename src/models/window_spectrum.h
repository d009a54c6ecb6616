// WindowSpectrum: how loud the frequencies k < F of 256 windowed samples are, N = 256:
//   m(k) = |sum of w(n) x(n) exp(-2 pi i k n / N)|
// in a quarter of the products. With u = w x, cosines are even and sines are odd about N/2:
//   e(n) = u(n) + u(N - n),  o(n) = u(n) - u(N - n),  0 <= n <= N/2;  u(0) and u(N/2) count once
// and about N/4 as k is: with n' = N/2 - n and n <= N/4, where n = N/4 counts once,
//   cosine sum = sum of (e(n) + e(n')) cos, k even;  of (e(n) - e(n')) cos, k odd
//   sine sum   = sum of (o(n) - o(n')) sin, k even;  of (o(n) + o(n')) sin, k odd
#pragma once

#include <array>
#include <cstdint>

#include "kernels/kernels.h"
#include "tensor/tensor.h"

namespace slim {

class WindowSpectrum {
 public:
  static constexpr int64_t kWindow = 256;
  static constexpr int64_t kFolded = 4 * (kWindow / 4 + 1);

  // basis: [2 F, kWindow] f32, w(n) cos(2 pi k n / N), then w(n) sin(2 pi k n / N) of either sign,
  // within 1e-6; F from 2 to N/2 + 1. Of another, fits() is false.
  static bool fits(const Tensor& basis);
  // Of a basis that fits.
  explicit WindowSpectrum(const Tensor& basis);
  WindowSpectrum() = default;

  int64_t frequencies() const { return frequencies_; }
  // x: kWindow samples. folded: what is made of them, kFolded.
  void fold(const float* x, float* folded) const;
  // folded: [T, kFolded]. sums: [T, 2 F], written over. magnitudes: [T, F].
  void measure(Kernels& kernels, ConstMatrix folded, Matrix sums, Matrix magnitudes) const;

 private:
  int64_t frequencies_ = 0;
  std::array<float, kWindow> window_{};
  // [F / 2, N/4 + 1], rounded up where k is even: in the order of `folded`.
  std::array<Tensor, 4> products_;
};

}  // namespace slim
