// The cards of this machine, and what all operations share.
#include "kernels/cuda/device_kernels.h"

#include <charconv>

#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/products.h"
#include "slim/error.h"

namespace slim {
namespace {

// Steps of more tokens are not bound by launches, and call the library of products.
constexpr int64_t kMostGathered = 32;

// A kernel that does nothing: a card that cannot load it has no code in this build.
__global__ void nothing() {}

bool has_code(int number) {
  if (cudaSetDevice(number) != cudaSuccess) return false;
  cudaFuncAttributes attributes{};
  const bool loaded = cudaFuncGetAttributes(&attributes, nothing) == cudaSuccess;
  cudaGetLastError();
  return loaded;
}

int card_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();  // no driver, or no card
  return 0;
}

Tensor table_on(Device& device, const float* from, int64_t rows, int64_t columns) {
  Tensor table = Tensor::allocate(device, DType::f32, {rows, columns});
  device.copy(table.writable<float>(), from, static_cast<size_t>(table.bytes()));
  return table;
}

}  // namespace

std::vector<std::string> cuda_kernel_names() {
  std::vector<std::string> names;
  for (int number = 0; number < card_count(); ++number) {
    if (!has_code(number)) continue;
    if (names.empty()) names.emplace_back("cuda");
    names.push_back("cuda:" + std::to_string(number));
  }
  return names;
}

std::unique_ptr<Kernels> make_cuda_kernels(std::string_view target, int) {
  // "cuda" is the first of the numbered ones that follow it.
  const std::string name =
      target.empty() ? cuda_kernel_names().at(1).substr(5) : std::string(target);
  int number = 0;
  std::from_chars(name.data(), name.data() + name.size(), number);
  return std::make_unique<CudaKernels>(number);
}

CudaKernels::CudaKernels(int number)
    : device_(cuda_device(number)),
      name_(device_.name()),
      products_(std::make_unique<Products>(device_)) {}

CudaKernels::~CudaKernels() = default;

// A pass rebuilds the values of all rows before it, so long ones are worth their scratch memory:
// 0.4 MB a token of a model of 7 billion weights.
CudaKernels::PromptSizes CudaKernels::prompt_sizes() const {
  constexpr int64_t kTokens = 4096;
  constexpr size_t kLarge = size_t{60} << 30;
  return {.tokens = device_.memory_bytes() < kLarge ? kTokens : 4 * kTokens,
          .beside = kTokens,
          .rows = kTokens};
}

void CudaKernels::run_step(int64_t tokens, FunctionRef<void()> body) {
  if (tokens > kMostGathered) return body();
  device_.gather(body);
}

CudaRotation CudaKernels::rotation(const Rotation& rotation) {
  const std::lock_guard lock(mutex_);
  const int64_t pages = (rotation.positions() + kPageRows - 1) / kPageRows + 1;
  auto found = rotations_.find(rotation.id());
  if (found == rotations_.end()) {
    const RotationTables tables{table_on(device_, rotation.row_cos(0), kPageRows, rotation.width()),
                                table_on(device_, rotation.page_cos(0), pages, rotation.width())};
    found = rotations_.emplace(rotation.id(), tables).first;
  }
  return {.rows = found->second.rows.values<float>(),
          .pages = found->second.pages.values<float>(),
          .pairs = static_cast<int32_t>(rotation.pairs()),
          .interleaved = rotation.interleaved(),
          .magnitude = rotation.magnitude()};
}

}  // namespace slim
