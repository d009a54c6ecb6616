// RowType: what users call the type of cached rows (--cache-type). A kind says which row formats it
// stores for each: f32, f16, bf16 stand alone; i16 to i4 are sealed pages with a scale per channel
// (k, x, and the keys of kv; its values have groups of 32 along a row), except that rows of x,
// encoder and cross attention stand alone if they are i16, with one scale a row, or i8, in groups
// of 32. (A card has no i16 rows that stand alone.)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace slim {

enum class RowType : uint8_t { f32, f16, bf16, i16, i12, i10, i8, i6, i5, i4 };

std::string_view name_of(RowType type);
// 32, 16, 16, 16, 12, 10, 8, 6, 5, 4.
int bits_of(RowType type);
// Throws Error{bad_request} listing the types there are.
RowType row_type(std::string_view name);
// "f32, f16, ...", for messages and help.
std::string row_type_names();

}  // namespace slim
