// The names and bits of row types.
#include "attention/row_type.h"

#include <fmt/format.h>

#include <array>

#include "slim/error.h"

namespace slim {
namespace {

struct Description {
  RowType type;
  std::string_view name;
  int bits;
};

constexpr std::array kTypes{
    Description{RowType::f32, "f32", 32},   Description{RowType::f16, "f16", 16},
    Description{RowType::bf16, "bf16", 16}, Description{RowType::i16, "i16", 16},
    Description{RowType::i12, "i12", 12},   Description{RowType::i10, "i10", 10},
    Description{RowType::i8, "i8", 8},      Description{RowType::i6, "i6", 6},
    Description{RowType::i5, "i5", 5},      Description{RowType::i4, "i4", 4}};

const Description& describe(RowType type) { return kTypes.at(static_cast<size_t>(type)); }

}  // namespace

std::string_view name_of(RowType type) { return describe(type).name; }

int bits_of(RowType type) { return describe(type).bits; }

RowType row_type(std::string_view name) {
  for (const Description& type : kTypes) {
    if (type.name == name) return type.type;
  }
  throw Error(ErrorCode::bad_request,
              fmt::format("There is no cache type '{}'; there are {}.", name, row_type_names()),
              "cache type");
}

std::string row_type_names() {
  std::string names;
  for (const Description& type : kTypes) {
    names += (names.empty() ? "" : ", ") + std::string(type.name);
  }
  return names;
}

}  // namespace slim
