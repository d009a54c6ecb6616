// Opening cases.
#include "models/golden_model.h"

#include <algorithm>
#include <array>

#include "kernels/staged_kernels.h"
#include "slim/error.h"

namespace slim::test {

namespace fs = std::filesystem;

fs::path golden_folder(const std::string& name) {
  return fs::path(SLIM_TEST_DATA) / "golden" / name;
}

float allowed_difference(const Model& model) {
  constexpr double kGrowth = 12;
  return kExact + static_cast<float>(kGrowth * predicted_error(model));
}

std::vector<GoldenCase> golden_cases(const std::string& folder,
                                     std::span<const std::string> kernels) {
  std::vector<fs::path> models;
  for (const fs::directory_entry& entry : fs::directory_iterator(golden_folder(folder))) {
    models.push_back(entry.path());
  }
  std::sort(models.begin(), models.end());
  std::vector<GoldenCase> all;
  for (const fs::path& model : models) {
    for (const std::string& name : kernels) all.push_back({model, name});
  }
  return all;
}

std::vector<GoldenCase> golden_cases(const std::string& folder) {
  return golden_cases(folder, std::array<std::string, 3>{"reference", "cpu", "cuda"});
}

std::string golden_case_name(const testing::TestParamInfo<GoldenCase>& instance) {
  std::string name = instance.param.directory.filename().string() + "_" + instance.param.kernels;
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
}

GoldenModel::GoldenModel()
    : files_(open_model(GetParam().directory)),
      weights_(std::make_shared<const ModelWeights>(files_.spec, *files_.checkpoint)),
      kernels_(device_kernels(GetParam().kernels, 2)) {}

void GoldenModel::SetUp() {
  if (kernels_ == nullptr) GTEST_SKIP() << kNoCard;
}

std::unique_ptr<Model> GoldenModel::build(const CacheChoice& choice, int64_t context) const {
  try {
    return std::make_unique<Model>(files_.spec, weights_, *kernels_, choice, context);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_request) << error.what();
    return nullptr;
  }
}

}  // namespace slim::test
