// CheckpointBuilder: what every weights format does alike: admit names, check sizes without
// overflow, take tensors out of a file, and refuse what would make slim attention lie.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "tensor/tensor.h"
#include "weights/checkpoint.h"

namespace slim {

constexpr size_t kMaxTensors = 1 << 18;  // in one model; the largest known have about 100,000
constexpr size_t kMaxRank = 8;

// The bytes of one file. Without a mapping (in tests) they must outlive the checkpoint.
struct WeightsFile {
  std::filesystem::path path;
  std::span<const std::byte> bytes;
  std::shared_ptr<const MappedFile> mapping;

  static WeightsFile open(const std::filesystem::path& path);
};

// Where a tensor lies, as the file claims.
struct TensorEntry {
  DType type = DType::f32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

struct NamedEntry {
  std::string name;
  TensorEntry entry;
};

// Error{bad_file} about a file, and about one of its tensors: "Tensor 'x' <why>."
[[noreturn]] void fail_file(const std::filesystem::path& path, const std::string& text);
[[noreturn]] void fail_tensor(const std::filesystem::path& path, std::string_view name,
                              const std::string& why);

// Throws unless the name is 1 to 512 printable ASCII characters: it ends up in messages, which end
// up on terminals. Every format calls this on first sight of a name.
void check_name(const std::filesystem::path& path, std::string_view name);

// Bytes a tensor needs. Throws through fail_tensor if the rank, a size, or their product (even
// beside a size of 0) is out of range, or if rows are not whole blocks of a block type.
int64_t checked_bytes(const std::filesystem::path& path, std::string_view name, DType type,
                      const std::vector<int64_t>& shape);

// Throws Error{bad_file} naming both if two tensors of one file share bytes.
void refuse_overlap(const WeightsFile& file, std::span<const NamedEntry> tensors);

// The tensor in place; or a copy, where the file's bytes are not aligned for their type. What has
// been copied is dropped from memory as part of the mapping, so that it is not held twice.
Tensor take_tensor(const WeightsFile& file, const TensorEntry& entry);

class CheckpointBuilder {
 public:
  CheckpointBuilder(std::string format, std::filesystem::path path, std::string content = {});

  // Throws Error{bad_file} naming `file` if the name is taken.
  void add(const WeightsFile& file, const std::string& name, Tensor tensor);
  void add_scalar(const WeightsFile& file, const std::string& name, int64_t value);
  void set_metadata(std::shared_ptr<const GgufMetadata> metadata);
  void set_extras(std::shared_ptr<const GgmlExtras> extras);
  // Throws Error{bad_file} if the key and value weights of a layer share bytes.
  std::shared_ptr<const Checkpoint> finish();

 private:
  std::shared_ptr<Checkpoint> checkpoint_;
};

}  // namespace slim
