// Decode attention over sealed keys on a device: one query a sequence, time of a step's attention
// alone and with the value map after it, and the bytes of keys it reads a second, beside those of a
// plain read. Prints one JSON object a line; bench/cuda_attention.py sets it beside cuDNN and
// FlashAttention.
//
//   bench_one_read [DEVICE] [HEADS] [HEAD_WIDTH] [BATCHxROWS ...]
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "engine/benchmark.h"
#include "fmt/format.h"
#include "kernels/kernels.h"
#include "median_time.h"

namespace slim {
namespace {

constexpr int64_t kSpill = 8;

struct Load {
  int64_t batch, rows;
};

// Pages, queries and weights on the device, all pages alike but each in a place of its own.
class Step {
 public:
  Step(Kernels& kernels, int bits, int64_t heads, int64_t head_width, Load load)
      : kernels_(kernels),
        heads_(heads),
        head_width_(head_width),
        width_(heads * head_width + kSpill),
        format_{DType::f32, width_, bits, Scaling::channel, kernels.chunked()},
        rotation_(head_width, false, frequencies(), 1.0, load.rows + 1) {
    fill_pages(load);
    queries_ = floats(load.batch, heads * head_width);
    mixed_ = floats(load.batch, heads * width_);
    heads_out_ = floats(load.batch, heads * head_width);
    lse_ = floats(load.batch, heads);
    map_ = Tensor::allocate(kernels.device(), DType::i16, {heads * head_width, heads * head_width});
    std::mt19937 random(7);
    std::vector<int16_t> map(static_cast<size_t>(map_.elements()));
    for (int16_t& number : map) number = static_cast<int16_t>(random());
    kernels.device().copy(map_.writable<int16_t>(), map.data(), static_cast<size_t>(map_.bytes()));
    map_scale_ = floats(1, heads * head_width);
    spill_map_ = floats(heads * head_width, kSpill);
  }

  int64_t bytes() const { return format_.page_bytes() * std::ssize(pages_); }

  void attend() {
    Attend attend;
    attend.queries = queries_.matrix();
    attend.mixed = mixed_.writable_matrix();
    attend.lse = lse_.writable_matrix();
    attend.slices = slices_;
    attend.keys = attend.values = {format_, 0};
    attend.heads = heads_;
    attend.key_width = attend.key_stride = head_width_;
    attend.value_width = width_;
    attend.scale = 0.1F;
    attend.causal = false;
    attend.rotations = {&turning_, 1};
    kernels_.attend_shared(attend);
  }

  void map_values() {
    const ConstMatrix mixed = mixed_.matrix();
    kernels_.grouped_linear({.x = mixed,
                             .x_stride = width_,
                             .weight = map_.matrix(),
                             .scale = map_scale_.values<float>(),
                             .y = heads_out_.writable_matrix(),
                             .groups = heads_});
    kernels_.grouped_linear(
        {.x = mixed.columns_from(width_ - kSpill, mixed.columns - width_ + kSpill),
         .x_stride = width_,
         .weight = spill_map_.matrix(),
         .y = heads_out_.writable_matrix(),
         .groups = heads_,
         .accumulate = true});
  }

  void wait() {
    float one = 0.0F;
    kernels_.device().copy(&one, lse_.data(), sizeof(one));
  }

 private:
  std::vector<double> frequencies() const {
    return std::vector<double>(static_cast<size_t>(head_width_ / 2), 0.01);
  }

  Tensor floats(int64_t rows, int64_t columns) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<size_t>(rows * columns));
    for (float& value : values) value = normal(random);
    Tensor tensor = Tensor::allocate(kernels_.device(), DType::f32, {rows, columns});
    kernels_.device().copy(tensor.writable<float>(), values.data(), values.size() * sizeof(float));
    return tensor;
  }

  void fill_pages(Load load) {
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    std::vector<float> rows(static_cast<size_t>(kPageRows * width_));
    for (float& value : rows) value = normal(random);
    const auto bytes = static_cast<size_t>(format_.page_bytes());
    std::vector<std::byte> page(bytes);
    seal_page(format_, rows.data(), nullptr, page.data());
    const int64_t count = load.batch * load.rows / kPageRows;
    memory_ = kernels_.device().allocate(bytes * static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      std::byte* const to = memory_->data() + i * format_.page_bytes();
      kernels_.device().copy(to, i == 0 ? page.data() : memory_->data(), bytes);
      pages_.push_back(memory_->data() + i * 7919 % count * format_.page_bytes());
    }
    for (int64_t i = 0; i < load.batch; ++i) {
      Slice slice;
      slice.first = i;
      slice.count = 1;
      slice.rows = slice.position = load.rows;
      slice.pages = pages_.data() + i * (load.rows / kPageRows);
      slices_.push_back(slice);
    }
  }

  Kernels& kernels_;
  int64_t heads_, head_width_, width_;
  RowFormat format_;
  Rotation rotation_;
  const Rotation* turning_ = &rotation_;
  std::shared_ptr<Buffer> memory_;
  std::vector<std::byte*> pages_;
  std::vector<Slice> slices_;
  Tensor queries_, mixed_, heads_out_, lse_, map_, map_scale_, spill_map_;
};

int run(const std::vector<std::string>& arguments) {
  const std::string device = arguments.empty() ? "cuda" : arguments[0];
  const int64_t heads = arguments.size() > 1 ? std::atoll(arguments[1].c_str()) : 32;
  const int64_t width = arguments.size() > 2 ? std::atoll(arguments[2].c_str()) : 128;
  std::vector<Load> loads;
  for (size_t i = 3; i < arguments.size(); ++i) {
    const size_t cross = arguments[i].find('x');
    loads.push_back({std::atoll(arguments[i].c_str()), std::atoll(&arguments[i][cross + 1])});
  }
  if (loads.empty()) loads = {{1, 131072}, {16, 16384}, {64, 4096}};
  const auto kernels = make_kernels(device, 2);
  const double limit = read_limit(*kernels, int64_t{2} << 30);
  for (const int bits : {16, 12, 10, 8}) {
    for (const Load& load : loads) {
      Step step(*kernels, bits, heads, width, load);
      const double alone = median_us([&] { step.wait(); }, [&] { step.attend(); });
      const double whole = median_us([&] { step.wait(); },
                                     [&] {
                                       step.attend();
                                       step.map_values();
                                     });
      fmt::print(
          "{{\"bits\": {}, \"heads\": {}, \"head_width\": {}, \"batch\": {}, \"rows\": {}, "
          "\"attention_us\": {:.1f}, \"with_map_us\": {:.1f}, \"read_tb_s\": {:.3f}, "
          "\"read_limit_tb_s\": {:.3f}}}\n",
          bits, heads, width, load.batch, load.rows, alone, whole,
          static_cast<double>(step.bytes()) / alone / 1e6, limit / 1e12);
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
