// Activations in f32, with the accurate functions: the fast ones stray by more than the 16 units
// that the parity tests allow.
#pragma once

#include "kernels/kernels.h"

namespace slim {

__device__ inline float activate(Activation activation, float x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x < 0.0F ? 0.0F : x;  // written so that NaN stays
    case Activation::gelu:
      return 0.5F * x * (1.0F + erff(x * 0.70710678F));
    case Activation::gelu_tanh: {
      const float inner = 0.79788456F * (x + 0.044715F * x * x * x);
      return 0.5F * x * (1.0F + tanhf(inner));
    }
    case Activation::silu:
      return x / (1.0F + expf(-x));
    case Activation::tanh:
      return tanhf(x);
  }
  return x;
}

}  // namespace slim
