// What is asked of a row of logits in more than one place. In double precision where it sums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.h"

namespace slim {

// The largest value's index (lowest on a tie; NaN never wins); -1 if all are NaN or -infinity.
int64_t argmax(std::span<const float> values);

// The indices of the `count` largest values, the largest first, the lowest index of equals; NaN and
// -infinity are never among them. One pass, which is fast where few values exceed all before them.
std::vector<int64_t> largest(std::span<const float> values, size_t count);

// log(sum(exp(logits))); -infinity if all are that. NaN if one is NaN or +infinity.
double log_sum_exp(std::span<const float> logits);

// softmax(logits)[index].
double probability_of(std::span<const float> logits, int64_t index);

// Throws Error{bad_file} if a logit is NaN or +infinity, or all are -infinity: what is computed
// from such a row would mean nothing.
void check_logits(std::span<const float> logits);
void check_candidates(std::span<const Candidate> candidates);  // the same, of their row

}  // namespace slim
