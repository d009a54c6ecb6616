// cuBLASLt, opened when a product is first planned instead of when the program starts: the system
// relocates it then, 150 MB of it, which a process that never asks for a card should not hold. The
// functions that products.cu calls are here by their own names, each handing on to the library's.
#include <cublasLt.h>
#include <dlfcn.h>

namespace {

// By the name that its version has everywhere, else where it was when this was built.
void* library() {
  static void* const opened = [] {
    void* const found = dlopen(SLIM_CUBLASLT_NAME, RTLD_NOW | RTLD_LOCAL);
    return found != nullptr ? found : dlopen(SLIM_CUBLASLT_PATH, RTLD_NOW | RTLD_LOCAL);
  }();
  return opened;
}

// Null if there is none.
template <auto kFunction>
decltype(kFunction) entry(const char* name) {
  static const auto found = reinterpret_cast<decltype(kFunction)>(
      library() == nullptr ? nullptr : dlsym(library(), name));
  return found;
}

template <auto kFunction, typename... Arguments>
cublasStatus_t call(const char* name, Arguments... arguments) {
  const auto function = entry<kFunction>(name);
  return function == nullptr ? CUBLAS_STATUS_NOT_INITIALIZED : function(arguments...);
}

}  // namespace

extern "C" {

const char* cublasLtGetStatusString(cublasStatus_t status) {
  if (library() == nullptr) return SLIM_CUBLASLT_NAME " cannot be found";
  const auto function = entry<&cublasLtGetStatusString>("cublasLtGetStatusString");
  return function == nullptr ? "unknown" : function(status);
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  return call<&cublasLtCreate>("cublasLtCreate", handle);
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  return call<&cublasLtDestroy>("cublasLtDestroy", handle);
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t stride) {
  return call<&cublasLtMatrixLayoutCreate>("cublasLtMatrixLayoutCreate", layout, type, rows,
                                           columns, stride);
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return call<&cublasLtMatrixLayoutDestroy>("cublasLtMatrixLayoutDestroy", layout);
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void* value, size_t bytes) {
  return call<&cublasLtMatrixLayoutSetAttribute>("cublasLtMatrixLayoutSetAttribute", layout,
                                                 attribute, value, bytes);
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* product,
                                        cublasComputeType_t compute_type,
                                        cudaDataType_t scale_type) {
  return call<&cublasLtMatmulDescCreate>("cublasLtMatmulDescCreate", product, compute_type,
                                         scale_type);
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product) {
  return call<&cublasLtMatmulDescDestroy>("cublasLtMatmulDescDestroy", product);
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  return call<&cublasLtMatmulDescSetAttribute>("cublasLtMatmulDescSetAttribute", product, attribute,
                                               value, bytes);
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return call<&cublasLtMatmulPreferenceCreate>("cublasLtMatmulPreferenceCreate", preference);
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return call<&cublasLtMatmulPreferenceDestroy>("cublasLtMatmulPreferenceDestroy", preference);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
  return call<&cublasLtMatmulPreferenceSetAttribute>("cublasLtMatmulPreferenceSetAttribute",
                                                     preference, attribute, value, bytes);
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t handle, cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a_layout,
    cublasLtMatrixLayout_t b_layout, cublasLtMatrixLayout_t c_layout,
    cublasLtMatrixLayout_t d_layout, cublasLtMatmulPreference_t preference, int asked,
    cublasLtMatmulHeuristicResult_t results[], int* found) {
  return call<&cublasLtMatmulAlgoGetHeuristic>("cublasLtMatmulAlgoGetHeuristic", handle, product,
                                               a_layout, b_layout, c_layout, d_layout, preference,
                                               asked, results, found);
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                              const void* alpha, const void* a, cublasLtMatrixLayout_t a_layout,
                              const void* b, cublasLtMatrixLayout_t b_layout, const void* beta,
                              const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  return call<&cublasLtMatmul>("cublasLtMatmul", handle, product, alpha, a, a_layout, b, b_layout,
                               beta, c, c_layout, d, d_layout, algorithm, workspace,
                               workspace_bytes, stream);
}

}  // extern "C"
