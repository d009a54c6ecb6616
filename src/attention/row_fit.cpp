// Row formats by type, unit roundoffs and the words of refusals.
#include "attention/row_fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "slim/error.h"

namespace slim {
namespace {

DType float_type(RowType rows) {
  if (rows == RowType::f16) return DType::f16;
  return rows == RowType::bf16 ? DType::bf16 : DType::f32;
}

}  // namespace

bool is_float(RowType rows) {
  return rows == RowType::f32 || rows == RowType::f16 || rows == RowType::bf16;
}

RowFormat sealed_format(RowType rows, int64_t width, Scaling scaling) {
  if (is_float(rows)) return {float_type(rows), width};
  return {DType::f32, width, bits_of(rows), scaling};
}

RowFormat standing_format(RowType rows, int64_t width) {
  if (is_float(rows)) return {float_type(rows), width};
  if (rows == RowType::i16) return {DType::i16, width};
  return {rows == RowType::i8 ? DType::i8 : DType::i32, width};
}

int64_t token_bytes(const RowFormat& format) {
  return (format.page_bytes() + kPageRows - 1) / kPageRows;
}

int64_t hot_token_bytes(const RowFormat& format) {
  return format.sealed() ? format.hot().bytes() : 0;
}

double unit_roundoff(RowType rows) {
  switch (rows) {
    case RowType::f32:
      return 0x1p-24;
    case RowType::f16:
      return 0x1p-11;
    case RowType::bf16:
      return 0x1p-8;
    default:
      return 1.0 / (std::ldexp(1.0, bits_of(rows)) - 2.0);
  }
}

double unit_roundoff(RowType rows, const RowFormat& format) {
  if (format.sealed() || format.type != DType::i16) return unit_roundoff(rows);
  return std::max(unit_roundoff(rows), std::sqrt(static_cast<double>(format.width)) / 92000.0);
}

std::string refuse_format(RowType rows, const RowFormat& format) {
  if (format.valid()) return "";
  if (!format.sealed() && format.type != DType::i8) {
    return fmt::format("{} rows are sealed a page at a time, which these rows never are",
                       name_of(rows));
  }
  const bool grouped = !format.sealed() || format.scaling == Scaling::group;
  const int64_t whole = grouped ? kGroupSize : 8;
  return fmt::format("{} rows come in groups of {}, and {} numbers are no whole groups",
                     name_of(rows), whole, format.width);
}

Fit refused(std::string reason) {
  Fit fit;
  fit.reason = std::move(reason);
  return fit;
}

void require_buildable(const std::string& refusal, std::string_view kind) {
  if (refusal.empty()) return;
  throw Error(ErrorCode::unsupported_model,
              fmt::format("The cache kind {} cannot hold this layer: {}.", kind, refusal));
}

void require_rows(const RowFormat& format, const Kernels& kernels) {
  if (format.sealed() || format.type != DType::i16 || kernels.takes(Inputs::i16)) return;
  throw Error(
      ErrorCode::unsupported_model,
      fmt::format("Rows of i16 that stand alone cannot be had on {}: use f16.", kernels.name()));
}

std::string scientific(double value) { return fmt::format("{:.1e}", value); }

}  // namespace slim
