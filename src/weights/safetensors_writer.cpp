// The header, which says where each tensor will lie, then the tensors in that order.
#include "weights/safetensors_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "base/new_file.h"
#include "slim/error.h"
#include "weights/safetensors.h"

namespace slim {
namespace {

constexpr size_t kHeaderAlignment = 8;  // with its length of 8 bytes before it

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& text) {
  throw Error(ErrorCode::bad_request, text, path.string());
}

std::vector<const NamedTensor*> widest_first(std::span<const NamedTensor> tensors) {
  std::vector<const NamedTensor*> order;
  order.reserve(tensors.size());
  for (const NamedTensor& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    return size_of(a->tensor.type()) > size_of(b->tensor.type());
  });
  return order;
}

std::string header_of(const std::filesystem::path& path, std::span<const NamedTensor* const> order,
                      const std::map<std::string, std::string>& metadata) {
  constexpr const char* kMetadata = "__metadata__";
  nlohmann::json header = nlohmann::json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  int64_t at = 0;
  for (const NamedTensor* named : order) {
    const auto& [name, tensor] = *named;
    check_name(path, name);
    const std::string_view type = safetensors_name(tensor.type());
    if (type.empty()) {
      refuse(path, "Tensor '" + name + "' is of type " + std::string(name_of(tensor.type())) +
                       ", which safetensors cannot store.");
    }
    const auto range = {at, at + tensor.bytes()};
    at += tensor.bytes();
    nlohmann::json fields = {{"dtype", type}, {"shape", tensor.shape()}, {"data_offsets", range}};
    if (name == kMetadata || !header.emplace(name, std::move(fields)).second) {
      refuse(path, "Tensor '" + name + "' is given twice, or is named as the metadata is.");
    }
  }
  try {
    return header.dump();
  } catch (const nlohmann::json::exception&) {
    refuse(path, "A text of the metadata is not valid UTF-8.");
  }
}

std::span<const std::byte> bytes_of_text(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  const auto order = widest_first(tensors);
  std::string header = header_of(path, order, metadata);
  header.resize((header.size() + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment, ' ');
  const uint64_t length = header.size();
  if (length > kMaxSafetensorsHeader) {
    refuse(path, "The safetensors header would have " + std::to_string(length) +
                     " bytes, more than the format's limit of 100 MB.");
  }
  NewFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(bytes_of_text(header));
  for (const NamedTensor* named : order) {
    const Tensor& tensor = named->tensor;
    file.write({tensor.data(), static_cast<size_t>(tensor.bytes())});
  }
  file.finish();
}

}  // namespace slim
