// cuBLASLt is opened by name when it is first asked for (cublaslt_library.cpp): what needs no card
// works wherever the toolkit is.
#include "kernels/cuda/library_handles.h"

#include <gtest/gtest.h>

namespace slim {
namespace {

TEST(LibraryHandles, DescribeAProductWithoutACard) {
  Layout layout(CUDA_R_16F, 64, 32, 64);
  EXPECT_NE(layout.get(), nullptr);
  layout.repeat(4, 2048);
  Preference preference;
  preference.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{1} << 20);
  EXPECT_NE(preference.get(), nullptr);
  const Description description;
  EXPECT_NE(description.get(), nullptr);
}

TEST(LibraryHandles, TheLibraryNamesItsErrors) {
  const std::string failed = cublasLtGetStatusString(CUBLAS_STATUS_ALLOC_FAILED);
  EXPECT_EQ(failed.find("cannot be found"), std::string::npos) << failed;
  EXPECT_NE(failed, cublasLtGetStatusString(CUBLAS_STATUS_SUCCESS));
  EXPECT_NE(cublasLtMatmul(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                           nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 0, nullptr),
            CUBLAS_STATUS_SUCCESS);
}

}  // namespace
}  // namespace slim
