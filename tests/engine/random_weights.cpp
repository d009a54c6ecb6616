// All tensors are F32.
#include "engine/random_weights.h"

#include <algorithm>
#include <fstream>

namespace slim {

void RandomWeights::add(const std::string& name, const std::vector<int64_t>& shape, float deviation,
                        float mean) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  std::normal_distribution<float> normal(mean, deviation);
  const size_t begin = data_.size() * sizeof(float);
  for (int64_t i = 0; i < count; ++i) {
    data_.push_back(deviation > 0 ? normal(random_) : mean);
  }
  header_[name] = {
      {"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data_.size() * sizeof(float)}}};
}

void RandomWeights::write(const std::filesystem::path& path) const {
  std::string header = header_.dump();
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const uint64_t size = header.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&size), 8);
  file << header;
  file.write(reinterpret_cast<const char*>(data_.data()),
             static_cast<std::streamsize>(data_.size() * sizeof(float)));
}

int tokenizer_size(const std::filesystem::path& path) {
  std::ifstream file(path);
  const nlohmann::json json = nlohmann::json::parse(file);
  int size = 0;
  for (const auto& [token, id] : json["model"]["vocab"].items()) {
    size = std::max(size, id.get<int>() + 1);
  }
  for (const auto& token : json["added_tokens"]) size = std::max(size, token["id"].get<int>() + 1);
  return size;
}

}  // namespace slim
