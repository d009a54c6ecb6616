// What rounding cached rows does to attention, predicted from weights alone: no text, no run.
//
// Rows are taken as Gaussian with the powers of RowPowers. Rounding leaves in element j an error of
// variance n^2 var_j, n the relative noise of the format (relative_noise). Then
//   scores  sqrt(mean_j var(e_j) / var(k_j)): the error of a score, relative to its own spread
//   values  sqrt(E |e^T N|^2 / E |v|^2),  N = [M; B]: that of a value
// Plain rounding: var(e_j) = n^2 var_j, independent. Shaped rounding: e_j = w_j - g_j . a and
// a += u_j e_j (tensor/row_format.h) with w_j of variance n^2 var_j, so the covariance A of a obeys
//   var(e_j) = n^2 var_j + g_j^T A g_j,   A <- (I - u g^T) A (I - u g^T)^T + u u^T n^2 var_j
// and E |e^T N|^2 is tr A + sum_j residual_j var(e_j): exact for independent w, O(width rank^2).
#pragma once

#include "transforms/shaping.h"

namespace slim {

struct RowError {
  double scores = 0;  // relative, root mean square
  double values = 0;
};

// Root mean square error of an element over its root mean square, for Gaussian elements. Floating
// point: 0.189 ulp of 1. Fixed point: half the expected range of the numbers that share a scale
// (4.07 deviations for 32, 4.74 for 64) over the largest integer and sqrt(12).
double relative_noise(const RowFormat& format);

// Keys and values cached side by side (kv) in one format.
RowError predict_pair(const RowFormat& format);

// Keys and spill cached, values computed (k). `row_map`: row_map(ValueMap) or its exact parts.
// `shaping`: none for plain rounding.
RowError predict_keys(const RowFormat& format, const DenseF32& row_map, const RowPowers& powers,
                      const ExactShaping* shaping = nullptr);

// The KL divergence in nats that such errors in every layer lead to; of errors that differ between
// layers, the mean of this over layers.
//   KL = 2.0 scores^2 + 0.48 values^2
// Fitted on the 30 M-parameter RoPE model (8 layers) with exact values and with exact scores in
// turn: 5.0e-5 for measured scores^2 = 2.5e-5, 9.9e-5 for values^2 = 2.1e-4. With both predicted
// from white inputs (k, 8 spill columns, rank 64), predicted and measured KL: i8 1.5e-4 and 1.5e-4,
// i10 9.3e-6 and 8.9e-6, i12 5.8e-7 and 6.2e-7, i8 plain 6.4e-4 and 8.1e-4. Rows in floating point
// do worse, for their channels are not centred: kv in bf16 5.4e-6 and 1.1e-5, in f16 8.4e-8 and
// 1.8e-7. It leaves out the rounding of M to i16, which is the same for all tokens and so does not
// average out: 5e-8, the floor for i16.
double predicted_divergence(const RowError& error);

// Bytes of what a K-cache adds to the weights of a layer, with M in i16 in place of W_V.
struct DerivedBytes {
  int64_t map = 0;      // M and its scales
  int64_t spill = 0;    // P and B
  int64_t shaping = 0;  // u, g and the order

  int64_t total() const { return map + spill + shaping; }
};
DerivedBytes derived_bytes(int64_t width, int64_t keys, int64_t spill, int64_t rank);

}  // namespace slim
