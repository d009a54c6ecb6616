// The specification of attention: over a dense matrix, and over rows in pages. Both come down to
// one query over some rows. The formulas stand in kernels/kernels.h.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "kernels/reference/dot.h"
#include "kernels/reference/reference_kernels.h"

namespace slim {
namespace {

// `width` columns of consecutive rows: those of row s begin at data + s * stride.
struct Columns {
  const float* data = nullptr;
  int64_t stride = 0;
  int64_t width = 0;
};

// Turns scores into weights that sum to one. A NaN score makes all of them NaN.
void softmax(std::vector<double>& scores) {
  double largest = -std::numeric_limits<double>::infinity();
  for (const double score : scores) largest = std::max(largest, score);
  double sum = 0.0;
  for (double& score : scores) sum += score = std::exp(score - largest);
  for (double& score : scores) score /= sum;
}

// mixed = sum_s softmax_s(scale * query . keys[s]) * values[s], over at least one row.
void attend_query(const float* query, const Columns& keys, const Columns& values, int64_t rows,
                  float scale, float* mixed) {
  std::vector<double> weights(static_cast<size_t>(rows));
  for (int64_t s = 0; s < rows; ++s) {
    weights[static_cast<size_t>(s)] =
        static_cast<double>(scale) * dot_in_double(query, keys.data + s * keys.stride, keys.width);
  }
  softmax(weights);
  for (int64_t c = 0; c < values.width; ++c) {
    double sum = 0.0;
    for (int64_t s = 0; s < rows; ++s) {
      const float value = values.data[s * values.stride + c];
      sum += weights[static_cast<size_t>(s)] * static_cast<double>(value);
    }
    mixed[c] = static_cast<float>(sum);
  }
}

std::byte* row_address(const Plane& plane, const Slice& slice, int64_t row) {
  return slice.pages[row / kPageRows] + plane.offset + row % kPageRows * plane.format.bytes();
}

// All rows of a slice, as floats.
std::vector<float> read_rows(const Plane& plane, const Slice& slice) {
  check(plane.format.valid(), "a plane's format can hold its rows");
  std::vector<float> values(static_cast<size_t>(slice.rows * plane.format.width));
  for (int64_t s = 0; s < slice.rows; ++s) {
    decode_row(plane.format, row_address(plane, slice, s), values.data() + s * plane.format.width);
  }
  return values;
}

void check_slice(const Slice& slice, int64_t tokens) {
  check(slice.first >= 0 && slice.count >= 0 && slice.first + slice.count <= tokens,
        "a slice's tokens lie within the step");
  check(slice.rows >= 0, "a slice's rows are not negative");
}

void attend_slice(const Attend& arguments, const Slice& slice) {
  const std::vector<float> keys = read_rows(arguments.keys, slice);
  const std::vector<float> values = read_rows(arguments.values, slice);
  for (int64_t i = 0; i < slice.count; ++i) {
    const int64_t last = slice.rows - slice.count + i;  // the query's own row
    const int64_t seen = arguments.causal ? std::max<int64_t>(0, last + 1) : slice.rows;
    const float* query = arguments.queries.row<float>(slice.first + i);
    float* mixed = arguments.mixed.row<float>(slice.first + i);
    if (seen == 0) {
      std::fill_n(mixed, arguments.mixed.columns, 0.0F);
      continue;
    }
    for (int64_t head = 0; head < arguments.heads; ++head) {
      const int64_t key_head = head / arguments.heads_per_key;
      attend_query(query + head * arguments.key_width,
                   {keys.data() + key_head * arguments.key_stride, arguments.keys.format.width,
                    arguments.key_width},
                   {values.data() + key_head * arguments.value_stride,
                    arguments.values.format.width, arguments.value_width},
                   seen, arguments.scale, mixed + head * arguments.value_width);
    }
  }
}

}  // namespace

void ReferenceKernels::attend_dense(const AttendDense& arguments) {
  const auto& [q, k, v, out, heads, batch, scale] = arguments;
  check(heads > 0 && q.columns % heads == 0, "heads divide the columns");
  check(batch > 0 && q.rows % batch == 0, "runs divide the rows");
  for (const ConstMatrix& other : {k, v, ConstMatrix(out)}) {
    check(other.rows == q.rows && other.columns == q.columns, "q, k, v and out have one shape");
  }
  const int64_t rows = q.rows / batch;
  const int64_t width = q.columns / heads;
  for (int64_t t = 0; t < q.rows; ++t) {
    const int64_t first = t / rows * rows;  // of the run that t is in
    for (int64_t head = 0; head < heads; ++head) {
      const int64_t column = head * width;
      attend_query(q.row<float>(t) + column, {k.row<float>(first) + column, k.stride, width},
                   {v.row<float>(first) + column, v.stride, width}, rows, scale,
                   out.row<float>(t) + column);
    }
  }
}

void ReferenceKernels::store_rows(const StoreRows& arguments) {
  const auto& [x, plane, slices] = arguments;
  check(plane.format.valid() && x.columns == plane.format.width,
        "stored rows have the width of their plane");
  for (const Slice& slice : slices) {
    check_slice(slice, x.rows);
    check(slice.count <= slice.rows, "stored rows are among those of their slice");
    for (int64_t i = 0; i < slice.count; ++i) {
      encode_row(plane.format, x.row<float>(slice.first + i),
                 row_address(plane, slice, slice.rows - slice.count + i));
    }
  }
}

void ReferenceKernels::attend_pair(const Attend& arguments) {
  const Attend& a = arguments;
  check(a.heads > 0 && a.heads_per_key > 0 && a.heads % a.heads_per_key == 0,
        "every key head serves as many heads");
  check(a.queries.columns == a.heads * a.key_width, "queries hold one key's width a head");
  check(a.mixed.rows == a.queries.rows && a.mixed.columns == a.heads * a.value_width,
        "mixed rows hold one value's width a head");
  const int64_t last = a.heads / a.heads_per_key - 1;
  check(last * a.key_stride + a.key_width <= a.keys.format.width, "a key row holds every head");
  check(last * a.value_stride + a.value_width <= a.values.format.width,
        "a value row holds every head");
  for (const Slice& slice : a.slices) {
    check_slice(slice, a.queries.rows);
    attend_slice(a, slice);
  }
}

}  // namespace slim
