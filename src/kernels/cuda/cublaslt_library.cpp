// cuBLASLt, opened when a product is first planned instead of when the program starts: the system
// relocates it then, 150 MB of it, which a process that never asks for a card should not hold. The
// functions that products.cu calls are here by their own names, each handing on to the library's.
#include <cublasLt.h>
#include <dlfcn.h>

#include <atomic>

namespace {

// By the name that its version has everywhere, else where it was when this was built.
void* library() {
  static void* const opened = [] {
    void* const found = dlopen(SLIM_CUBLASLT_NAME, RTLD_NOW | RTLD_LOCAL);
    return found != nullptr ? found : dlopen(SLIM_CUBLASLT_PATH, RTLD_NOW | RTLD_LOCAL);
  }();
  return opened;
}

template <typename Function>
Function entry(const char* name) {
  return library() == nullptr ? nullptr : reinterpret_cast<Function>(dlsym(library(), name));
}

// `known` is the caller's, for one function.
template <typename Function, typename... Arguments>
cublasStatus_t call(std::atomic<Function>& known, const char* name, Arguments... arguments) {
  Function function = known.load(std::memory_order_relaxed);
  if (function == nullptr) {
    function = entry<Function>(name);
    if (function == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
    known.store(function, std::memory_order_relaxed);
  }
  return function(arguments...);
}

}  // namespace

extern "C" {

const char* cublasLtGetStatusString(cublasStatus_t status) {
  if (library() == nullptr) return SLIM_CUBLASLT_NAME " cannot be found";
  auto* const function = entry<decltype(&cublasLtGetStatusString)>("cublasLtGetStatusString");
  return function == nullptr ? "unknown" : function(status);
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  static std::atomic<decltype(&cublasLtCreate)> known;
  return call(known, "cublasLtCreate", handle);
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  static std::atomic<decltype(&cublasLtDestroy)> known;
  return call(known, "cublasLtDestroy", handle);
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t stride) {
  static std::atomic<decltype(&cublasLtMatrixLayoutCreate)> known;
  return call(known, "cublasLtMatrixLayoutCreate", layout, type, rows, columns, stride);
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  static std::atomic<decltype(&cublasLtMatrixLayoutDestroy)> known;
  return call(known, "cublasLtMatrixLayoutDestroy", layout);
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void* value, size_t bytes) {
  static std::atomic<decltype(&cublasLtMatrixLayoutSetAttribute)> known;
  return call(known, "cublasLtMatrixLayoutSetAttribute", layout, attribute, value, bytes);
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* product,
                                        cublasComputeType_t compute_type,
                                        cudaDataType_t scale_type) {
  static std::atomic<decltype(&cublasLtMatmulDescCreate)> known;
  return call(known, "cublasLtMatmulDescCreate", product, compute_type, scale_type);
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product) {
  static std::atomic<decltype(&cublasLtMatmulDescDestroy)> known;
  return call(known, "cublasLtMatmulDescDestroy", product);
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  static std::atomic<decltype(&cublasLtMatmulDescSetAttribute)> known;
  return call(known, "cublasLtMatmulDescSetAttribute", product, attribute, value, bytes);
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  static std::atomic<decltype(&cublasLtMatmulPreferenceCreate)> known;
  return call(known, "cublasLtMatmulPreferenceCreate", preference);
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  static std::atomic<decltype(&cublasLtMatmulPreferenceDestroy)> known;
  return call(known, "cublasLtMatmulPreferenceDestroy", preference);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
  static std::atomic<decltype(&cublasLtMatmulPreferenceSetAttribute)> known;
  return call(known, "cublasLtMatmulPreferenceSetAttribute", preference, attribute, value, bytes);
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t handle, cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a_layout,
    cublasLtMatrixLayout_t b_layout, cublasLtMatrixLayout_t c_layout,
    cublasLtMatrixLayout_t d_layout, cublasLtMatmulPreference_t preference, int asked,
    cublasLtMatmulHeuristicResult_t results[], int* found) {
  static std::atomic<decltype(&cublasLtMatmulAlgoGetHeuristic)> known;
  return call(known, "cublasLtMatmulAlgoGetHeuristic", handle, product, a_layout, b_layout,
              c_layout, d_layout, preference, asked, results, found);
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                              const void* alpha, const void* a, cublasLtMatrixLayout_t a_layout,
                              const void* b, cublasLtMatrixLayout_t b_layout, const void* beta,
                              const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  static std::atomic<decltype(&cublasLtMatmul)> known;
  return call(known, "cublasLtMatmul", handle, product, alpha, a, a_layout, b, b_layout, beta, c,
              c_layout, d, d_layout, algorithm, workspace, workspace_bytes, stream);
}

}  // extern "C"
