// Products: how activations meet weights on a card. Few rows of activations (a decoding step) have
// a kernel of their own that reads the weights once (few_rows.cu), and so have some (a batch of
// them), on tensor cores (group_tiles.cu); many rows go through cuBLASLt, whose handle and
// workspace Products owns, as sums of exact products of bf16 parts (weight_parts.cu).
#pragma once

#include <cublasLt.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "kernels/cuda/cuda_device.h"
#include "kernels/kernels.h"

namespace slim {

// What linear and grouped_linear have together.
struct Product : GroupedLinear {
  Activation activation = Activation::none;

  int64_t outputs() const { return weight.rows / groups; }  // of one group
  int64_t terms() const { return weight.columns; }
  int64_t step() const { return x_stride == 0 ? terms() : x_stride; }  // from x to x
};

// few_rows.cu: any number of rows, eight at a time; made for few.
void multiply_few_rows(CudaDevice& device, const Product& product);

// group_tiles.cu: any number of rows; made for a batch. Of f16, bf16, i8 and i16 weights whose rows
// are aligned to 16 bytes, on a card with enough shared memory.
bool takes_tiles(const CudaDevice& device, const Product& product);
// How many tiles at most may share their inputs with several blocks, and need to count them.
constexpr int64_t kCountedTiles = 1024;
// arrivals: kCountedTiles zeros on the card, which are left zeros.
void multiply_tiles(CudaDevice& device, const Product& product, uint32_t* arrivals);

// Numbers as sums of parts of 16 bits, largest first, each the rest rounded to nearest. Of each
// part the rows stand `stride` apart, a multiple of 8; a row holds `groups` stretches of `width`
// columns, a multiple of 8, filled up with zeros.
struct Parts {
  std::byte* data = nullptr;
  DType type = DType::bf16;  // or f16
  int64_t count = 0;
  int64_t rows = 0;
  int64_t groups = 1;
  int64_t width = 0;
  float* units = nullptr;  // [rows, groups] or none: the stretches are multiples of these

  int64_t stride() const { return groups * width; }
  int64_t part_bytes() const { return rows * stride() * 2; }
  std::byte* part(int64_t index) const { return data + index * part_bytes(); }
};
// Whose parts hold weights of a type exactly: f16 for those that are f16 numbers or two, else bf16.
DType part_type(DType type);
// How many of them: 1 to 3.
int64_t parts_of(DType type);
// weight_parts.cu: columns [g * step, g * step + columns) of `from` become stretch g of `to`, whose
// type and count are part_type() and parts_of() of from.type.
void split_parts(CudaDevice& device, const ConstMatrix& from, int64_t step, const Parts& to);
// The same of f32 activations: three bf16 parts, or two of f16 in units, powers of two that bring
// the largest number of a stretch to [2^14, 2^15): 22 bits, and never less than 2^-39 of that
// largest.
void split_rows(CudaDevice& device, const ConstMatrix& from, int64_t step, const Parts& to);

// weight_parts.cu: the end of a product of many rows.
// y[t, g*N + n] = activation(unit[t, g] * scale * (high + rest) + bias) + (accumulate ? y : 0)
struct Finish {
  const float* high = nullptr;  // group g from column g * high_pitch on; may be y itself
  int64_t high_stride = 0;
  int64_t high_pitch = 0;
  const float* rest = nullptr;  // the same, or none
  int64_t rest_stride = 0;
  int64_t rest_pitch = 0;
  int64_t groups = 1;
  int64_t outputs = 0;           // N
  const float* scale = nullptr;  // [groups * N] or none
  const float* bias = nullptr;   // the same
  const float* units = nullptr;  // [T, groups in all], from these groups on, or none
  int64_t unit_stride = 0;
  Matrix y;
  Activation activation = Activation::none;
  bool accumulate = false;
};
void finish_product(CudaDevice& device, const Finish& finish);

class Products {
 public:
  explicit Products(CudaDevice& device);
  ~Products();
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  void multiply_some_rows(const Product& product);
  void multiply_many_rows(const Product& product);

 private:
  // sum[t, n] = (add ? sum[t, n] : 0) + sum_k x[t, k] * weight[n, k], for each group, all with
  // strides in elements. Weights and x are of one type: f16, bf16 or f32.
  struct Call {
    const void* weight = nullptr;
    const void* x = nullptr;
    float* sum = nullptr;
    int64_t outputs = 0, rows = 0, inputs = 0;
    int64_t weight_stride = 0, x_stride = 0, sum_stride = 0;
    int64_t groups = 1;
    int64_t weight_step = 0, x_step = 0, sum_step = 0;
    DType type = DType::f32;
    bool add = false;
  };
  using Key = std::array<int64_t, 15>;
  struct Plan;

  void call(const Call& call);
  Plan& plan(const Call& call);
  void multiply_floats(const Product& product);
  void multiply_parts(const Product& product);

  CudaDevice& device_;
  std::mutex mutex_;  // of all below
  cublasLtHandle_t handle_ = nullptr;
  std::shared_ptr<Buffer> workspace_;
  std::shared_ptr<Buffer> arrivals_;  // of tiles
  std::map<Key, std::unique_ptr<Plan>> plans_;
};

}  // namespace slim
