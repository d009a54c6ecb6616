// What every kind asks of its rows: can the type hold them, how, and how much does it round?
#pragma once

#include <string>
#include <string_view>

#include "attention/scheme.h"

namespace slim {

// f32, f16, bf16: rows written as tokens come, in every kind.
bool is_float(RowType rows);

// How a kind stores rows of `width` numbers. Integers: in sealed pages (self-attention), or, where
// rows stand alone, i16 and i8 (the others give a format that refuse_format() refuses).
RowFormat sealed_format(RowType rows, int64_t width, Scaling scaling);
RowFormat standing_format(RowType rows, int64_t width);

// Bytes a token, in a full page; and of its f32 rows while its page is not sealed (0: not sealed).
int64_t token_bytes(const RowFormat& format);
int64_t hot_token_bytes(const RowFormat& format);

// Largest relative error of rounding one number to `rows`: 2^-p with p significant bits (f32 2^-24,
// f16 2^-11, bf16 2^-8); for b bits of fixed point 1 / (2^b - 2), relative to the largest number
// that shares its scale.
double unit_roundoff(RowType rows);
// The same of a format; of i16 rows that stand alone, half a scale relative to the root mean square
// of the row, where its norm sets the scale: sqrt(width) / 92,000.
double unit_roundoff(RowType rows, const RowFormat& format);

// Why no such rows exist, or "" if they do.
std::string refuse_format(RowType rows, const RowFormat& format);

// A refusal in Fit's terms, and as the Error of build(): both give the same reason.
Fit refused(std::string reason);
void require_buildable(const std::string& refusal, std::string_view kind);
// Throws Error{unsupported_model} where a device has no such rows.
void require_rows(const RowFormat& format, const Kernels& kernels);

// "2.4e+06": a number in a reason.
std::string scientific(double value);

}  // namespace slim
