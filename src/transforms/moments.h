// Second moments of what a linear layer puts out, from those of its input: E[(w x)(w x)^T] =
// w S w^T with S = E[x x^T]. S is measured on a calibration text, or taken as the identity (white):
// on a trained model both choices of S serve shaping equally well (docs/slim-attention.md).
#pragma once

#include <vector>

#include "transforms/linalg.h"

namespace slim {

// S: none (white), [D] f32 (its diagonal: the squared gain of a norm), or [D, D] f32.
using InputMoments = const Tensor*;

// w S w^T of a weight w [outputs, D], and its diagonal, the mean squares of the outputs.
Dense output_moments(const Dense& weight, InputMoments moments);
std::vector<double> output_powers(const Dense& weight, InputMoments moments);

}  // namespace slim
