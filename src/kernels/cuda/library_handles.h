// What cuBLASLt is told of matrices and products, as objects that free themselves.
#pragma once

#include <cublasLt.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "slim/error.h"

namespace slim {

inline void check_library(cublasStatus_t status, const char* action) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const bool memory = status == CUBLAS_STATUS_ALLOC_FAILED;
  throw Error(
      memory ? ErrorCode::out_of_memory : ErrorCode::device,
      std::string("cuBLASLt could not ") + action + ": " + cublasLtGetStatusString(status) + ".",
      "cuda");
}

class Layout {
 public:
  Layout(cudaDataType_t type, int64_t rows, int64_t columns, int64_t stride) {
    check_library(
        cublasLtMatrixLayoutCreate(&layout_, type, static_cast<uint64_t>(rows),
                                   static_cast<uint64_t>(columns), std::max(rows, stride)),
        "describe a matrix");
  }
  ~Layout() { cublasLtMatrixLayoutDestroy(layout_); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;

  void repeat(int64_t count, int64_t step) {
    const auto batches = static_cast<int32_t>(count);
    set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, batches);
    set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, step);
  }
  cublasLtMatrixLayout_t get() const { return layout_; }

 private:
  template <typename T>
  void set(cublasLtMatrixLayoutAttribute_t attribute, const T& value) {
    check_library(cublasLtMatrixLayoutSetAttribute(layout_, attribute, &value, sizeof(value)),
                  "describe a matrix");
  }
  cublasLtMatrixLayout_t layout_ = nullptr;
};

class Preference {
 public:
  Preference() { check_library(cublasLtMatmulPreferenceCreate(&preference_), "plan a product"); }
  ~Preference() { cublasLtMatmulPreferenceDestroy(preference_); }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;

  template <typename T>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, T value) {
    check_library(
        cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &value, sizeof(value)),
        "plan a product");
  }
  cublasLtMatmulPreference_t get() const { return preference_; }

 private:
  cublasLtMatmulPreference_t preference_ = nullptr;
};

class Description {
 public:
  Description() {
    check_library(cublasLtMatmulDescCreate(&description_, CUBLAS_COMPUTE_32F, CUDA_R_32F),
                  "describe a product");
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check_library(cublasLtMatmulDescSetAttribute(description_, CUBLASLT_MATMUL_DESC_TRANSA,
                                                 &transposed, sizeof(transposed)),
                  "describe a product");
  }
  ~Description() { cublasLtMatmulDescDestroy(description_); }
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;
  cublasLtMatmulDesc_t get() const { return description_; }

 private:
  cublasLtMatmulDesc_t description_ = nullptr;
};

}  // namespace slim
