// Header first, entirely, then the tensors: nothing is taken from a file that has a fault anywhere.
#include "weights/safetensors.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "base/json.h"
#include "slim/error.h"

namespace slim {
namespace {

constexpr size_t kPrefix = 8;
constexpr const char* kMetadata = "__metadata__";
constexpr std::pair<std::string_view, DType> kTypes[] = {
    {"F32", DType::f32}, {"F16", DType::f16}, {"BF16", DType::bf16},
    {"I8", DType::i8},   {"I16", DType::i16}, {"I32", DType::i32}};

// Types of buffers (masks, positions) that some files keep beside their weights: nothing computes
// on them, so they are checked and left out. With the bytes of one element.
constexpr std::pair<std::string_view, int64_t> kBuffers[] = {{"BOOL", 1}, {"U8", 1}, {"I64", 8}};

int64_t buffer_size(std::string_view text) {
  for (const auto& [spelling, bytes] : kBuffers) {
    if (text == spelling) return bytes;
  }
  return 0;
}

DType dtype_of(const WeightsFile& file, const std::string& name, const std::string& text) {
  for (const auto& [spelling, type] : kTypes) {
    if (text == spelling) return type;
  }
  fail_tensor(file.path, name,
              "has dtype '" + text + "', but only F32, F16, BF16, I8, I16 and I32 are known");
}

// Splits the file into its header and its data.
std::pair<std::string_view, std::span<const std::byte>> sections(const WeightsFile& file) {
  const auto bytes = file.bytes;
  if (bytes.size() < kPrefix) {
    fail_file(file.path, "The file has only " + std::to_string(bytes.size()) +
                             " bytes: too few for a safetensors header.");
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kPrefix);
  if (length > kMaxSafetensorsHeader || length > bytes.size() - kPrefix) {
    fail_file(file.path, "The safetensors header claims " + std::to_string(length) +
                             " bytes, beyond the file's end or the limit of 100 MB.");
  }
  const auto header = bytes.subspan(kPrefix, length);
  return {{reinterpret_cast<const char*>(header.data()), header.size()},
          bytes.subspan(kPrefix + length)};
}

TensorEntry read_entry(const WeightsFile& file, const std::string& name, const JsonObject& header,
                       std::span<const std::byte> data) {
  const JsonObject fields = header.object(name);
  const auto size = static_cast<int64_t>(data.size());
  TensorEntry entry;
  entry.shape = fields.integers("shape", 0, INT64_MAX);
  if (const int64_t size_of_one = buffer_size(fields.string("dtype")); size_of_one > 0) {
    entry.type = DType::i8;
    if (size_of_one > 1) entry.shape.push_back(size_of_one);
  } else {
    entry.type = dtype_of(file, name, fields.string("dtype"));
  }
  const auto range = fields.integers("data_offsets", 0, INT64_MAX);
  if (range.size() != 2) fields.reject("data_offsets", "must have two numbers");
  if (range[0] > range[1] || range[1] > size) {
    fail_tensor(file.path, name, "lies outside the file");
  }
  const int64_t bytes = checked_bytes(file.path, name, entry.type, entry.shape);
  if (range[1] - range[0] != bytes) {
    fail_tensor(file.path, name,
                "has " + std::to_string(range[1] - range[0]) + " bytes, but its shape needs " +
                    std::to_string(bytes));
  }
  entry.bytes = data.subspan(static_cast<size_t>(range[0]), static_cast<size_t>(bytes));
  return entry;
}

// Whether write_safetensors made it, for a model of our own.
bool is_own(const JsonObject& header) {
  if (!header.is_object(kMetadata)) return false;
  const JsonObject metadata = header.object(kMetadata);
  return metadata.is_string("format") && metadata.string("format") == "slim";
}

bool plain_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.find_first_of("/\\") == std::string::npos &&
         name.find('\0') == std::string::npos;
}

void compare_with_index(const std::filesystem::path& shard, const std::set<std::string>& listed,
                        std::vector<std::string> found) {
  for (const std::string& name : found) {
    if (!listed.contains(name)) fail_tensor(shard, name, "is not in the index under this shard");
  }
  std::sort(found.begin(), found.end());
  for (const std::string& name : listed) {
    if (!std::binary_search(found.begin(), found.end(), name)) {
      fail_tensor(shard, name, "is missing, though the index lists it");
    }
  }
}

}  // namespace

std::string_view safetensors_name(DType type) {
  for (const auto& [spelling, known] : kTypes) {
    if (type == known) return spelling;
  }
  return {};
}

std::vector<std::string> read_safetensors(const WeightsFile& file, CheckpointBuilder& builder) {
  const auto [text, data] = sections(file);
  const JsonObject header = JsonObject::parse(text, file.path.string());
  std::vector<std::string> names = header.fields();
  std::erase(names, kMetadata);
  if (names.size() > kMaxTensors) {
    fail_file(file.path, "A model may have at most " + std::to_string(kMaxTensors) + " tensors.");
  }
  std::vector<NamedEntry> tensors;
  tensors.reserve(names.size());
  for (const std::string& name : names) {
    check_name(file.path, name);
    tensors.push_back({name, read_entry(file, name, header, data)});
  }
  refuse_overlap(file, tensors);
  for (const NamedEntry& tensor : tensors) {
    if (buffer_size(header.object(tensor.name).string("dtype")) > 0) continue;
    builder.add(file, tensor.name, take_tensor(file, tensor.entry));
  }
  if (is_own(header)) builder.add_scalar(file, kCanonicalNames, 1);
  return names;
}

std::shared_ptr<const Checkpoint> open_safetensors(const std::filesystem::path& path) {
  std::error_code error;
  const bool directory = std::filesystem::is_directory(path, error);
  const WeightsFile file = WeightsFile::open(directory ? path / "model.safetensors" : path);
  CheckpointBuilder builder("safetensors", file.path);
  read_safetensors(file, builder);
  return builder.finish();
}

std::shared_ptr<const Checkpoint> open_sharded_safetensors(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "model.safetensors.index.json";
  const JsonObject index = JsonObject::read(path).object("weight_map");
  std::map<std::string, std::set<std::string>> shards;
  for (const std::string& name : index.fields()) {
    const std::string shard = index.string(name);
    if (!plain_name(shard)) index.reject(name, "must be the plain name of a file beside the index");
    shards[shard].insert(name);
  }
  CheckpointBuilder builder("safetensors", path);
  for (const auto& [shard, listed] : shards) {
    const WeightsFile file = WeightsFile::open(directory / shard);
    compare_with_index(file.path, listed, read_safetensors(file, builder));
  }
  return builder.finish();
}

}  // namespace slim
