// Products by plain loops, and what the library would refuse.
#include "emulator/card_products.h"

#include <array>
#include <cstring>
#include <vector>

#include "tensor/dtype.h"

namespace slim::emulated {
namespace {

// Copies the value of an attribute if it has the right size.
template <typename T>
cublasStatus_t take(T& to, const void* value, size_t bytes) {
  if (bytes != sizeof(to)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

// One column of one batch as floats.
void read_column(const void* data, const MatrixLayout& layout, int64_t first,
                 std::vector<float>& to) {
  to.resize(static_cast<size_t>(layout.rows));
  if (layout.type == CUDA_R_32F) {
    std::memcpy(to.data(), static_cast<const float*>(data) + first, to.size() * sizeof(float));
    return;
  }
  if (layout.type == CUDA_R_16F) {
    const auto* from = static_cast<const Half*>(data) + first;
    std::transform(from, from + layout.rows, to.begin(),
                   [](Half value) { return to_float(value); });
    return;
  }
  const auto* from = static_cast<const BFloat16*>(data) + first;
  std::transform(from, from + layout.rows, to.begin(),
                 [](BFloat16 value) { return to_float(value); });
}

float dot(const std::vector<float>& a, const std::vector<float>& b) {
  std::array<float, 16> sums{};
  size_t k = 0;
  for (; k + sums.size() <= a.size(); k += sums.size()) {
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += a[k + i] * b[k + i];
  }
  for (size_t i = 0; k < a.size(); ++k, ++i) sums[i] += a[k] * b[k];
  float sum = 0.0F;
  for (const float part : sums) sum += part;
  return sum;
}

// Tensor cores take 16-bit floats from multiples of 16 bytes, and the library has nothing slower
// for them.
bool supported(const void* data, const MatrixLayout& layout) {
  if (layout.stride < layout.rows) return false;
  const auto place = reinterpret_cast<uintptr_t>(data);
  if (layout.type == CUDA_R_32F) return place % 4 == 0;
  return place % 16 == 0 && layout.stride % 8 == 0 && layout.batch_step % 8 == 0;
}

bool fit(const MatrixLayout& a, const MatrixLayout& b, const MatrixLayout& d) {
  return a.type == b.type && d.type == CUDA_R_32F && a.rows == b.rows && a.columns == d.rows &&
         b.columns == d.columns && a.batches == d.batches && b.batches == d.batches;
}

}  // namespace

const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? "success" : "not supported by the emulator";
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  static std::byte one;
  *handle = reinterpret_cast<cublasLtHandle_t>(&one);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type,
                                          uint64_t rows, uint64_t columns, int64_t stride) {
  *layout =
      new MatrixLayout{type, static_cast<int64_t>(rows), static_cast<int64_t>(columns), stride};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t which,
                                                const void* value, size_t bytes) {
  if (which == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) return take(layout->batches, value, bytes);
  return take(layout->batch_step, value, bytes);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description, cublasComputeType_t,
                                        cudaDataType_t scale) {
  if (scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  *description = new ProductDescription;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
  delete description;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t, const void* value,
                                              size_t bytes) {
  cublasOperation_t operation = CUBLAS_OP_N;
  const cublasStatus_t status = take(operation, value, bytes);
  description->transposed = operation == CUBLAS_OP_T;
  return status;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = nullptr;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                    cublasLtMatmulPreferenceAttributes_t which,
                                                    const void*, size_t bytes) {
  const size_t expected = which == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? 8 : 4;
  return bytes == expected ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t, int,
                                              cublasLtMatmulHeuristicResult_t*, int* found) {
  *found = description->transposed && fit(*a, *b, *d) ? 1 : 0;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t*, void*,
                              size_t, cudaStream_t) {
  if (!supported(a, *a_layout) || !supported(b, *b_layout) || !supported(d, *d_layout) || c != d ||
      c_layout != d_layout || !fit(*a_layout, *b_layout, *d_layout)) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  const float factor = *static_cast<const float*>(alpha);
  const float kept = *static_cast<const float*>(beta);
  std::vector<std::vector<float>> left(static_cast<size_t>(a_layout->columns));
  std::vector<float> right;
  for (int64_t batch = 0; batch < d_layout->batches; ++batch) {
    const int64_t first = batch * a_layout->batch_step;
    for (size_t m = 0; m < left.size(); ++m) {
      read_column(a, *a_layout, first + static_cast<int64_t>(m) * a_layout->stride, left[m]);
    }
    for (int64_t n = 0; n < d_layout->columns; ++n) {
      read_column(b, *b_layout, batch * b_layout->batch_step + n * b_layout->stride, right);
      float* const to =
          static_cast<float*>(d) + batch * d_layout->batch_step + n * d_layout->stride;
      for (size_t m = 0; m < left.size(); ++m) {
        const float sum = factor * dot(left[m], right);
        to[m] = kept == 0.0F ? sum : sum + kept * to[m];
      }
    }
  }
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace slim::emulated
