// GoldenModel: what the tests of golden models by family share: a model of tests/golden and a
// device's kernels make a case, and a case is opened once and built under many choices of cache.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "models/golden.h"

namespace slim::test {

std::filesystem::path golden_folder(const std::string& name);  // of tests/golden

// What rounding rows may cost, in decode_difference(), by the plan's own prediction: that of each
// layer, times 12. A prediction is a root mean square, the worst of 4000 logits lies four
// deviations out, and later layers see errors as well (measured: up to 8.6, for k in i16).
float allowed_difference(const Model& model);

struct GoldenCase {
  std::filesystem::path directory;
  std::string kernels;

  friend void PrintTo(const GoldenCase& item, std::ostream* stream) {
    *stream << item.directory.filename().string() << " " << item.kernels;
  }
};

// Every model of a folder of tests/golden, by name, on each of these kernels.
std::vector<GoldenCase> golden_cases(const std::string& folder,
                                     std::span<const std::string> kernels);
// On the reference, on the processor and on a card.
std::vector<GoldenCase> golden_cases(const std::string& folder);
// What a case is called in the name of a test.
std::string golden_case_name(const testing::TestParamInfo<GoldenCase>& instance);

class GoldenModel : public testing::TestWithParam<GoldenCase> {
 protected:
  GoldenModel();
  void SetUp() override;

  // Null if the choice does not fit. `context`: tokens of a sequence; 0: what the model was made
  // for.
  std::unique_ptr<Model> build(const CacheChoice& choice, int64_t context = 0) const;

  ModelFiles files_;
  std::shared_ptr<const ModelWeights> weights_;
  std::unique_ptr<Kernels> kernels_;
};

}  // namespace slim::test
