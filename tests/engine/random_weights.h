// RandomWeights: a safetensors file of random tensors, written by the test itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

namespace slim {

class RandomWeights {
 public:
  // Normal values of this deviation around `mean`.
  void add(const std::string& name, const std::vector<int64_t>& shape, float deviation,
           float mean = 0);
  void write(const std::filesystem::path& path) const;

 private:
  nlohmann::json header_ = nlohmann::json::object();
  std::vector<float> data_;
  std::mt19937 random_{7};
};

// One above the largest id of a tokenizer.json.
int tokenizer_size(const std::filesystem::path& path);

}  // namespace slim
