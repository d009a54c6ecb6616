// Timings of the dense kernels at the shapes of Whisper tiny and base, and of a language model for
// every type of weight.
//
//   bench_kernels --benchmark_filter='linear/cpu.*'
//   bench_kernels --benchmark_filter='weights/1x.*/cpu/all'
//
// One thread and all threads; the rate is in multiply-adds times two, and for products of few rows
// the bytes of the weight read per second beside it.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "kernels/kernels.h"
#include "tensor/dtype.h"

namespace slim {
namespace {

// Deterministic values in [-1, 1), of the given type.
Tensor random(DType type, int64_t rows, int64_t columns) {
  Tensor tensor = Tensor::allocate(host_device(), type, {rows, columns});
  uint32_t state = 1;
  for (int64_t i = 0; i < rows * columns; ++i) {
    state = state * 1664525U + 1013904223U;
    const float value = static_cast<float>(state >> 8) * 0x1p-23F - 1.0F;
    if (type == DType::f32) {
      tensor.writable<float>()[i] = value;
    } else if (type == DType::f16) {
      tensor.writable<Half>()[i] = to_half(value);
    } else {
      tensor.writable<BFloat16>()[i] = to_bfloat16(value);
    }
  }
  return tensor;
}

// The same of any type. Bytes of integers and blocks are random, but for what could be a binary16
// scale of infinity or NaN: the timing must not depend on those.
Tensor random_weight(DType type, int64_t rows, int64_t columns) {
  if (size_of(type) != 0 && type != DType::i8 && type != DType::i16) {
    return random(type, rows, columns);
  }
  Tensor tensor = Tensor::allocate(host_device(), type, {rows, columns});
  auto* bytes = const_cast<std::byte*>(tensor.data());
  uint32_t state = 1;
  for (int64_t i = 0; i < tensor.bytes(); ++i) {
    state = state * 1664525U + 1013904223U;
    bytes[i] = static_cast<std::byte>((state >> 24) & 0x3BU);
  }
  return tensor;
}

void report(benchmark::State& state, double operations) {
  state.counters["GFLOP/s"] =
      benchmark::Counter(operations * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

struct LinearCase {
  int64_t rows;
  int64_t outputs;
  int64_t depth;
  DType type;
  Inputs inputs = Inputs::f32;
};

void time_linear(benchmark::State& state, const std::string& name, int threads,
                 const LinearCase& shape) {
  const auto kernels = make_kernels(name, threads);
  const auto session = kernels->begin_session();
  const Tensor x = random(DType::f32, shape.rows, shape.depth);
  const Tensor weight = random_weight(shape.type, shape.outputs, shape.depth);
  const Tensor bias = random(DType::f32, 1, shape.outputs);
  Tensor y = random(DType::f32, shape.rows, shape.outputs);
  const bool scaled = shape.type == DType::i8 || shape.type == DType::i16;
  const Linear linear{.x = x.matrix(),
                      .weight = weight.matrix(),
                      .scale = scaled ? bias.values<float>() : nullptr,
                      .bias = bias.values<float>(),
                      .y = y.writable_matrix(),
                      .inputs = shape.inputs};
  for (auto _ : state) kernels->linear(linear);
  report(state, 2.0 * static_cast<double>(shape.rows * shape.outputs * shape.depth));
  state.counters["GB/s"] = benchmark::Counter(static_cast<double>(weight.bytes()) * 1e-9,
                                              benchmark::Counter::kIsIterationInvariantRate);
}

// M_i on the mixed rows of 40 heads: [40 * 128, 5120] of i16.
void time_grouped(benchmark::State& state, const std::string& name, int threads, int64_t rows) {
  constexpr int64_t kHeads = 40, kWidth = 128, kModel = 5120;
  const auto kernels = make_kernels(name, threads);
  const auto session = kernels->begin_session();
  const Tensor x = random(DType::f32, rows, kHeads * kModel);
  const Tensor weight = random_weight(DType::i16, kHeads * kWidth, kModel);
  const Tensor scale = random(DType::f32, 1, kHeads * kWidth);
  Tensor y = random(DType::f32, rows, kHeads * kWidth);
  for (auto _ : state) {
    kernels->grouped_linear({.x = x.matrix(),
                             .weight = weight.matrix(),
                             .scale = scale.values<float>(),
                             .y = y.writable_matrix(),
                             .groups = kHeads});
  }
  report(state, 2.0 * static_cast<double>(rows * kHeads * kWidth * kModel));
  state.counters["GB/s"] = benchmark::Counter(static_cast<double>(weight.bytes()) * 1e-9,
                                              benchmark::Counter::kIsIterationInvariantRate);
}

struct DenseCase {
  int64_t rows;
  int64_t heads;
  Inputs inputs = Inputs::f32;
};

void time_attend_dense(benchmark::State& state, const std::string& name, int threads,
                       const DenseCase& shape) {
  const auto kernels = make_kernels(name, threads);
  const auto session = kernels->begin_session();
  if (!kernels->takes(shape.inputs)) return state.SkipWithError("not rounded to these");
  const int64_t width = shape.heads * 64;
  const Tensor q = random(DType::f32, shape.rows, width);
  const Tensor k = random(DType::f32, shape.rows, width);
  const Tensor v = random(DType::f32, shape.rows, width);
  Tensor out = random(DType::f32, shape.rows, width);
  for (auto _ : state) {
    kernels->attend_dense({.q = q.matrix(),
                           .k = k.matrix(),
                           .v = v.matrix(),
                           .out = out.writable_matrix(),
                           .heads = shape.heads,
                           .scale = 0.125F,
                           .inputs = shape.inputs});
  }
  report(state, 4.0 * static_cast<double>(shape.rows * shape.rows * width));
}

struct ConvolveCase {
  int64_t frames;
  int64_t inputs;
  int64_t outputs;
  int64_t stride;
};

void time_convolve(benchmark::State& state, const std::string& name, int threads,
                   const ConvolveCase& shape) {
  const auto kernels = make_kernels(name, threads);
  const auto session = kernels->begin_session();
  const Tensor x = random(DType::f32, shape.frames, shape.inputs);
  const Tensor weight = random(DType::f16, shape.outputs, 3 * shape.inputs);
  Tensor y = random(DType::f32, shape.frames / shape.stride, shape.outputs);
  for (auto _ : state) {
    kernels->convolve({.x = x.matrix(),
                       .weight = weight.matrix(),
                       .y = y.writable_matrix(),
                       .stride = shape.stride,
                       .activation = Activation::gelu});
  }
  report(state, 6.0 * static_cast<double>(y.size(0) * shape.inputs * shape.outputs));
}

// What one core does beside the products in a layer of 1500 positions.
void time_rows(benchmark::State& state, const std::string& name, int threads,
               const std::string& what) {
  const auto kernels = make_kernels(name, threads);
  const auto session = kernels->begin_session();
  const bool softmax = what == "log_softmax";
  Tensor x = random(DType::f32, softmax ? 5 : 1500, softmax ? 51864 : 384);
  for (auto _ : state) {
    if (softmax) {
      kernels->log_softmax({.x = x.matrix(), .y = x.writable_matrix()});
    } else {
      kernels->norm({.x = x.matrix(), .y = x.writable_matrix()});
    }
  }
  state.SetItemsProcessed(state.iterations() * x.elements());
}

// Everything a Whisper encoder of `layers` layers does for 30 seconds of sound.
void time_encoder(benchmark::State& state, const std::string& name, int threads, int layers) {
  const auto kernels = make_kernels(name, threads);
  const auto session = kernels->begin_session();
  constexpr int64_t kPositions = 1500;
  const int64_t width = layers == 4 ? 384 : 512;
  const Tensor mel = random(DType::f32, 2 * kPositions, 80);
  const Tensor first = random(DType::f16, width, 3 * 80);
  const Tensor second = random(DType::f16, width, 3 * width);
  const Tensor square = random(DType::f16, width, width);
  const Tensor widen = random(DType::f16, 4 * width, width);
  const Tensor narrow = random(DType::f16, width, 4 * width);
  const Tensor bias = random(DType::f32, 1, 4 * width);
  const auto matrix = [](int64_t columns) { return random(DType::f32, kPositions, columns); };
  Tensor frames = random(DType::f32, 2 * kPositions, width);
  Tensor x = matrix(width), normed = matrix(width), q = matrix(width), k = matrix(width);
  Tensor v = matrix(width), mixed = matrix(width), hidden = matrix(4 * width);
  const auto multiply = [&](const Tensor& from, const Tensor& weight, Tensor& to,
                            Activation activation, bool accumulate) {
    kernels->linear({.x = from.matrix(),
                     .weight = weight.matrix(),
                     .bias = bias.values<float>(),
                     .y = to.writable_matrix(),
                     .activation = activation,
                     .accumulate = accumulate});
  };
  for (auto _ : state) {
    kernels->convolve({.x = mel.matrix(),
                       .weight = first.matrix(),
                       .y = frames.writable_matrix(),
                       .activation = Activation::gelu});
    kernels->convolve({.x = frames.matrix(),
                       .weight = second.matrix(),
                       .y = x.writable_matrix(),
                       .stride = 2,
                       .activation = Activation::gelu});
    for (int layer = 0; layer < layers; ++layer) {
      kernels->norm({.x = x.matrix(), .y = normed.writable_matrix()});
      for (Tensor* to : {&q, &k, &v}) multiply(normed, square, *to, Activation::none, false);
      kernels->attend_dense({.q = q.matrix(),
                             .k = k.matrix(),
                             .v = v.matrix(),
                             .out = mixed.writable_matrix(),
                             .heads = width / 64,
                             .scale = 0.001F});
      multiply(mixed, square, x, Activation::none, true);
      kernels->norm({.x = x.matrix(), .y = normed.writable_matrix()});
      multiply(normed, widen, hidden, Activation::gelu, false);
      multiply(hidden, narrow, x, Activation::none, true);
    }
  }
}

template <typename Time, typename Case>
void add(const std::string& title, Time time, const Case& shape) {
  for (const std::string& name : kernel_names()) {
    if (name == "reference" || name == "cpu:scalar") continue;
    if (name.starts_with("cuda")) continue;  // matrices here are the host's
    for (const int threads : {1, 0}) {
      const std::string full = title + "/" + name + (threads == 1 ? "/one" : "/all");
      benchmark::RegisterBenchmark(full.c_str(), [=](benchmark::State& state) {
        time(state, name, threads, shape);
      })->UseRealTime();
    }
  }
}

void add_all() {
  constexpr int64_t kShapes[][2] = {{384, 384}, {1536, 384}, {384, 1536}, {51864, 384},
                                    {512, 512}, {2048, 512}, {512, 2048}};
  for (const auto& [outputs, depth] : kShapes) {
    for (const int64_t rows : {1, 2, 5, 8, 12, 16, 24, 32, 40, 64, 1500}) {
      if (rows == 1500 && outputs == 51864) continue;  // no model does this
      for (const DType type : {DType::f32, DType::f16}) {
        add("linear/" + std::to_string(rows) + "x" + std::to_string(outputs) + "x" +
                std::to_string(depth) + "/" + std::string(name_of(type)),
            time_linear, LinearCase{rows, outputs, depth, type});
      }
      for (const auto& [inputs, name] :
           {std::pair{Inputs::f32, "f32"}, {Inputs::i16, "i16"}, {Inputs::i8, "i8"}}) {
        add(fmt::format("linear/{}x{}x{}/i8 by {}", rows, outputs, depth, name), time_linear,
            LinearCase{rows, outputs, depth, DType::i8, inputs});
      }
    }
  }
  constexpr DType kTypes[] = {DType::f32,  DType::f16,  DType::bf16, DType::i16,  DType::i8,
                              DType::q8_0, DType::q6_k, DType::q5_k, DType::q4_k, DType::q4_0};
  for (const DType type : kTypes) {
    for (const int64_t rows : {1, 2, 4, 8, 16, 512}) {
      // Of few rows: more than any third-level cache holds.
      const int64_t outputs = rows > 16 ? 4096 : 32768;
      add("weights/" + std::to_string(rows) + "x4096/" + std::string(name_of(type)), time_linear,
          LinearCase{rows, outputs, 4096, type});
    }
  }
  for (const int64_t rows : {1, 4, 16}) {
    add("grouped/" + std::to_string(rows), time_grouped, rows);
  }
  for (const auto& [inputs, name] : {std::pair{Inputs::f32, "f32"}, {Inputs::i16, "i16"}}) {
    add(fmt::format("attend_dense/tiny/{}", name), time_attend_dense, DenseCase{1500, 6, inputs});
    add(fmt::format("attend_dense/base/{}", name), time_attend_dense, DenseCase{1500, 8, inputs});
  }
  add("convolve/tiny/first", time_convolve, ConvolveCase{3000, 80, 384, 1});
  add("convolve/tiny/second", time_convolve, ConvolveCase{3000, 384, 384, 2});
  add("encoder/tiny", time_encoder, 4);
  add("encoder/base", time_encoder, 6);
  for (const std::string what : {"norm", "log_softmax"}) add(what, time_rows, what);
}

}  // namespace
}  // namespace slim

int main(int count, char** arguments) {
  slim::add_all();
  benchmark::Initialize(&count, arguments);
  if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
