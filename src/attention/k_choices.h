// The ways to seal keys that a plan chooses from by itself: 8 to 16 bits, with few spill columns
// and small factors of shaped rounding. Types below 8 bits are for who asks for them.
#pragma once

#include <vector>

#include "attention/scheme.h"

namespace slim {

// i4 to i16; r of 8, 16, 32; rank 0, 64; and no spill. What Conditioning::key_errors should cover.
std::vector<RowChoice> key_choices();

// What is chosen where nothing is known of the weights: no trained layer has been seen that needs
// more (docs/slim-attention.md).
inline constexpr RowChoice kUnknownKeys{RowType::i16, 8, 0};

}  // namespace slim
