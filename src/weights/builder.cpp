// Size checks, alignment, and the guard against keys that are values.
#include "weights/builder.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "slim/error.h"

namespace slim {
namespace {

static_assert(std::endian::native == std::endian::little, "weights are little-endian and mapped");

constexpr size_t kMaxName = 512;
// Copies above this size are dropped from the mapping one by one: a file of misaligned tensors then
// never has more than one of them in memory twice.
constexpr size_t kLargeCopy = size_t{1} << 20;

bool share_bytes(const Tensor& a, const Tensor& b) {
  const std::less<const std::byte*> before;
  return before(a.data(), b.data() + b.bytes()) && before(b.data(), a.data() + a.bytes());
}

}  // namespace

WeightsFile WeightsFile::open(const std::filesystem::path& path) {
  const auto mapping = MappedFile::open(path);
  return {path, mapping->bytes(), mapping};
}

void fail_file(const std::filesystem::path& path, const std::string& text) {
  throw Error(ErrorCode::bad_file, text, path.string());
}

void fail_tensor(const std::filesystem::path& path, std::string_view name, const std::string& why) {
  fail_file(path, "Tensor '" + std::string(name) + "' " + why + ".");
}

void check_name(const std::filesystem::path& path, std::string_view name) {
  const bool printable =
      std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (name.empty() || name.size() > kMaxName || !printable) {
    fail_file(path, "A name in the file is not 1 to " + std::to_string(kMaxName) +
                        " printable ASCII characters.");
  }
}

int64_t checked_bytes(const std::filesystem::path& path, std::string_view name, DType type,
                      const std::vector<int64_t>& shape) {
  if (shape.size() > kMaxRank) {
    fail_tensor(path, name, "has more than " + std::to_string(kMaxRank) + " axes");
  }
  // A size of 0 must not hide that the others overflow: whoever multiplies them would not know.
  // The largest block type takes 34 bytes for 32 elements, so 2 bytes an element bound them all.
  const int64_t each = is_block_type(type) ? 2 : size_of(type);
  int64_t bound = each;
  bool none = false;
  for (const int64_t size : shape) {
    if (size < 0) fail_tensor(path, name, "has a negative size");
    none = none || size == 0;
    if (__builtin_mul_overflow(bound, std::max<int64_t>(size, 1), &bound)) {
      fail_tensor(path, name, "has more elements than 64 bits can count");
    }
  }
  const int64_t columns = shape.empty() ? 1 : shape.back();
  if (const int64_t block = block_of(type).elements; columns % block != 0) {
    fail_tensor(path, name,
                "has rows of " + std::to_string(columns) + " elements, but " +
                    std::string(name_of(type)) + " stores them in blocks of " +
                    std::to_string(block));
  }
  return none ? 0 : bytes_of(type, bound / each);
}

void refuse_overlap(const WeightsFile& file, std::span<const NamedEntry> tensors) {
  std::vector<const NamedEntry*> order;
  for (const NamedEntry& tensor : tensors) {
    if (!tensor.entry.bytes.empty()) order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](const NamedEntry* a, const NamedEntry* b) {
    return a->entry.bytes.data() < b->entry.bytes.data();
  });
  for (size_t i = 1; i < order.size(); ++i) {
    const auto before = order[i - 1]->entry.bytes;
    if (before.data() + before.size() > order[i]->entry.bytes.data()) {
      fail_tensor(file.path, order[i]->name, "overlaps '" + order[i - 1]->name + "'");
    }
  }
}

Tensor take_tensor(const WeightsFile& file, const TensorEntry& entry) {
  const auto address = std::bit_cast<uintptr_t>(entry.bytes.data());
  // Blocks begin with, or end in, binary16 scales, and all have an even number of bytes.
  const int64_t alignment = is_block_type(entry.type) ? alignof(Half) : size_of(entry.type);
  if (address % static_cast<uintptr_t>(alignment) == 0) {
    return Tensor::borrow(file.mapping, entry.bytes, entry.type, entry.shape);
  }
  Tensor copy = Tensor::allocate(host_device(), entry.type, entry.shape);
  if (!entry.bytes.empty()) {
    std::memcpy(copy.writable_matrix().data, entry.bytes.data(), entry.bytes.size());
  }
  if (file.mapping && entry.bytes.size() >= kLargeCopy) file.mapping->drop_pages();
  return copy;
}

CheckpointBuilder::CheckpointBuilder(std::string format, std::filesystem::path path,
                                     std::string content)
    : checkpoint_(std::make_shared<Checkpoint>()) {
  checkpoint_->format_ = std::move(format);
  checkpoint_->path_ = std::move(path);
  checkpoint_->content_ = std::move(content);
}

void CheckpointBuilder::add(const WeightsFile& file, const std::string& name, Tensor tensor) {
  auto& tensors = checkpoint_->tensors_;
  if (tensors.size() == kMaxTensors) {
    fail_file(file.path, "A model may have at most " + std::to_string(kMaxTensors) + " tensors.");
  }
  if (!tensors.emplace(name, std::move(tensor)).second) {
    fail_tensor(file.path, name, "is given twice");
  }
}

void CheckpointBuilder::add_scalar(const WeightsFile& file, const std::string& name,
                                   int64_t value) {
  if (!checkpoint_->scalars_.emplace(name, value).second) {
    fail_tensor(file.path, name, "is given twice");
  }
}

void CheckpointBuilder::set_metadata(std::shared_ptr<const GgufMetadata> metadata) {
  checkpoint_->metadata_ = std::move(metadata);
}

void CheckpointBuilder::set_extras(std::shared_ptr<const GgmlExtras> extras) {
  checkpoint_->extras_ = std::move(extras);
}

std::shared_ptr<const Checkpoint> CheckpointBuilder::finish() {
  constexpr std::string_view kKey = ".k.weight";
  constexpr std::string_view kValue = ".v.weight";
  const auto& tensors = checkpoint_->tensors_;
  for (const auto& [name, key] : tensors) {
    if (!name.ends_with(kKey)) continue;
    const std::string partner = name.substr(0, name.size() - kKey.size()) + std::string(kValue);
    const auto value = tensors.find(partner);
    // Values rebuilt from such keys would be exact, and the model nonsense.
    if (value != tensors.end() && share_bytes(key, value->second)) {
      fail_tensor(checkpoint_->path_, name, "shares bytes with '" + partner + "'");
    }
  }
  return std::move(checkpoint_);
}

}  // namespace slim
