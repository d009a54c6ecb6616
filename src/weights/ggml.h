// whisper.cpp's ggml files ("ggml-base.en.bin"), which hold a whole speech model. Little-endian:
//
//   u32 0x67676d6c ("lmgg"); i32 vocabulary, audio positions, width, heads, layers, text positions,
//     width, heads, layers, mel bins, type (1000 * version of the block types + what weights are)
//   i32 bins, frequencies; f32 filters[bins][frequencies]
//   i32 tokens; per token, by id: u32 length; the bytes. Steering tokens are left out.
//   to the end of the file, per tensor: i32 rank; i32 length of the name; i32 type;
//     i32 sizes[rank], the fastest first; the name; the bytes, unaligned
//   types: 0 f32, 1 f16, and blocks 2 q4_0, 3 q4_1, 6 q5_0, 7 q5_1, 8 q8_0
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "weights/builder.h"

namespace slim {

// What such a file has beside tensors.
struct GgmlExtras {
  std::shared_ptr<const MappedFile> mapping;  // keeps the tokens where they are
  std::vector<std::string_view> tokens;       // any bytes, by id
  Tensor mel_filters;                         // [bins, frequencies] f32
};

// Canonical names (checkpoint.h); what has none keeps its own. The content is "WhisperSpec", as
// CTranslate2 calls the same tensors; "<side>.heads" are scalars. Sizes of the head of the file are
// checked against the tensors. Tensors of q4_1, q5_0 and q5_1, which no kernel multiplies, become
// f32 (weights/ggml_blocks.h) and are counted by the scalar "unpacked tensors".
// Throws Error{bad_file} naming file and tensor, Error{unsupported_model} for other types.
std::shared_ptr<const Checkpoint> read_ggml(const WeightsFile& file);
std::shared_ptr<const Checkpoint> open_ggml(const std::filesystem::path& path);

}  // namespace slim
