// Products of a decoding batch on a device: for each shape and number of rows the time of one of
// ten calls that run as a step, the bytes of weights it reads a second, and the time of the same
// with weights that lie eight bytes off, which the kernel for tiles (group_tiles.cu) does not take.
// Prints one JSON object a line.
//
//   bench_products [DEVICE] [ROWS ...]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "kernels/kernels.h"
#include "median_time.h"

namespace slim {
namespace {

struct Shape {
  const char* name;
  DType type;
  int64_t groups, outputs, inputs;  // outputs and inputs of a group
  int64_t x_stride = 0;
};

constexpr Shape kShapes[] = {
    {"value map, 32 heads, k", DType::i16, 32, 128, 4096, 4104},
    {"value map, 32 heads, k", DType::f16, 32, 128, 4096, 4104},
    {"value map, 32 heads, k", DType::i8, 32, 128, 4096, 4104},
    {"W_V, Whisper large", DType::f16, 20, 64, 1280},
    {"W_K, Whisper large", DType::f16, 20, 1280, 64},
    {"W_V, Whisper base", DType::f16, 8, 64, 512},
    {"W_K, Whisper base", DType::f16, 8, 512, 64},
    {"7B, square", DType::f16, 1, 4096, 4096},
    {"7B, square", DType::bf16, 1, 4096, 4096},
    {"7B, square", DType::i8, 1, 4096, 4096},
    {"7B, square", DType::i16, 1, 4096, 4096},
    {"7B, up", DType::f16, 1, 11008, 4096},
    {"7B, up", DType::bf16, 1, 11008, 4096},
    {"7B, down", DType::f16, 1, 4096, 11008},
    {"7B, down", DType::bf16, 1, 4096, 11008},
    {"7B, down", DType::i8, 1, 4096, 11008},
    {"7B, words", DType::f16, 1, 32000, 4096},
    {"Whisper large, square", DType::f16, 1, 1280, 1280},
    {"Whisper large, up", DType::f16, 1, 5120, 1280},
};

constexpr int kCalls = 10;

// Numbers of any type, the same ones over and over.
std::vector<std::byte> random_numbers(DType type, int64_t count) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> values(size_t{1} << 16);
  for (float& value : values) value = normal(random);
  std::vector<std::byte> some(values.size() * static_cast<size_t>(size_of(type)));
  if (type == DType::i8 || type == DType::i16) {
    for (std::byte& byte : some) byte = static_cast<std::byte>(random());
  } else {
    encode_row({type, std::ssize(values)}, values.data(), some.data());
  }
  std::vector<std::byte> all(static_cast<size_t>(count * size_of(type)));
  for (size_t i = 0; i < all.size(); ++i) all[i] = some[i % some.size()];
  return all;
}

// Weights, so many copies of them that none is found in the card's cache, and activations.
class Layer {
 public:
  Layer(Kernels& kernels, const Shape& shape, int64_t rows, int64_t offset)
      : kernels_(kernels), shape_(shape), offset_(offset) {
    const int64_t outputs = shape.groups * shape.outputs;
    const auto bytes = random_numbers(shape.type, outputs * shape.inputs);
    bytes_ = std::ssize(bytes);
    pitch_ = (bytes_ + 255) / 256 * 256 + 256;
    copies_ = (int64_t{96} << 20) / pitch_ + 1;
    weights_ = kernels.device().allocate(static_cast<size_t>(pitch_ * copies_));
    for (int64_t i = 0; i < copies_; ++i) {
      kernels.device().copy(weights_->data() + i * pitch_ + offset, bytes.data(), bytes.size());
    }
    const int64_t step = shape.x_stride == 0 ? shape.inputs : shape.x_stride;
    x_ = floats(rows, shape.groups * step);
    y_ = floats(rows, outputs);
    scale_ = floats(1, outputs);
  }

  int64_t bytes() const { return bytes_; }

  void multiply(int64_t rows) {
    const std::byte* const at = weights_->data() + next_ * pitch_ + offset_;
    next_ = (next_ + 1) % copies_;
    const bool integers = shape_.type == DType::i8 || shape_.type == DType::i16;
    kernels_.grouped_linear(
        {.x = x_.matrix().rows_from(0, rows),
         .x_stride = shape_.x_stride,
         .weight = {at, shape_.type, shape_.groups * shape_.outputs, shape_.inputs, shape_.inputs},
         .scale = integers ? scale_.values<float>() : nullptr,
         .y = y_.writable_matrix().rows_from(0, rows),
         .groups = shape_.groups});
  }
  void wait() {
    float one = 0.0F;
    kernels_.device().copy(&one, y_.data(), sizeof(one));
  }

 private:
  Tensor floats(int64_t rows, int64_t columns) {
    const auto bytes = random_numbers(DType::f32, rows * columns);
    Tensor tensor = Tensor::allocate(kernels_.device(), DType::f32, {rows, columns});
    kernels_.device().copy(tensor.writable<float>(), bytes.data(), bytes.size());
    return tensor;
  }

  Kernels& kernels_;
  Shape shape_;
  std::shared_ptr<Buffer> weights_;
  int64_t offset_, pitch_ = 0, copies_ = 0, bytes_ = 0, next_ = 0;
  Tensor x_, y_, scale_;
};

double time_layer(Kernels& kernels, Layer& layer, int64_t rows) {
  return median_us([&] { layer.wait(); },
                   [&] {
                     kernels.run_step(1, [&] {
                       for (int i = 0; i < kCalls; ++i) layer.multiply(rows);
                     });
                   }) /
         kCalls;
}

int run(const std::vector<std::string>& arguments) {
  const auto kernels = make_kernels(arguments.empty() ? "cuda" : arguments[0], 2);
  std::vector<int64_t> all_rows;
  for (size_t i = 1; i < arguments.size(); ++i)
    all_rows.push_back(std::atoll(arguments[i].c_str()));
  if (all_rows.empty()) all_rows = {8, 9, 16, 32, 64, 128, 320, 512};
  const int64_t most = *std::max_element(all_rows.begin(), all_rows.end());
  for (const Shape& shape : kShapes) {
    Layer aligned(*kernels, shape, most, 0);
    Layer shifted(*kernels, shape, most, 8);
    for (const int64_t rows : all_rows) {
      const double us = time_layer(*kernels, aligned, rows);
      fmt::print(
          "{{\"shape\": \"{}\", \"type\": \"{}\", \"groups\": {}, \"outputs\": {}, \"inputs\": {}, "
          "\"rows\": {}, \"us\": {:.1f}, \"weights_gb_s\": {:.0f}, \"without_tiles_us\": "
          "{:.1f}}}\n",
          shape.name, name_of(shape.type), shape.groups, shape.outputs, shape.inputs, rows, us,
          static_cast<double>(aligned.bytes()) / us / 1e3, time_layer(*kernels, shifted, rows));
      std::fflush(stdout);
    }
  }
  return 0;
}

}  // namespace
}  // namespace slim

int main(int count, char** values) {
  return slim::run(std::vector<std::string>(values + 1, values + count));
}
