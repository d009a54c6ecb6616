// Unit roundoffs and the words of refusals.
#include "attention/row_fit.h"

#include <fmt/format.h>

#include <utility>

#include "base/check.h"
#include "slim/error.h"

namespace slim {

double unit_roundoff(DType rows) {
  switch (rows) {
    case DType::f32:
      return 0x1p-24;
    case DType::f16:
      return 0x1p-11;
    case DType::bf16:
      return 0x1p-8;
    case DType::i8:
      return 1.0 / 254.0;
    default:
      break;
  }
  fail_visit(rows);
}

std::string refuse_format(const RowFormat& format) {
  if (format.valid()) return "";
  if (format.type == DType::i8) {
    return fmt::format("i8 rows come in groups of {}, and {} numbers are no whole groups",
                       kGroupSize, format.width);
  }
  return fmt::format("rows are never stored as {}", name_of(format.type));
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

std::string scientific(double value) { return fmt::format("{:.1e}", value); }

}  // namespace slim
