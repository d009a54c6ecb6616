// Decode attention over an encoder's rows on a device, at Whisper's shapes: time of one step's
// attention by attend_shared and, of the same rows, by attend_pair; of the step with the products
// around it (queries times W_K, mixtures times W_V); and the bytes of rows it reads a second.
// Prints one JSON object a line; bench/cuda_attention.py --rows sets it beside cuDNN.
//
//   bench_rows [DEVICE] [WIDTH] [BATCHxROWSxQUERIES ...]     queries: of the same rows, as beams
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

constexpr int64_t kHeadWidth = 64;

struct Load {
  int64_t batch, rows, queries;
};

// Pages, queries and weights on the device, all pages alike but each in a place of its own.
class Step {
 public:
  Step(Kernels& kernels, DType type, int64_t width, Load load)
      : kernels_(kernels), heads_(width / kHeadWidth), format_{type, width} {
    fill_pages(load);
    const int64_t tokens = load.batch * load.queries;
    asked_ = numbers(DType::f32, tokens, width);
    queries_ = numbers(DType::f32, tokens, heads_ * width);
    mixed_ = numbers(DType::f32, tokens, heads_ * width);
    heads_out_ = numbers(DType::f32, tokens, width);
    key_weight_ = numbers(DType::f16, heads_ * width, kHeadWidth);
    value_weight_ = numbers(DType::f16, width, width);
  }

  int64_t bytes() const { return format_.page_bytes() * std::ssize(pages_); }

  Attend arguments() const {
    Attend attend;
    attend.queries = queries_.matrix();
    attend.slices = slices_;
    attend.keys = attend.values = {format_, 0};
    attend.heads = heads_;
    attend.key_width = attend.value_width = format_.width;
    attend.scale = 0.02F;
    attend.causal = false;
    return attend;
  }
  void attend(void (Kernels::*how)(const Attend&)) {
    Attend attend = arguments();
    attend.mixed = mixed_.writable_matrix();
    (kernels_.*how)(attend);
  }
  void absorb_keys() {
    kernels_.grouped_linear({.x = asked_.matrix(),
                             .weight = key_weight_.matrix(),
                             .y = queries_.writable_matrix(),
                             .groups = heads_});
  }
  void map_values() {
    kernels_.grouped_linear({.x = mixed_.matrix(),
                             .weight = value_weight_.matrix(),
                             .y = heads_out_.writable_matrix(),
                             .groups = heads_});
  }

  void wait() {
    float one = 0.0F;
    kernels_.device().copy(&one, heads_out_.data(), sizeof(one));
  }

 private:
  Tensor numbers(DType type, int64_t rows, int64_t columns) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<size_t>(rows * columns));
    for (float& value : values) value = normal(random);
    std::vector<std::byte> bytes(values.size() * static_cast<size_t>(size_of(type)));
    encode_row({type, rows * columns}, values.data(), bytes.data());
    Tensor tensor = Tensor::allocate(kernels_.device(), type, {rows, columns});
    kernels_.device().copy(const_cast<std::byte*>(tensor.data()), bytes.data(), bytes.size());
    return tensor;
  }

  void fill_pages(Load load) {
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    std::vector<float> rows(static_cast<size_t>(kPageRows * format_.width));
    for (float& value : rows) value = normal(random);
    const auto bytes = static_cast<size_t>(format_.page_bytes());
    std::vector<std::byte> page(bytes);
    encode_row({format_.type, kPageRows * format_.width}, rows.data(), page.data());
    const int64_t each = (load.rows + kPageRows - 1) / kPageRows;
    const int64_t count = load.batch * each;
    memory_ = kernels_.device().allocate(bytes * static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      std::byte* const to = memory_->data() + i * format_.page_bytes();
      kernels_.device().copy(to, i == 0 ? page.data() : memory_->data(), bytes);
      pages_.push_back(memory_->data() + i * 7919 % count * format_.page_bytes());
    }
    for (int64_t i = 0; i < load.batch * load.queries; ++i) {
      slices_.push_back({i, 1, load.rows, pages_.data() + i / load.queries * each});
    }
  }

  Kernels& kernels_;
  int64_t heads_;
  RowFormat format_;
  std::shared_ptr<Buffer> memory_;
  std::vector<std::byte*> pages_;
  std::vector<Slice> slices_;
  Tensor asked_, queries_, mixed_, heads_out_, key_weight_, value_weight_;
};

void measure(Kernels& kernels, DType type, int64_t width, Load load) {
  Step step(kernels, type, width, load);
  const auto wait = [&] { step.wait(); };
  const double alone = median_us(wait, [&] { step.attend(&Kernels::attend_shared); });
  const double pair = median_us(wait, [&] { step.attend(&Kernels::attend_pair); });
  const double whole = median_us(wait, [&] {
    step.absorb_keys();
    step.attend(&Kernels::attend_shared);
    step.map_values();
  });
  fmt::print(
      "{{\"rows_of\": \"{}\", \"width\": {}, \"batch\": {}, \"rows\": {}, \"queries\": {}, "
      "\"attention_us\": {:.1f}, \"pair_us\": {:.1f}, \"with_products_us\": {:.1f}, "
      "\"read_tb_s\": {:.3f}}}\n",
      name_of(type), width, load.batch, load.rows, load.queries, alone, pair, whole,
      static_cast<double>(step.bytes()) / alone / 1e6);
  std::fflush(stdout);
}

int run(const std::vector<std::string>& arguments) {
  const std::string device = arguments.empty() ? "cuda" : arguments[0];
  const int64_t width = arguments.size() > 1 ? std::atoll(arguments[1].c_str()) : 1280;
  std::vector<Load> loads;
  for (size_t i = 2; i < arguments.size(); ++i) {
    const char* const text = arguments[i].c_str();
    const size_t rows = arguments[i].find('x');
    const size_t queries = arguments[i].find('x', rows + 1);
    loads.push_back(
        {std::atoll(text), std::atoll(text + rows + 1), std::atoll(text + queries + 1)});
  }
  if (loads.empty()) loads = {{1, 1500, 1}, {8, 1500, 1}, {64, 1500, 1}, {64, 1500, 5}};
  const auto kernels = make_kernels(device, 2);
  for (const DType type : {DType::f16, DType::bf16}) {
    for (const Load& load : loads) measure(*kernels, type, width, load);
  }
  return 0;
}

}  // namespace
}  // namespace slim

int main(int count, char** values) {
  return slim::run(std::vector<std::string>(values + 1, values + count));
}
