// Products of many rows by cuBLASLt, and the choice between them and those of few and some rows.
//
// The tensor cores multiply 16-bit numbers exactly and sum in f32. So each f32 activation is taken
// apart into three bf16 parts (8 bits each, together its 24), or two of f16 (11 bits each, in units
// of its row's largest), and each weight into as many as hold it: f16 parts for f16 and i8 (1) and
// i16 (2), bf16 parts for bf16 (1), q4_0 (2) and the others (3). Products of parts that matter are
// summed, the smallest first: 2 or 3, or 3, 5 or 6, at fifteen times the rate of f32. Weights in
// f32 use the plain f32 product.
//
// Matrices of cuBLASLt are column-major, so it is asked for y^T = W x^T: W transposed, x as it is.
#include "kernels/cuda/products.h"

#include <algorithm>

#include "kernels/cuda/device_kernels.h"
#include "kernels/cuda/library_handles.h"
#include "kernels/cuda/weight_values.cuh"

namespace slim {
namespace {

constexpr size_t kWorkspace = size_t{32} << 20;
constexpr int64_t kWeightScratch = int64_t{64} << 20;  // decoded weights of a tile of outputs
constexpr int64_t kRowScratch = int64_t{256} << 20;    // activations taken apart
constexpr int64_t kSumScratch = int64_t{64} << 20;     // each of two arrays of sums
constexpr size_t kMostPlans = 4096;
// Tiles serve more rows than few_rows.cu reads weights for at once, and up to so many, of several
// groups (which the library does one by one) or of large matrices: 17 million weights take 25 us
// for 16 rows, three million 15, as long as four tiles in a row.
constexpr int64_t kFewestTileRows = 9;
constexpr int64_t kMostTileRows = 64;
constexpr int64_t kMostGroupedTileRows = 512;
constexpr int64_t kFewestTileWeights = int64_t{8} << 20;
constexpr int64_t kShortInputs = 128;  // which nobody shares
// Where tiles do not, up to so many rows are few: where the library reads the weights three times,
// and where it also needs them decoded.
constexpr int64_t kFewRows = 16;
constexpr int64_t kFewRowsDecoded = 32;

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// The largest power of two, up to 256, that divides an address.
int64_t alignment_of(const void* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address) | 256U;
  return static_cast<int64_t>(bits & (~bits + 1));
}

// Part of the outputs: whole groups, or outputs of one group.
struct Tile {
  int64_t group = 0, groups = 1;
  int64_t output = 0, outputs = 0;

  int64_t count() const { return groups * outputs; }
  int64_t first(const Product& product) const { return group * product.outputs() + output; }
};

// Calls f(tile) for all outputs, at most about `most` at a time.
template <typename Function>
void for_tiles(const Product& product, int64_t most, Function f) {
  const int64_t outputs = product.outputs();
  if (outputs <= most) {
    const int64_t step = most / outputs;
    for (int64_t g = 0; g < product.groups; g += step) {
      f(Tile{.group = g, .groups = std::min(step, product.groups - g), .outputs = outputs});
    }
    return;
  }
  const int64_t step = std::max<int64_t>(128, most / 128 * 128);
  for (int64_t g = 0; g < product.groups; ++g) {
    for (int64_t n = 0; n < outputs; n += step) {
      f(Tile{.group = g, .output = n, .outputs = std::min(step, outputs - n)});
    }
  }
}

const float* shifted(const float* array, int64_t by) {
  return array == nullptr ? nullptr : array + by;
}

// The rows [begin, begin + rows) of a tile's outputs, without the sums.
Finish finish_of(const Product& product, const Tile& tile, int64_t begin, int64_t rows) {
  const int64_t first = tile.first(product);
  return {.groups = tile.groups,
          .outputs = tile.outputs,
          .scale = shifted(product.scale, first),
          .bias = shifted(product.bias, first),
          .y = product.y.rows_from(begin, rows).columns_from(first, tile.count()),
          .activation = product.activation,
          .accumulate = product.accumulate};
}

// Products take weights of 16-bit floats as they lie in memory if every vector of eight is aligned.
bool lies_ready(const ConstMatrix& weight) {
  return (weight.type == DType::bf16 || weight.type == DType::f16) &&
         weight.columns % kPiece == 0 && rows_aligned(weight, 16);
}

bool has_some_rows(const Product& product) {
  const int64_t most = product.groups > 1 ? kMostGroupedTileRows : kMostTileRows;
  const int64_t inputs = product.weight.columns;
  return product.x.rows >= kFewestTileRows && product.x.rows <= most && inputs > 0 &&
         (inputs <= kShortInputs || product.weight.rows * inputs >= kFewestTileWeights);
}

bool has_few_rows(const Product& product) {
  const ConstMatrix& weight = product.weight;
  const bool ready = weight.type == DType::f32 || lies_ready(weight);
  return product.x.rows <= (ready ? kFewRows : kFewRowsDecoded) || weight.columns == 0;
}

}  // namespace

struct Products::Plan {
  explicit Plan(const Call& call)
      : weight(type_of(call), call.inputs, call.outputs, call.weight_stride),
        x(type_of(call), call.inputs, call.rows, call.x_stride),
        sum(CUDA_R_32F, call.outputs, call.rows, call.sum_stride) {
    if (call.groups == 1) return;
    weight.repeat(call.groups, call.weight_step);
    x.repeat(call.groups, call.x_step);
    sum.repeat(call.groups, call.sum_step);
  }
  static cudaDataType_t type_of(const Call& call) {
    return call.type == DType::f16    ? CUDA_R_16F
           : call.type == DType::bf16 ? CUDA_R_16BF
                                      : CUDA_R_32F;
  }

  Description description;
  Layout weight, x, sum;
  cublasLtMatmulAlgo_t algorithm{};
};

Products::Products(CudaDevice& device) : device_(device) {}

Products::~Products() {
  plans_.clear();
  if (handle_ != nullptr) cublasLtDestroy(handle_);
}

// Searching costs tens of microseconds, so what was found is kept.
Products::Plan& Products::plan(const Call& call) {
  const int64_t alignments[] = {alignment_of(call.weight), alignment_of(call.x),
                                alignment_of(call.sum)};
  const Key key = {call.outputs,
                   call.rows,
                   call.inputs,
                   call.weight_stride,
                   call.x_stride,
                   call.sum_stride,
                   call.groups,
                   call.weight_step,
                   call.x_step,
                   call.sum_step,
                   static_cast<int64_t>(call.type),
                   call.add,
                   alignments[0],
                   alignments[1],
                   alignments[2]};
  if (const auto found = plans_.find(key); found != plans_.end()) return *found->second;
  auto made = std::make_unique<Plan>(call);
  Preference preference;
  preference.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kWorkspace});
  // Not in place: there the order of a sum differs from run to run.
  preference.set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                 uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(alignments[0]));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(alignments[1]));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(alignments[2]));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(alignments[2]));
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  check_library(cublasLtMatmulAlgoGetHeuristic(handle_, made->description.get(), made->weight.get(),
                                               made->x.get(), made->sum.get(), made->sum.get(),
                                               preference.get(), 1, &result, &found),
                "plan a product");
  if (found == 0) check_library(CUBLAS_STATUS_NOT_SUPPORTED, "plan a product");
  made->algorithm = result.algo;
  if (plans_.size() >= kMostPlans) plans_.clear();
  return *plans_.emplace(key, std::move(made)).first->second;
}

void Products::call(const Call& call) {
  if (handle_ == nullptr) {
    check_library(cublasLtCreate(&handle_), "start");
    workspace_ = device_.allocate(kWorkspace);
  }
  const Plan& with = plan(call);
  const float one = 1.0F;
  const float before = call.add ? 1.0F : 0.0F;
  check_library(
      cublasLtMatmul(handle_, with.description.get(), &one, call.weight, with.weight.get(), call.x,
                     with.x.get(), &before, call.sum, with.sum.get(), call.sum, with.sum.get(),
                     &with.algorithm, workspace_->data(), kWorkspace, device_.stream()),
      "multiply");
}

// Sums go straight to y, but where an activation or a bias comes between them and what y holds.
void Products::multiply_floats(const Product& product) {
  const bool plain = product.bias == nullptr && product.activation == Activation::none;
  const bool apart = product.accumulate && !plain;
  const int64_t columns = product.weight.rows;
  const int64_t step =
      apart ? std::clamp<int64_t>(kSumScratch / (4 * columns), 1, product.x.rows) : product.x.rows;
  const auto scratch =
      apart ? device_.allocate(static_cast<size_t>(step * columns) * sizeof(float)) : nullptr;
  for (int64_t begin = 0; begin < product.x.rows; begin += step) {
    const int64_t rows = std::min(step, product.x.rows - begin);
    float* const sum =
        apart ? reinterpret_cast<float*>(scratch->data()) : product.y.row<float>(begin);
    const int64_t stride = apart ? columns : product.y.stride;
    call({.weight = product.weight.data,
          .x = product.x.row<float>(begin),
          .sum = sum,
          .outputs = product.outputs(),
          .rows = rows,
          .inputs = product.terms(),
          .weight_stride = product.weight.stride,
          .x_stride = product.x.stride,
          .sum_stride = stride,
          .groups = product.groups,
          .weight_step = product.outputs() * product.weight.stride,
          .x_step = product.step(),
          .sum_step = product.outputs(),
          .add = product.accumulate && !apart});
    if (plain) continue;
    const Tile all{.groups = product.groups, .outputs = product.outputs()};
    Finish finish = finish_of(product, all, begin, rows);
    finish.high = sum;
    finish.high_stride = stride;
    finish.high_pitch = product.outputs();
    finish_product(device_, finish);
  }
}

namespace {

// The scratch memory of a product of parts, and how much is done at a time.
struct PartsWork {
  PartsWork(CudaDevice& device, const Product& product);

  bool ready;       // the weights need no decoding
  bool apart;       // sums of first parts do not go to y
  int64_t width;    // of a row's stretch of parts
  int64_t rows;     // at most, at a time
  int64_t outputs;  // at most, at a time
  DType type;       // of parts
  int64_t count;    // parts of activations that are multiplied
  int64_t made;     // that they are taken apart into
  std::shared_ptr<Buffer> x, units, weight, high, rest;
};

PartsWork::PartsWork(CudaDevice& device, const Product& product)
    : ready(lies_ready(product.weight)),
      apart(product.accumulate || !rows_aligned(product.y, 16) || product.outputs() % 4 != 0),
      width(round_up(product.terms(), kPiece)),
      type(part_type(product.weight.type)),
      count((type == DType::f16 ? 2 : 3) - (product.inputs == Inputs::f16 ? 1 : 0)),
      made(type == DType::f16 ? count : 3) {
  const int64_t row_bytes = made * 2 * product.groups * width;
  rows = std::clamp<int64_t>(kRowScratch / row_bytes, 1, product.x.rows);
  const int64_t output_bytes = ready ? 0 : parts_of(product.weight.type) * 2 * width;
  outputs = std::max<int64_t>(128, kSumScratch / (4 * rows));
  if (!ready) outputs = std::max<int64_t>(128, std::min(outputs, kWeightScratch / output_bytes));
  outputs = std::min(outputs, product.weight.rows);
  const auto allocate = [&](int64_t bytes) { return device.allocate(static_cast<size_t>(bytes)); };
  x = allocate(rows * row_bytes);
  if (type == DType::f16) units = allocate(rows * product.groups * 4);
  if (!ready) weight = allocate(outputs * output_bytes);
  // Every group's sums begin at a multiple of four, so there may be as many as 4 N for N outputs.
  const bool padded = product.groups > 1 && product.outputs() % 4 != 0;
  const int64_t pitched = padded ? 4 * outputs : round_up(outputs, 4);
  rest = allocate(rows * pitched * 4);
  if (apart) high = allocate(rows * pitched * 4);
}

float* floats(const std::shared_ptr<Buffer>& buffer) {
  return reinterpret_cast<float*>(buffer->data());
}

}  // namespace

void Products::multiply_parts(const Product& product) {
  const PartsWork work(device_, product);
  const int64_t count = parts_of(product.weight.type);
  for (int64_t begin = 0; begin < product.x.rows; begin += work.rows) {
    const int64_t rows = std::min(work.rows, product.x.rows - begin);
    const Parts x{.data = work.x->data(),
                  .type = work.type,
                  .count = work.made,
                  .rows = rows,
                  .groups = product.groups,
                  .width = work.width,
                  .units = work.units == nullptr ? nullptr : floats(work.units)};
    split_rows(device_, product.x.rows_from(begin, rows).columns_from(0, product.terms()),
               product.step(), x);
    for_tiles(product, work.outputs, [&](const Tile& tile) {
      const ConstMatrix own = product.weight.rows_from(tile.first(product), tile.count());
      Parts weight{.data = const_cast<std::byte*>(own.data), .count = 1, .width = own.stride};
      if (!work.ready) {
        weight = {.data = work.weight->data(),
                  .type = work.type,
                  .count = count,
                  .rows = own.rows,
                  .width = work.width};
        split_parts(device_, own, 0, weight);
      }
      Finish finish = finish_of(product, tile, begin, rows);
      if (x.units != nullptr) finish.units = x.units + tile.group;
      finish.unit_stride = product.groups;
      finish.rest_pitch = round_up(tile.outputs, 4);
      finish.rest_stride = tile.groups * finish.rest_pitch;
      const int64_t orders = std::max(work.count, count);
      if (orders > 1) finish.rest = floats(work.rest);
      finish.high_pitch = work.apart ? finish.rest_pitch : tile.outputs;
      finish.high_stride = work.apart ? finish.rest_stride : product.y.stride;
      finish.high = work.apart ? floats(work.high) : finish.y.row<float>(0);
      Call one{.outputs = tile.outputs,
               .rows = rows,
               .inputs = work.width,
               .weight_stride = weight.width,
               .x_stride = x.stride(),
               .groups = tile.groups,
               .weight_step = tile.outputs * weight.width,
               .x_step = work.width,
               .type = work.type};
      // Products of parts i and j are 2^-8 (i + j) of the whole, or 2^-12 (i + j) of f16: those of
      // 2^-24 are left out.
      bool begun = false;  // the sum of what is not of order 0
      for (int64_t order = orders - 1; order >= 0; --order) {
        for (int64_t i = std::min(order, count - 1); order - i < work.count && i >= 0; --i) {
          one.weight = weight.part(i);
          one.x = x.part(order - i) + tile.group * work.width * 2;
          one.sum = const_cast<float*>(order == 0 ? finish.high : finish.rest);
          one.sum_stride = order == 0 ? finish.high_stride : finish.rest_stride;
          one.sum_step = order == 0 ? finish.high_pitch : finish.rest_pitch;
          one.add = order > 0 && begun;
          call(one);
          begun = true;
        }
      }
      finish_product(device_, finish);
    });
  }
}

void Products::multiply_some_rows(const Product& product) {
  const std::lock_guard lock(mutex_);
  if (arrivals_ == nullptr) {
    constexpr size_t kBytes = kCountedTiles * sizeof(uint32_t);
    auto zeros = device_.allocate(kBytes);
    device_.clear(zeros->data(), kBytes);
    arrivals_ = std::move(zeros);
  }
  multiply_tiles(device_, product, reinterpret_cast<uint32_t*>(arrivals_->data()));
}

void Products::multiply_many_rows(const Product& product) {
  const std::lock_guard lock(mutex_);
  if (product.weight.type == DType::f32) return multiply_floats(product);
  multiply_parts(product);
}

namespace {

void multiply(CudaDevice& device, Products& products, const Product& product) {
  if (product.x.rows == 0 || product.weight.rows == 0) return;
  device.select();
  if (has_some_rows(product) && takes_tiles(device, product)) {
    return products.multiply_some_rows(product);
  }
  if (has_few_rows(product)) return multiply_few_rows(device, product);
  products.multiply_many_rows(product);
}

}  // namespace

void CudaKernels::linear(const Linear& arguments) {
  const GroupedLinear layer{.x = arguments.x,
                            .weight = arguments.weight,
                            .scale = arguments.scale,
                            .bias = arguments.bias,
                            .y = arguments.y,
                            .accumulate = arguments.accumulate,
                            .inputs = arguments.inputs};
  multiply(device_, *products_, Product{layer, arguments.activation});
}

void CudaKernels::grouped_linear(const GroupedLinear& arguments) {
  multiply(device_, *products_, Product{arguments});
}

}  // namespace slim
