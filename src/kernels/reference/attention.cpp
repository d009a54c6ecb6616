// The specification of attention: over a dense matrix, and over rows in pages. Both come down to
// one query over some rows. The formulas stand in kernels/kernels.h.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "kernels/attend_check.h"
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

// Turns scores into weights that sum to one; returns log(sum exp(score)). A NaN score makes all of
// them NaN. Scores of -infinity (rows not seen) have no weight; one at least is seen.
double softmax(std::vector<double>& scores) {
  double largest = -std::numeric_limits<double>::infinity();
  for (const double score : scores) largest = std::max(largest, score);
  double sum = 0.0;
  for (double& score : scores) sum += score = std::exp(score - largest);
  for (double& score : scores) score /= sum;
  return largest + std::log(sum);
}

void mix(const std::vector<double>& weights, const Columns& values, float* mixed) {
  for (int64_t c = 0; c < values.width; ++c) {
    double sum = 0.0;
    for (size_t s = 0; s < weights.size(); ++s) {
      const float value = values.data[static_cast<int64_t>(s) * values.stride + c];
      if (weights[s] != 0.0) sum += weights[s] * static_cast<double>(value);
    }
    mixed[c] = static_cast<float>(sum);
  }
}

double bias_of(const DistanceBias& bias, int64_t head, int64_t distance) {
  if (bias.values == nullptr) return 0.0;
  const int64_t held = std::clamp(distance, -bias.reach, bias.reach);
  return static_cast<double>(bias.of_head(head)[held]);
}

std::byte* row_address(const Plane& plane, const Slice& slice, int64_t row) {
  return slice.pages[row / kPageRows] + plane.offset + row % kPageRows * plane.format.bytes();
}

void read_row(const Plane& plane, const Slice& slice, int64_t row, float* values) {
  check(plane.format.valid(), "a plane's format can hold its rows");
  if (plane.format.sealed()) {
    decode_sealed_row(plane.format, slice.pages[row / kPageRows] + plane.offset, row % kPageRows,
                      values);
  } else {
    decode_row(plane.format, row_address(plane, slice, row), values);
  }
}

// All rows of a slice, as floats.
std::vector<float> read_rows(const Plane& plane, const Slice& slice) {
  std::vector<float> values(static_cast<size_t>(slice.rows * plane.format.width));
  for (int64_t s = 0; s < slice.rows; ++s) {
    read_row(plane, slice, s, values.data() + s * plane.format.width);
  }
  return values;
}

// One slice's rows, ready to be scored: keys as they stand after gain, bias and rotation.
class SliceAttention {
 public:
  SliceAttention(const Attend& step, const Slice& slice)
      : step_(step),
        slice_(slice),
        rotation_(step.rotations.empty() ? nullptr
                                         : step.rotations[static_cast<size_t>(slice.regime)]),
        keys_(read_rows(step.keys, slice)),
        values_(read_rows(step.values, slice)),
        factors_(step.key_factors == nullptr ? std::vector<float>()
                                             : read_rows(*step.key_factors, slice)) {
    for (int64_t s = 0; s < slice.rows; ++s) turn_key(s);
  }

  void attend(int64_t token) const {
    for (int64_t head = 0; head < step_.heads; ++head) attend_head(token, head);
  }

 private:
  void turn_key(int64_t row) {
    const int64_t width = step_.keys.format.width;
    float* key = keys_.data() + row * width;
    const bool whole = step_.key_stride == 0;  // every head scores the same columns: turned once
    const int64_t heads = whole ? 1 : step_.heads / step_.heads_per_key;
    const int64_t scored = whole ? step_.key_width : heads * step_.key_stride;
    for (int64_t c = 0; c < std::min(scored, width); ++c) {
      const double gain = step_.key_gain == nullptr ? 1.0 : static_cast<double>(step_.key_gain[c]);
      const double bias = step_.key_bias == nullptr ? 0.0 : static_cast<double>(step_.key_bias[c]);
      key[c] = static_cast<float>(static_cast<double>(key[c]) * gain + bias);
    }
    if (rotation_ == nullptr) return;
    for (int64_t head = 0; head < heads; ++head) {
      float* columns = key + head * step_.key_stride;
      const std::vector<float> before(columns, columns + step_.key_width);
      rotation_->apply(slice_.base + row, before.data(), columns);
    }
  }

  bool sees(int64_t token, int64_t row) const {
    if (step_.causal && row > slice_.rows - slice_.count + token) return false;
    return step_.window == 0 || slice_.base + row > slice_.position + token - step_.window;
  }

  double score(const float* query, int64_t token, int64_t head, int64_t row) const {
    if (!sees(token, row)) return -std::numeric_limits<double>::infinity();
    const float* key = keys_.data() + row * step_.keys.format.width +
                       head / step_.heads_per_key * step_.key_stride;
    double score = static_cast<double>(step_.scale) * dot_in_double(query, key, step_.key_width);
    if (!factors_.empty()) score *= static_cast<double>(factors_[static_cast<size_t>(row)]);
    const auto cap = static_cast<double>(step_.cap);
    if (cap != 0.0) score = cap * std::tanh(score / cap);
    if (step_.slopes != nullptr) {
      score += static_cast<double>(step_.slopes[head]) *
               static_cast<double>(slice_.base + row - slice_.position - token);
    }
    return score + bias_of(step_.bias, head, slice_.base + row - slice_.position - token);
  }

  void attend_head(int64_t token, int64_t head) const {
    const int64_t at = slice_.first + token;
    const float* from = step_.queries.row<float>(at) + head * step_.key_width;
    std::vector<float> query(from, from + step_.key_width);
    if (rotation_ != nullptr) rotation_->apply(slice_.position + token, from, query.data());
    std::vector<double> weights(static_cast<size_t>(slice_.rows));
    bool seen = false;
    for (int64_t s = 0; s < slice_.rows; ++s) {
      weights[static_cast<size_t>(s)] = score(query.data(), token, head, s);
      seen = seen || sees(token, s);
    }
    std::vector<float> mixed(static_cast<size_t>(step_.value_width), 0.0F);
    double lse = -std::numeric_limits<double>::infinity();
    if (seen) {
      lse = softmax(weights);
      mix(weights,
          {values_.data() + head / step_.heads_per_key * step_.value_stride,
           step_.values.format.width, step_.value_width},
          mixed.data());
    }
    write(at, head, mixed, lse);
  }

  void write(int64_t at, int64_t head, const std::vector<float>& mixed, double lse) const {
    float* to = step_.mixed.row<float>(at) + head * step_.value_width;
    float* logarithm = step_.lse.rows == 0 ? nullptr : step_.lse.row<float>(at) + head;
    double before = 0.0;  // the share of what other rows gave
    double now = 1.0;
    if (step_.merge && !std::isinf(*logarithm)) {
      const auto other = static_cast<double>(*logarithm);
      const double largest = std::max(other, lse);
      const double sum = std::exp(other - largest) + std::exp(lse - largest);
      before = std::exp(other - largest) / sum;
      now = std::exp(lse - largest) / sum;
      lse = largest + std::log(sum);
    }
    for (int64_t c = 0; c < step_.value_width; ++c) {
      const double old = before == 0.0 ? 0.0 : before * static_cast<double>(to[c]);
      to[c] = static_cast<float>(old + now * static_cast<double>(mixed[static_cast<size_t>(c)]));
    }
    if (logarithm != nullptr) *logarithm = static_cast<float>(lse);
  }

  const Attend& step_;
  const Slice& slice_;
  const Rotation* rotation_;
  std::vector<float> keys_;
  std::vector<float> values_;
  std::vector<float> factors_;
};

}  // namespace

void ReferenceKernels::attend_dense(const AttendDense& arguments) {
  const auto& [q, k, v, out, heads, batch, scale, bias, places, inputs] = arguments;
  check(heads > 0 && q.columns % heads == 0, "heads divide the columns");
  check(batch > 0 && q.rows % batch == 0, "runs divide the rows");
  for (const ConstMatrix& other : {k, v, ConstMatrix(out)}) {
    check(other.rows == q.rows && other.columns == q.columns, "q, k, v and out have one shape");
  }
  check(places.empty() || std::ssize(places) == q.rows, "each row has a place");
  const auto place = [&given = arguments.places](int64_t row) {
    return given.empty() ? row : int64_t{given[static_cast<size_t>(row)]};
  };
  const int64_t rows = q.rows / batch;
  const int64_t width = q.columns / heads;
  std::vector<double> weights(static_cast<size_t>(rows));
  for (int64_t t = 0; t < q.rows; ++t) {
    const int64_t first = t / rows * rows;  // of the run that t is in
    for (int64_t head = 0; head < heads; ++head) {
      const int64_t column = head * width;
      for (int64_t s = 0; s < rows; ++s) {
        const float* key = k.row<float>(first + s) + column;
        weights[static_cast<size_t>(s)] =
            static_cast<double>(scale) * dot_in_double(q.row<float>(t) + column, key, width) +
            bias_of(bias, head, place(first + s) - place(t));
      }
      softmax(weights);
      mix(weights, {v.row<float>(first) + column, v.stride, width}, out.row<float>(t) + column);
    }
  }
}

void ReferenceKernels::store_rows(const StoreRows& arguments) {
  const auto& [x, plane, slices] = arguments;
  check(plane.format.valid() && !plane.format.sealed() && x.columns == plane.format.width,
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

void ReferenceKernels::seal_pages(const SealPages& arguments) {
  const auto& [from, to, shaping, pages] = arguments;
  check(from.format == to.format.hot(), "pages are sealed from f32 rows of their width");
  for (const SealPages::Page& page : pages) {
    seal_page(to.format, reinterpret_cast<const float*>(page.from + from.offset), shaping,
              page.to + to.offset);
  }
}

void ReferenceKernels::load_rows(const LoadRows& arguments) {
  const auto& [plane, slice, begin, y] = arguments;
  check(begin >= 0 && begin + y.rows <= slice.rows, "only rows of the slice are loaded");
  check(y.columns == plane.format.width, "loaded rows have the width of their plane");
  for (int64_t i = 0; i < y.rows; ++i) read_row(plane, slice, begin + i, y.row<float>(i));
}

void ReferenceKernels::attend_pair(const Attend& arguments) {
  const Attend& a = arguments;
  check_attend(a);
  for (const Slice& slice : a.slices) {
    const SliceAttention attention(a, slice);
    for (int64_t token = 0; token < slice.count; ++token) attention.attend(token);
  }
}

}  // namespace slim
