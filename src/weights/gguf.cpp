// Header first, entirely, then the tensors: nothing is taken from a file that has a fault anywhere.
#include "weights/gguf.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "slim/error.h"
#include "weights/byte_cursor.h"

namespace slim {
namespace {

constexpr size_t kMaxKeys = size_t{1} << 16;  // known files have less than 100
constexpr size_t kLeastKey = 8 + 1 + 4 + 1;   // bytes: a name of one letter, a type, a value
constexpr size_t kLeastTensor = 8 + 1 + 4 + 4 + 8;
constexpr int64_t kDefaultAlignment = 32;
constexpr int64_t kMaxAlignment = 1 << 20;

struct StoredType {
  uint32_t number;
  std::string_view name;
  DType type;
};
constexpr StoredType kTypes[] = {{0, "F32", DType::f32},    {1, "F16", DType::f16},
                                 {30, "BF16", DType::bf16}, {8, "Q8_0", DType::q8_0},
                                 {2, "Q4_0", DType::q4_0},  {12, "Q4_K", DType::q4_k},
                                 {13, "Q5_K", DType::q5_k}, {14, "Q6_K", DType::q6_k}};

// Types that ggml has and this has not: named, for whoever has such a file.
constexpr std::pair<uint32_t, std::string_view> kOtherTypes[] = {
    {3, "Q4_1"},   {6, "Q5_0"},     {7, "Q5_1"},    {9, "Q8_1"},     {10, "Q2_K"},  {11, "Q3_K"},
    {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"},
    {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"}, {24, "I8"},      {25, "I16"},   {26, "I32"},
    {27, "I64"},   {28, "F64"},     {29, "IQ1_M"},  {34, "TQ1_0"},   {35, "TQ2_0"}, {39, "MXFP4"},
    {40, "NVFP4"}, {41, "Q1_0"}};

[[noreturn]] void fail_support(const WeightsFile& file, const std::string& text) {
  throw Error(ErrorCode::unsupported_model, text, file.path.string());
}

DType dtype_of(const WeightsFile& file, const std::string& name, uint32_t number) {
  for (const StoredType& known : kTypes) {
    if (number == known.number) return known.type;
  }
  for (const auto& [other, spelling] : kOtherTypes) {
    if (number != other) continue;
    std::string known;
    for (const StoredType& type : kTypes) {
      known += (known.empty() ? "" : ", ") + std::string(type.name);
    }
    fail_support(file, "Tensor '" + name + "' is of type " + std::string(spelling) + ", but only " +
                           known + " can be read.");
  }
  fail_tensor(file.path, name, "is of the unknown type " + std::to_string(number));
}

void check_version(const WeightsFile& file, ByteCursor& cursor) {
  constexpr std::string_view kMagic = "GGUF";
  const auto magic = cursor.take(kMagic.size());
  if (!std::equal(magic.begin(), magic.end(), std::as_bytes(std::span(kMagic)).begin())) {
    fail_file(file.path, "The file does not begin with 'GGUF'.");
  }
  const auto version = cursor.number<uint32_t>();
  if (version == 2 || version == 3) return;
  if ((version & 0xFFFFU) == 0) {
    fail_support(file, "The GGUF file is big-endian, or has no version.");
  }
  fail_support(file, "The GGUF file has version " + std::to_string(version) +
                         ", but only versions 2 and 3 can be read.");
}

size_t alignment_of(const GgufMetadata& metadata) {
  constexpr std::string_view kKey = "general.alignment";
  if (!metadata.has(kKey)) return kDefaultAlignment;
  const auto alignment = static_cast<size_t>(metadata.integer(kKey, 1, kMaxAlignment));
  if (!std::has_single_bit(alignment)) metadata.reject(kKey, "is not a power of two");
  return alignment;
}

void refuse_part(const WeightsFile& file, const GgufMetadata& metadata) {
  constexpr std::string_view kParts = "split.count";
  if (!metadata.has(kParts)) return;
  if (const int64_t parts = metadata.integer(kParts, 0, UINT16_MAX); parts > 1) {
    fail_support(file, "The file is one of " + std::to_string(parts) +
                           " parts of a model; merge them into one file first.");
  }
}

struct Claim {
  NamedEntry tensor;
  uint64_t offset = 0;  // from the beginning of the data
};

Claim read_claim(const WeightsFile& file, ByteCursor& cursor) {
  Claim claim;
  auto& [name, entry] = claim.tensor;
  name = cursor.text<uint64_t>();
  check_name(file.path, name);
  const auto rank = cursor.number<uint32_t>();
  if (rank > kMaxRank) {
    fail_tensor(file.path, name, "has more than " + std::to_string(kMaxRank) + " axes");
  }
  entry.shape.resize(rank);
  // From the slowest to the fastest: rows-major, and [outputs, inputs] for weights.
  for (auto size = entry.shape.rbegin(); size != entry.shape.rend(); ++size) {
    const auto stored = cursor.number<uint64_t>();
    if (stored > INT64_MAX) {
      fail_tensor(file.path, name, "has more elements than 64 bits can count");
    }
    *size = static_cast<int64_t>(stored);
  }
  entry.type = dtype_of(file, name, cursor.number<uint32_t>());
  claim.offset = cursor.number<uint64_t>();
  return claim;
}

void locate(const WeightsFile& file, Claim& claim, std::span<const std::byte> data,
            size_t alignment) {
  auto& [name, entry] = claim.tensor;
  const auto bytes = static_cast<uint64_t>(checked_bytes(file.path, name, entry.type, entry.shape));
  if (claim.offset % alignment != 0) {
    fail_tensor(file.path, name,
                "begins at the offset " + std::to_string(claim.offset) +
                    ", no multiple of the alignment " + std::to_string(alignment));
  }
  if (claim.offset > data.size() || bytes > data.size() - claim.offset) {
    fail_tensor(file.path, name, "lies outside the file");
  }
  entry.bytes = data.subspan(claim.offset, bytes);
}

std::vector<NamedEntry> read_tensors(const WeightsFile& file, ByteCursor& cursor, size_t count,
                                     size_t alignment) {
  std::vector<Claim> claims;
  claims.reserve(count);
  for (; count > 0; --count) claims.push_back(read_claim(file, cursor));
  const size_t header = (cursor.at() + alignment - 1) / alignment * alignment;
  const auto data = file.bytes.subspan(std::min(header, file.bytes.size()));
  std::vector<NamedEntry> tensors;
  tensors.reserve(claims.size());
  for (Claim& claim : claims) {
    locate(file, claim, data, alignment);
    tensors.push_back(std::move(claim.tensor));
  }
  refuse_overlap(file, tensors);
  return tensors;
}

}  // namespace

std::shared_ptr<const Checkpoint> read_gguf(const WeightsFile& file) {
  ByteCursor cursor(file);
  check_version(file, cursor);
  const auto tensor_count = cursor.count<uint64_t>(kLeastTensor, kMaxTensors, "tensors");
  const auto key_count = cursor.count<uint64_t>(kLeastKey, kMaxKeys, "keys");
  const auto metadata = GgufMetadata::read(file, cursor, key_count);
  refuse_part(file, *metadata);
  const auto tensors = read_tensors(file, cursor, tensor_count, alignment_of(*metadata));

  const std::string content(metadata->string("general.architecture"));
  check_name(file.path, content);
  CheckpointBuilder builder("gguf", file.path, content);
  builder.set_metadata(metadata);
  const bool two_norms = std::any_of(tensors.begin(), tensors.end(), [](const NamedEntry& tensor) {
    return tensor.name.ends_with(".attn_norm_2.weight");
  });
  for (const auto& [name, entry] : tensors) {
    builder.add(file, canonical_gguf_name(name, two_norms), take_tensor(file, entry));
  }
  return builder.finish();
}

std::shared_ptr<const Checkpoint> open_gguf(const std::filesystem::path& path) {
  return read_gguf(WeightsFile::open(path));
}

}  // namespace slim
