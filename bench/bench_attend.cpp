// Timings of attention over paged rows: one decoding step of cross attention, 1500 rows a sequence,
// at the shapes of Whisper tiny, base and large.
//
//   bench_attend --benchmark_filter='tiny/64/.*/cpu/all' --benchmark_repetitions=5
//
// Names are model / sequences / kind and row type / device / threads. "encoder" scores and mixes
// whole rows that are read once, "kv" columns of keys and values. GB/s counts row bytes, each once;
// GFLOP/s two operations a multiply-add. Every sequence has pages of its own: at 64 sequences
// nothing stays in a cache from one iteration to the next.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace slim {
namespace {

constexpr int64_t kRows = 1500;
constexpr int64_t kHeadWidth = 64;

struct Shape {
  int64_t sequences;
  int64_t heads;
  DType type;
  bool pair;  // kv; else encoder rows
};

// Deterministic values in [-1, 1).
std::vector<float> random(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  uint32_t state = 1;
  for (float& value : values) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<float>(state >> 8) * 0x1p-23F - 1.0F;
  }
  return values;
}

// The rows of all sequences, page after page. All pages hold the same values.
class Rows {
 public:
  explicit Rows(const Shape& shape) {
    const RowFormat format{shape.type, shape.heads * kHeadWidth};
    const int64_t plane_bytes = (kPageRows * format.bytes() + 63) / 64 * 64;
    const int64_t planes = shape.pair ? 2 : 1;
    const int64_t pages = (kRows + kPageRows - 1) / kPageRows;
    keys = {format, 0};
    values = {format, (planes - 1) * plane_bytes};
    buffer_ =
        host_device().allocate(static_cast<size_t>(shape.sequences * pages * planes * plane_bytes));
    const std::vector<float> source = random(planes * kPageRows * format.width);
    for (int64_t i = 0; i < planes * kPageRows; ++i) {
      encode_row(format, source.data() + i * format.width,
                 buffer_->data() + i / kPageRows * plane_bytes + i % kPageRows * format.bytes());
    }
    for (int64_t page = 0; page < shape.sequences * pages; ++page) {
      pages_.push_back(buffer_->data() + page * planes * plane_bytes);
      if (page > 0) {
        std::memcpy(pages_.back(), buffer_->data(), static_cast<size_t>(planes * plane_bytes));
      }
    }
    for (int64_t s = 0; s < shape.sequences; ++s) {
      slices.push_back({s, 1, kRows, pages_.data() + s * pages});
    }
    bytes = shape.sequences * kRows * planes * format.bytes();
  }

  Plane keys;
  Plane values;
  std::vector<Slice> slices;
  int64_t bytes = 0;

 private:
  std::shared_ptr<Buffer> buffer_;
  std::vector<std::byte*> pages_;
};

void time_attend(benchmark::State& state, const std::string& name, int threads,
                 const Shape& shape) {
  const auto kernels = make_kernels(name, threads);
  const auto session = kernels->begin_session();
  const Rows rows(shape);
  const int64_t width = shape.heads * kHeadWidth;
  const int64_t columns = shape.pair ? kHeadWidth : width;  // that a head scores and mixes
  const int64_t stride = shape.pair ? kHeadWidth : 0;
  const std::vector<float> queries = random(shape.sequences * shape.heads * columns);
  std::vector<float> mixed(queries.size());
  const int64_t query_width = shape.heads * columns;
  const Attend attend{.queries = {reinterpret_cast<const std::byte*>(queries.data()), DType::f32,
                                  shape.sequences, query_width, query_width},
                      .mixed = {reinterpret_cast<std::byte*>(mixed.data()), DType::f32,
                                shape.sequences, query_width, query_width},
                      .slices = rows.slices,
                      .keys = rows.keys,
                      .values = rows.values,
                      .heads = shape.heads,
                      .key_width = columns,
                      .key_stride = stride,
                      .value_width = columns,
                      .value_stride = stride,
                      .scale = 1.0F / std::sqrt(static_cast<float>(kHeadWidth)),
                      .causal = false};
  for (auto _ : state) {
    shape.pair ? kernels->attend_pair(attend) : kernels->attend_shared(attend);
  }
  const double products =
      2.0 * static_cast<double>(shape.sequences * kRows * shape.heads * columns);
  const auto rate = benchmark::Counter::kIsIterationInvariantRate;
  state.counters["GB/s"] = benchmark::Counter(static_cast<double>(rows.bytes) * 1e-9, rate);
  state.counters["GFLOP/s"] = benchmark::Counter(2e-9 * products, rate);
}

void add(const std::string& title, const Shape& shape) {
  for (const std::string& name : kernel_names()) {
    if (name == "reference" || name == "cpu:scalar") continue;
    for (const int threads : {1, 0}) {
      const std::string full = title + "/" + name + (threads == 1 ? "/one" : "/all");
      benchmark::RegisterBenchmark(full.c_str(), [=](benchmark::State& state) {
        time_attend(state, name, threads, shape);
      })->UseRealTime();
    }
  }
}

void add_all() {
  struct Model {
    const char* name;
    int64_t heads;
  };
  for (const Model& model : {Model{"tiny", 6}, Model{"base", 8}, Model{"large", 20}}) {
    for (const int64_t sequences : {1, 16, 64}) {
      for (const bool pair : {false, true}) {
        for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
          add(std::string(model.name) + "/" + std::to_string(sequences) +
                  (pair ? "/kv_" : "/encoder_") + std::string(name_of(type)),
              Shape{sequences, model.heads, type, pair});
        }
      }
    }
  }
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
