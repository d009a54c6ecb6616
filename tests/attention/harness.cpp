// Random layers and their steps.
#include "attention/harness.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>

namespace slim::testing {
namespace {

// Rows [begin, begin + count) of several tensors, one part each, under one another.
struct Part {
  size_t sequence = 0;
  int64_t begin = 0;
  int64_t count = 0;
};

Tensor zeros(int64_t rows, int64_t columns) {
  Tensor tensor = Tensor::allocate(host_device(), DType::f32, {rows, columns});
  std::fill_n(tensor.writable<float>(), tensor.elements(), 0.0F);
  return tensor;
}

Tensor gather(const std::vector<Tensor>& from, const std::vector<Part>& parts, int64_t width) {
  std::vector<float> values;
  for (const Part& part : parts) {
    const float* rows = from[part.sequence].values<float>() + part.begin * width;
    values.insert(values.end(), rows, rows + part.count * width);
  }
  const auto rows = static_cast<int64_t>(values.size()) / width;
  return Tensor::from(values, {rows, width});
}

void scatter(const Tensor& from, const std::vector<Part>& parts, std::vector<Tensor>& to) {
  const int64_t width = from.size(1);
  const float* rows = from.values<float>();
  for (const Part& part : parts) {
    std::copy_n(rows, part.count * width, to[part.sequence].writable<float>() + part.begin * width);
    rows += part.count * width;
  }
}

// `count` tokens that a sequence appends; and that look at all of its rows.
Slice next_slice(const PageTable& table, int64_t first, int64_t count) {
  Slice slice;
  slice.first = first;
  slice.count = count;
  slice.rows = table.rows() + count;
  slice.pages = table.pages();
  slice.position = table.rows();
  slice.hot = table.hot();
  return slice;
}

Slice whole_slice(const PageTable& table, int64_t first, int64_t count) {
  Slice slice = next_slice(table, first, count);
  slice.rows = table.rows();
  return slice;
}

}  // namespace

Tensor random_tensor(std::vector<int64_t> shape, uint32_t seed, float spread) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0F, spread);
  Tensor tensor = Tensor::allocate(host_device(), DType::f32, std::move(shape));
  std::generate_n(tensor.writable<float>(), tensor.elements(), [&] { return normal(generator); });
  return tensor;
}

AttentionWeights random_weights(const AttentionSpec& spec, bool biases, uint32_t seed) {
  const int64_t queries = spec.heads * spec.head_width;
  const int64_t keys = spec.key_heads * spec.head_width;
  const float spread = 1.0F / std::sqrt(static_cast<float>(spec.width));
  AttentionWeights weights;
  weights.q.weight = random_tensor({queries, spec.width}, seed, spread);
  weights.k.weight = random_tensor({keys, spec.width}, seed + 1, spread);
  weights.v.weight = random_tensor({keys, spec.width}, seed + 2, spread);
  weights.out.weight = random_tensor({spec.width, queries}, seed + 3, spread);
  if (keys == spec.width) {
    float* values = weights.k.weight.writable<float>();
    for (int64_t i = 0; i < keys * keys; ++i) {
      values[i] = 0.4F * values[i] + (i % (keys + 1) == 0 ? 1.0F : 0.0F);
    }
  }
  if (biases) {
    weights.q.bias = random_tensor({queries}, seed + 4, 0.3F);
    weights.k.bias = random_tensor({keys}, seed + 5, 0.3F);
    weights.v.bias = random_tensor({keys}, seed + 6, 0.3F);
    weights.out.bias = random_tensor({spec.width}, seed + 7, 0.3F);
  }
  return weights;
}

Chunking all_at_once() {
  return [] { return int64_t{1} << 30; };
}

Chunking token_by_token() {
  return [] { return int64_t{1}; };
}

Chunking chunks_of(int64_t size) {
  return [size] { return size; };
}

Chunking mixed_chunks(uint32_t seed) {
  const auto generator = std::make_shared<std::mt19937>(seed);
  return [generator] { return static_cast<int64_t>(1 + (*generator)() % 40); };
}

Layer::Layer(const Scheme& scheme, const AttentionSpec& spec, const AttentionWeights& weights,
             const RowChoice& rows, Kernels& kernels)
    : kernels_(kernels), attention_(scheme.build(spec, weights, rows, kernels)) {
  PageLayout layout;
  layout.add({DType::f32, 3});  // another layer's planes, so that offsets matter
  layout.add_hot({DType::f32, 5});
  attention_->place(layout);
  pool_ = std::make_unique<PagePool>(kernels.device(), layout.page_bytes());
  only_sealed_ = layout.only_sealed();
  const auto& planes = attention_->planes();
  if (std::any_of(planes.begin(), planes.end(),
                  [](const Plane& plane) { return plane.format.sealed(); })) {
    hot_pool_ = std::make_unique<PagePool>(kernels.device(), layout.hot_bytes());
  }
}

std::vector<std::byte> Layer::page_bytes(const PageTable& table, int64_t page) const {
  std::vector<std::byte> bytes;
  for (const Plane& plane : attention_->planes()) {
    std::vector<std::byte> part(static_cast<size_t>(plane.format.page_bytes()));
    kernels_.device().copy(part.data(), table.pages()[page] + plane.offset, part.size());
    bytes.insert(bytes.end(), part.begin(), part.end());
  }
  return bytes;
}

void Layer::trim() {
  pool_->trim();
  if (hot_pool_) hot_pool_->trim();
}

void Layer::truncate(PageTable& table, int64_t rows) {
  table.truncate(rows);
  if (!table.needs_reopening()) return;
  std::byte* hot = table.reopen();
  attention_->reopen(kernels_, table.pages(), hot, rows);
}

Tensor Layer::forward(std::span<const Slice> slices, const Tensor& x) {
  Device& device = kernels_.device();
  Tensor out = zeros(x.size(0), x.size(1)).on(device);
  attention_->forward({slices}, x.on(device).matrix(), out.writable_matrix());
  return out.on(host_device());
}

Tensor Layer::append(PageTable& table, const Tensor& x) {
  table.reserve(x.size(0));
  const Slice slice = next_slice(table, 0, x.size(0));
  Tensor out = forward({&slice, 1}, x);
  table.advance(x.size(0));
  return out;
}

std::vector<Tensor> Layer::run(const std::vector<Tensor>& inputs, const Chunking& chunk) {
  const int64_t width = inputs.front().size(1);
  std::vector<PageTable> tables;
  std::vector<Tensor> outputs;
  for (const Tensor& input : inputs) {
    tables.push_back(new_table());
    outputs.push_back(zeros(input.size(0), width));
  }
  for (;;) {
    std::vector<Part> parts;
    std::vector<Slice> slices;
    int64_t tokens = 0;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const int64_t count = std::min(chunk(), inputs[i].size(0) - tables[i].rows());
      if (count == 0) continue;
      tables[i].reserve(count);
      parts.push_back({i, tables[i].rows(), count});
      slices.push_back(next_slice(tables[i], tokens, count));
      tokens += count;
    }
    if (parts.empty()) return outputs;
    scatter(forward(slices, gather(inputs, parts, width)), parts, outputs);
    for (const Part& part : parts) tables[part.sequence].advance(part.count);
  }
}

PageTable Layer::store(const Tensor& encoded) {
  PageTable table = new_table();
  table.reserve(encoded.size(0));
  table.advance(encoded.size(0));
  const Slice slice = whole_slice(table, 0, encoded.size(0));
  attention_->store({{&slice, 1}}, encoded.on(kernels_.device()).matrix());
  return table;
}

std::vector<Tensor> Layer::run_cross(const std::vector<Tensor>& encoded,
                                     const std::vector<Tensor>& queries) {
  const int64_t width = queries.front().size(1);
  std::vector<PageTable> tables;
  std::vector<Tensor> outputs;
  std::vector<Part> parts;
  std::vector<Slice> slices;
  int64_t tokens = 0;
  for (size_t i = 0; i < encoded.size(); ++i) {
    const int64_t count = queries[i].size(0);
    tables.push_back(store(encoded[i]));
    outputs.push_back(zeros(count, width));
    parts.push_back({i, 0, count});
    slices.push_back(whole_slice(tables[i], tokens, count));
    tokens += count;
  }
  scatter(forward(slices, gather(queries, parts, width)), parts, outputs);
  return outputs;
}

double relative_error(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  double difference = 0;
  double size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const float* values = a[i].values<float>();
    const float* others = b[i].values<float>();
    for (int64_t j = 0; j < b[i].elements(); ++j) {
      const auto expected = static_cast<double>(others[j]);
      const double off = static_cast<double>(values[j]) - expected;
      difference += off * off;
      size += expected * expected;
    }
  }
  return std::sqrt(difference / size);
}

}  // namespace slim::testing
