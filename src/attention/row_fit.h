// What every kind asks of its rows: can the type hold them, and how much does it round?
#pragma once

#include <string>
#include <string_view>

#include "attention/scheme.h"

namespace slim {

// Largest relative error of rounding one number to `rows`: 2^-p with p significant bits (f32 2^-24,
// f16 2^-11, bf16 2^-8); for i8 1/254, relative to the largest number of its group of 32.
double unit_roundoff(DType rows);

// Why no row type of this width exists, or "" if it does.
std::string refuse_format(const RowFormat& format);

// A refusal in Fit's terms, and as the Error of build(): both give the same reason.
Fit refused(std::string reason);
void require_buildable(const std::string& refusal, std::string_view kind);

// "2.4e+06": a number in a reason.
std::string scientific(double value);

}  // namespace slim
