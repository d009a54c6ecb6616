// CTranslate2's model.bin, version 6, for encoder-decoder models such as Whisper and T5.
// Little-endian:
//
//   u32 version; string content; u32 revision; u32 tensors;
//   per tensor: string name; u8 rank; u32 sizes[rank]; u8 dtype; u32 bytes; the bytes, unaligned
//   u32 aliases; per alias: string alias; string name
//   string: u16 length, the zero at its end included; the bytes
//   dtype: 0 f32, 1 i8, 2 i16, 3 i32, 4 f16, 5 bf16
//
// Queries, keys and values are stacked in one tensor, which is split by rows. An i8 or i16 weight
// has a weight_scale beside it, for each output row or for all: value = stored / scale. An alias
// has the scale of its tensor, unless it has one of its own. Linear layers keep integers with a
// scale a row, for kernels to multiply with; all others become f32.
#pragma once

#include <filesystem>
#include <memory>

#include "weights/builder.h"

namespace slim {

// Canonical names (checkpoint.h); what has none keeps its own, numbers that are not integers among
// them (tensors without a shape). Integer scalars are
// Checkpoint::scalar: "<side>.heads" for "<side>/num_heads", else by their own name. Quantised
// weights become f32, so they take four times the file's bytes.
// Throws Error{bad_file} naming file and tensor, Error{unsupported_model} for another version.
std::shared_ptr<const Checkpoint> read_ctranslate2(const WeightsFile& file);

// A directory's model.bin.
std::shared_ptr<const Checkpoint> open_ctranslate2(const std::filesystem::path& directory);

}  // namespace slim
