// Writing safetensors: what read_safetensors reads, in one file.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "tensor/tensor.h"

namespace slim {

struct NamedTensor {
  std::string name;
  Tensor tensor;  // f32, f16, bf16, i8, i16 or i32, on the host
};

// Writes `path`, whole or not at all: what stood there before stays until everything is on disk.
// The widest types come first, so that every tensor lies aligned and is read in place. `metadata`
// are texts that other readers show, in UTF-8. Throws Error{bad_request} for a type the format
// lacks, a name given twice or text that is not UTF-8, and Error{bad_file} with the system's reason
// if writing fails (the disk is full, the folder is missing).
void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace slim
