// Timings of attention over paged rows. Two sets of shapes:
//
//   cross/MODEL/sequences/ROWS   one decoding step of cross attention, 1500 rows a sequence, at the
//                                shapes of Whisper tiny, base and large: "encoder" scores and mixes
//                                whole rows that are read once, "kv" columns of keys and values
//   beams/MODEL/encoder_TYPE     the same of five beams over one sequence's rows
//   self/WIDTH/context/ROWS      one layer's decoding step of a language model of 32 heads: "k"
//                                turns and scores its columns and mixes whole rows with 16 columns
//                                of spill, from sealed pages; "kv" the standard cache, turned too
//   prompt/WIDTH/tokens/kv_f32   a prompt's tokens over its own rows, causal
//   seal/WIDTH/RANK              one page of 64 rows sealed to 12 bits, shaped in RANK directions
//
//   bench_attend --benchmark_filter='self/2048/.*/cpu/all' --benchmark_repetitions=5
//
// Names end in device / threads. GB/s counts row bytes, each once; GFLOP/s two operations a
// multiply-add of scoring and mixing. Every sequence has pages of its own: at 64 sequences, or
// 16384 rows, nothing stays in a cache from one iteration to the next.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace slim {
namespace {

struct Shape {
  int64_t sequences = 1;
  int64_t rows = 1500;
  int64_t tokens = 1;  // of a sequence
  int64_t heads = 1;
  int64_t head_width = 64;
  enum class Kind { kv, k, encoder } kind = Kind::kv;
  RowFormat keys = {};  // in all but width
  RowFormat values = {};
  bool turned = false;  // keys by position

  static constexpr int64_t kSpill = 16;
  bool pair() const { return kind == Kind::kv; }
  bool causal() const { return tokens > 1 && kind != Kind::encoder; }
  int64_t width() const { return heads * head_width + (kind == Kind::k ? kSpill : 0); }
  int64_t key_width() const { return kind == Kind::encoder ? width() : head_width; }
  int64_t value_width() const { return pair() ? head_width : width(); }
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
    keys = {shape.keys, 0};
    keys.format.width = shape.width();
    values = keys;
    int64_t page_bytes = (keys.format.page_bytes() + 63) / 64 * 64;
    if (shape.pair()) {
      values = {shape.values, page_bytes};
      values.format.width = shape.width();
      page_bytes += (values.format.page_bytes() + 63) / 64 * 64;
    }
    const int64_t pages = (shape.rows + kPageRows - 1) / kPageRows;
    buffer_ = host_device().allocate(static_cast<size_t>(shape.sequences * pages * page_bytes));
    const std::vector<float> source = random(kPageRows * shape.width());
    fill(keys, source.data());
    if (shape.pair()) fill(values, source.data());
    for (int64_t page = 0; page < shape.sequences * pages; ++page) {
      pages_.push_back(buffer_->data() + page * page_bytes);
      if (page > 0) {
        std::memcpy(pages_.back(), buffer_->data(), static_cast<size_t>(page_bytes));
      }
    }
    for (int64_t s = 0; s < shape.sequences; ++s) {
      slices.push_back({s * shape.tokens, shape.tokens, shape.rows, pages_.data() + s * pages,
                        shape.rows - shape.tokens});
    }
    bytes = shape.sequences * page_bytes * shape.rows / kPageRows;
  }

  Plane keys;
  Plane values;
  std::vector<Slice> slices;
  int64_t bytes = 0;

 private:
  void fill(const Plane& plane, const float* source) {
    std::byte* to = buffer_->data() + plane.offset;
    const RowFormat& format = plane.format;
    if (format.sealed()) return seal_page(format, source, nullptr, to);
    for (int64_t row = 0; row < kPageRows; ++row) {
      encode_row(format, source + row * format.width, to + row * format.bytes());
    }
  }

  std::shared_ptr<Buffer> buffer_;
  std::vector<std::byte*> pages_;
};

Rotation rotation_of(const Shape& shape) {
  std::vector<double> frequencies;
  for (int64_t i = 0; i < shape.head_width / 2; ++i) {
    const double share = 2.0 * static_cast<double>(i) / static_cast<double>(shape.head_width);
    frequencies.push_back(std::pow(10000.0, -share));
  }
  return {shape.head_width, false, frequencies, 1.0, shape.rows};
}

ConstMatrix matrix_of(const std::vector<float>& values, int64_t rows) {
  const int64_t columns = static_cast<int64_t>(values.size()) / rows;
  return {reinterpret_cast<const std::byte*>(values.data()), DType::f32, rows, columns, columns};
}
Matrix matrix_of(std::vector<float>& values, int64_t rows) {
  const int64_t columns = static_cast<int64_t>(values.size()) / rows;
  return {reinterpret_cast<std::byte*>(values.data()), DType::f32, rows, columns, columns};
}

void time_attend(benchmark::State& state, const std::string& name, int threads,
                 const Shape& shape) {
  const auto kernels = make_kernels(name, threads);
  const auto session = kernels->begin_session();
  const Rows rows(shape);
  const Rotation rotation = rotation_of(shape);
  const Rotation* const rotations[] = {&rotation};
  const int64_t tokens = shape.sequences * shape.tokens;
  const std::vector<float> queries = random(tokens * shape.heads * shape.key_width());
  std::vector<float> mixed(static_cast<size_t>(tokens * shape.heads * shape.value_width()));
  Attend attend{.queries = matrix_of(queries, tokens),
                .mixed = matrix_of(mixed, tokens),
                .slices = rows.slices,
                .keys = rows.keys,
                .values = rows.values,
                .heads = shape.heads,
                .key_width = shape.key_width(),
                .key_stride = shape.kind == Shape::Kind::encoder ? 0 : shape.head_width,
                .value_width = shape.value_width(),
                .value_stride = shape.pair() ? shape.head_width : 0,
                .scale = 1.0F / std::sqrt(static_cast<float>(shape.head_width)),
                .causal = shape.causal(),
                .inputs = rows.keys.format.type == DType::i16 ? Inputs::i16 : Inputs::f32};
  if (shape.turned) attend.rotations = rotations;
  for (auto _ : state) {
    shape.pair() ? kernels->attend_pair(attend) : kernels->attend_shared(attend);
  }
  const int64_t seen = shape.causal() ? shape.rows / 2 : shape.rows;
  const double products = static_cast<double>(tokens * seen * shape.heads) *
                          static_cast<double>(shape.key_width() + shape.value_width());
  const auto rate = benchmark::Counter::kIsIterationInvariantRate;
  state.counters["GB/s"] = benchmark::Counter(static_cast<double>(rows.bytes) * 1e-9, rate);
  state.counters["GFLOP/s"] = benchmark::Counter(2e-9 * products, rate);
}

void time_seal(benchmark::State& state, const std::string& name, int threads, int64_t width,
               int64_t rank) {
  const auto kernels = make_kernels(name, threads);
  const auto session = kernels->begin_session();
  const RowFormat format{DType::f32, width, 12};
  const std::vector<float> rows = random(kPageRows * width);
  std::vector<std::byte> page(static_cast<size_t>(format.page_bytes()));
  std::vector<Half> directions;
  for (const float value : random(2 * width * rank)) {
    directions.push_back(to_half(value / static_cast<float>(width)));
  }
  const Shaping shaping{width, rank, directions.data(), directions.data() + width * rank, nullptr};
  const SealPages::Page pages[] = {{reinterpret_cast<const std::byte*>(rows.data()), page.data()}};
  const SealPages seal{{format.hot(), 0}, {format, 0}, rank == 0 ? nullptr : &shaping, pages};
  for (auto _ : state) kernels->seal_pages(seal);
  const double products = 2.0 * static_cast<double>(kPageRows * width * rank);
  state.counters["GFLOP/s"] =
      benchmark::Counter(2e-9 * products, benchmark::Counter::kIsIterationInvariantRate);
}

// For every device, with one thread and with all.
template <typename Function>
void add(const std::string& title, const Function& time) {
  for (const std::string& name : kernel_names()) {
    if (name == "reference" || name == "cpu:scalar") continue;
    if (name.starts_with("cuda")) continue;  // matrices here are the host's
    for (const int threads : {1, 0}) {
      const std::string full = title + "/" + name + (threads == 1 ? "/one" : "/all");
      benchmark::RegisterBenchmark(full.c_str(), [=](benchmark::State& state) {
        time(state, name, threads);
      })->UseRealTime();
    }
  }
}

void add_attend(const std::string& title, const Shape& shape) {
  add(title, [=](benchmark::State& state, const std::string& name, int threads) {
    time_attend(state, name, threads, shape);
  });
}

void add_cross() {
  struct Model {
    const char* name;
    int64_t heads;
  };
  for (const Model& model : {Model{"tiny", 6}, Model{"base", 8}, Model{"large", 20}}) {
    for (const int64_t sequences : {1, 16, 64}) {
      for (const bool pair : {false, true}) {
        for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::i8, DType::i16}) {
          add_attend("cross/" + std::string(model.name) + "/" + std::to_string(sequences) +
                         (pair ? "/kv_" : "/encoder_") + std::string(name_of(type)),
                     {.sequences = sequences,
                      .heads = model.heads,
                      .kind = pair ? Shape::Kind::kv : Shape::Kind::encoder,
                      .keys = {type},
                      .values = {type}});
        }
      }
    }
    for (const DType type : {DType::f16, DType::i8, DType::i16}) {
      add_attend("beams/" + std::string(model.name) + "/encoder_" + std::string(name_of(type)),
                 {.tokens = 5,
                  .heads = model.heads,
                  .kind = Shape::Kind::encoder,
                  .keys = {type},
                  .values = {type}});
    }
  }
}

void add_self() {
  constexpr int64_t kHeads = 32;
  for (const int64_t head_width : {64, 128}) {
    const std::string width = std::to_string(kHeads * head_width);
    for (const int64_t context : {1024, 4096, 16384}) {
      const std::string title = "self/" + width + "/" + std::to_string(context);
      Shape shape{.rows = context, .heads = kHeads, .head_width = head_width, .turned = true};
      shape.keys = shape.values = {DType::bf16};
      add_attend(title + "/kv_bf16", shape);
      shape.keys = {DType::f32, 0, 8, Scaling::channel};
      shape.values = {DType::f32, 0, 8, Scaling::group};
      add_attend(title + "/kv_i8", shape);
      shape.kind = Shape::Kind::k;
      for (const int bits : {16, 12, 10, 8}) {
        shape.keys.bits = bits;
        add_attend(title + "/k_i" + std::to_string(bits), shape);
      }
    }
    for (const int64_t tokens : {64, 512, 2048}) {
      add_attend("prompt/" + width + "/" + std::to_string(tokens) + "/kv_f32",
                 {.rows = tokens,
                  .tokens = tokens,
                  .heads = kHeads,
                  .head_width = head_width,
                  .keys = {DType::f32},
                  .values = {DType::f32},
                  .turned = true});
    }
    for (const int64_t rank : {0, 16, 64, 128}) {
      add("seal/" + width + "/" + std::to_string(rank),
          [=](benchmark::State& state, const std::string& name, int threads) {
            time_seal(state, name, threads, kHeads * head_width, rank);
          });
    }
  }
}

}  // namespace
}  // namespace slim

int main(int count, char** arguments) {
  slim::add_cross();
  slim::add_self();
  benchmark::Initialize(&count, arguments);
  if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
