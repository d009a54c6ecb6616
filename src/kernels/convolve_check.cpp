// The shapes of a convolution.
#include "kernels/convolve_check.h"

#include "base/check.h"

namespace slim {

void check_convolve(const Convolve& convolve) {
  const auto& [x, weight, bias, y, batch, stride, activation, taps, padding] = convolve;
  check(batch > 0 && x.rows % batch == 0, "a convolution's runs divide its rows");
  check(stride > 0 && padding >= 0 && 2 * padding < taps, "a convolution steps over its frames");
  const int64_t frames = x.rows / batch;
  check(frames + 2 * padding >= taps, "a convolution has frames for one step");
  check(weight.columns == taps * x.columns, "a convolution's weight holds its taps");
  check(y.rows == batch * convolve.steps(frames) && y.columns == weight.rows,
        "a convolution's y is [runs * steps, outputs]");
}

}  // namespace slim
