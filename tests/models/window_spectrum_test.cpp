// WindowSpectrum against the sums it stands for, in f64, and what is no such basis.
#include "models/window_spectrum.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "engine/random_numbers.h"

namespace slim {
namespace {

constexpr int64_t kWindow = WindowSpectrum::kWindow;

std::vector<float> random_values(uint64_t stream, int64_t count) {
  RandomNumbers random(7, stream);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>(2 * random.uniform() - 1);
  return values;
}

double angle(int64_t k, int64_t n) {
  return 2 * std::numbers::pi * static_cast<double>(k * n) / kWindow;
}

std::vector<float> basis_of(const std::vector<float>& window, int64_t frequencies, double sign) {
  std::vector<float> rows;
  for (int64_t row = 0; row < 2 * frequencies; ++row) {
    const bool sine = row >= frequencies;
    for (int64_t n = 0; n < kWindow; ++n) {
      const double a = angle(sine ? row - frequencies : row, n);
      rows.push_back(static_cast<float>(double{window[static_cast<size_t>(n)]} *
                                        (sine ? sign * std::sin(a) : std::cos(a))));
    }
  }
  return rows;
}

Tensor tensor(const std::vector<float>& rows) {
  return Tensor::from(rows, {std::ssize(rows) / kWindow, kWindow});
}

TEST(WindowSpectrum, IsTheSumsThatItStandsFor) {
  const std::unique_ptr<Kernels> kernels = make_kernels("cpu", 1);
  const std::vector<float> window = random_values(1, kWindow);  // no symmetry helps
  const int64_t rows = 3;
  const std::vector<float> x = random_values(2, rows * kWindow);
  for (const int64_t frequencies : {2, 5, 128, 129}) {
    const Tensor basis = tensor(basis_of(window, frequencies, frequencies % 2 == 0 ? 1 : -1));
    ASSERT_TRUE(WindowSpectrum::fits(basis));
    const WindowSpectrum spectrum(basis);
    Tensor folded = Tensor::allocate(host_device(), DType::f32, {rows, WindowSpectrum::kFolded});
    Tensor sums = Tensor::allocate(host_device(), DType::f32, {rows, 2 * frequencies});
    Tensor found = Tensor::allocate(host_device(), DType::f32, {rows, frequencies});
    for (int64_t row = 0; row < rows; ++row) {
      spectrum.fold(x.data() + row * kWindow, folded.writable_matrix().row<float>(row));
    }
    spectrum.measure(*kernels, folded.matrix(), sums.writable_matrix(), found.writable_matrix());
    for (int64_t i = 0; i < rows * frequencies; ++i) {
      double cosines = 0;
      double sines = 0;
      for (int64_t n = 0; n < kWindow; ++n) {
        const double u = double{window[static_cast<size_t>(n)]} *
                         double{x[static_cast<size_t>(i / frequencies * kWindow + n)]};
        cosines += u * std::cos(angle(i % frequencies, n));
        sines += u * std::sin(angle(i % frequencies, n));
      }
      // 256 values below 1, whose sums are of size 10: each rounded by 2^-24 of that at most.
      EXPECT_NEAR(found.values<float>()[i], std::hypot(cosines, sines), 1e-5) << i;
    }
  }
}

TEST(WindowSpectrum, FitsNothingElse) {
  const std::vector<float> window = random_values(1, kWindow);
  const std::vector<float> good = basis_of(window, 5, 1);
  for (const size_t place : {size_t{300}, size_t{5 * kWindow}, good.size() - 1}) {
    std::vector<float> bad = good;
    bad[place] += 1e-4F;
    EXPECT_FALSE(WindowSpectrum::fits(tensor(bad))) << place;
  }
  EXPECT_FALSE(WindowSpectrum::fits(tensor(basis_of(window, 1, 1))));
  EXPECT_FALSE(WindowSpectrum::fits(tensor(basis_of(window, 130, 1))));
  EXPECT_FALSE(
      WindowSpectrum::fits(tensor(std::vector<float>(good.begin(), good.begin() + 9 * kWindow))));
}

}  // namespace
}  // namespace slim
