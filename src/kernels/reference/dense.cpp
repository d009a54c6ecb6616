// The specification of all that works on whole matrices: products, norms, embedding, convolution
// and the logarithm of the softmax. The formulas stand in kernels/kernels.h.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "base/check.h"
#include "kernels/convolve_check.h"
#include "kernels/input_scale.h"
#include "kernels/reference/dot.h"
#include "kernels/reference/reference_kernels.h"
#include "tensor/weight_blocks.h"

namespace slim {
namespace {

// One row of weights, whatever their type; integers by plain value.
std::vector<float> weight_row(const ConstMatrix& matrix, int64_t row) {
  std::vector<float> values(static_cast<size_t>(matrix.columns));
  if (is_block_type(matrix.type)) {
    decode_blocks(matrix.type, matrix.row_bytes(row), matrix.columns, values.data());
  } else if (matrix.type == DType::i8) {
    std::copy_n(matrix.row<int8_t>(row), matrix.columns, values.data());
  } else if (matrix.type == DType::i16) {
    std::copy_n(matrix.row<int16_t>(row), matrix.columns, values.data());
  } else {
    decode_row({matrix.type, matrix.columns}, matrix.row_bytes(row), values.data());
  }
  return values;
}

void check_weight(const ConstMatrix& weight, const float* scale) {
  const bool integers = weight.type == DType::i8 || weight.type == DType::i16;
  check(weight.type != DType::i32, "no weights are i32");
  check(integers == (scale != nullptr), "integer weights, and only those, have scales");
}

// A row as products take it: rounded, as integers times a scale.
struct Row {
  std::vector<double> values;
  double scale = 1.0;
};

Row input_row(const float* x, int64_t columns, Inputs inputs) {
  Row row{.values = std::vector<double>(x, x + columns)};
  if (inputs == Inputs::f32) return row;
  check(columns <= kDeepestInputs, "rows that are rounded have at most 131,072 columns");
  float largest = 0.0F;
  for (int64_t k = 0; k < columns; ++k) {
    const float size = std::fabs(x[k]);
    if (!(size <= largest)) largest = size;
    if (!std::isfinite(size)) break;
  }
  const InputScale scale(inputs, largest);
  row.scale = static_cast<double>(scale.scale);
  for (int64_t k = 0; k < columns; ++k) {
    row.values[static_cast<size_t>(k)] =
        scale.finite ? static_cast<double>(std::nearbyint(x[k] * scale.inverse)) : 0.0;
  }
  return row;
}

double activate(Activation activation, double x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x < 0.0 ? 0.0 : x;  // written so that NaN stays
    case Activation::gelu:
      return 0.5 * x * (1.0 + std::erf(x / std::numbers::sqrt2));
    case Activation::gelu_tanh: {
      const double inner = std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x);
      return 0.5 * x * (1.0 + std::tanh(inner));
    }
    case Activation::silu:
      return x / (1.0 + std::exp(-x));
    case Activation::tanh:
      return std::tanh(x);
  }
  check(false, "an activation is one of those listed");
  return x;
}

double bias_at(const float* bias, int64_t n) {
  return bias == nullptr ? 0.0 : static_cast<double>(bias[n]);
}

}  // namespace

void ReferenceKernels::linear(const Linear& arguments) {
  const auto& [x, weight, scale, bias, y, activation, accumulate, inputs] = arguments;
  check(x.columns == weight.columns, "a linear layer's x and weight have the same columns");
  check(y.rows == x.rows && y.columns == weight.rows, "a linear layer's y is [x rows, outputs]");
  check_weight(weight, scale);
  std::vector<Row> rows;
  for (int64_t t = 0; t < x.rows; ++t) {
    const bool rounded = weight.type == DType::i8;
    rows.push_back(input_row(x.row<float>(t), x.columns, rounded ? inputs : Inputs::f32));
  }
  for (int64_t n = 0; n < weight.rows; ++n) {
    const std::vector<float> weights = weight_row(weight, n);
    const double factor = scale == nullptr ? 1.0 : static_cast<double>(scale[n]);
    for (int64_t t = 0; t < x.rows; ++t) {
      const auto& [values, row_scale] = rows[static_cast<size_t>(t)];
      const double product = std::inner_product(values.begin(), values.end(), weights.begin(), 0.0);
      const double sum = factor * row_scale * product + bias_at(bias, n);
      float& to = y.row<float>(t)[n];
      const double before = accumulate ? static_cast<double>(to) : 0.0;
      to = static_cast<float>(activate(activation, sum) + before);
    }
  }
}

void ReferenceKernels::grouped_linear(const GroupedLinear& arguments) {
  const auto& [x, x_stride, weight, scale, bias, y, groups, accumulate, inputs] = arguments;
  const int64_t depth = weight.columns;
  const int64_t stride = x_stride == 0 ? depth : x_stride;
  check(groups > 0 && weight.rows % groups == 0, "groups divide the outputs");
  check(x.columns >= (groups - 1) * stride + depth, "a grouped product's x holds K a group");
  check(y.rows == x.rows && y.columns == weight.rows, "a grouped product's y is [x rows, outputs]");
  const int64_t outputs = weight.rows / groups;
  for (int64_t g = 0; g < groups; ++g) {
    linear({.x = x.columns_from(g * stride, depth),
            .weight = weight.rows_from(g * outputs, outputs),
            .scale = scale == nullptr ? nullptr : scale + g * outputs,
            .bias = bias == nullptr ? nullptr : bias + g * outputs,
            .y = y.columns_from(g * outputs, outputs),
            .accumulate = accumulate,
            .inputs = inputs});
  }
}

void ReferenceKernels::norm(const Norm& arguments) {
  const Norm& a = arguments;
  check(a.y.rows == a.x.rows && a.y.columns == a.x.columns, "a norm's y has the shape of its x");
  check(a.groups > 0 && a.x.columns % a.groups == 0, "groups divide the columns");
  check(a.inverse == nullptr || a.groups == 1, "a row has one inverse");
  const int64_t width = a.x.columns / a.groups;
  for (int64_t part = 0; part < a.x.rows * a.groups; ++part) {
    const int64_t first = part % a.groups * width;
    const float* from = a.x.row<float>(part / a.groups) + first;
    float* to = a.y.row<float>(part / a.groups) + first;
    double mean = 0.0;
    for (int64_t i = 0; i < width && a.kind == NormKind::layer; ++i) {
      mean += static_cast<double>(from[i]) / static_cast<double>(width);
    }
    double squares = 0.0;
    for (int64_t i = 0; i < width; ++i) {
      const double difference = static_cast<double>(from[i]) - mean;
      squares += difference * difference;
    }
    const double inverse =
        1.0 / std::sqrt(squares / static_cast<double>(width) + static_cast<double>(a.epsilon));
    for (int64_t i = 0; i < width; ++i) {
      const double normalised = (static_cast<double>(from[i]) - mean) * inverse;
      const double gain = a.gain == nullptr ? 1.0 : static_cast<double>(a.gain[first + i]);
      const double before = a.accumulate ? static_cast<double>(to[i]) : 0.0;
      to[i] = static_cast<float>(normalised * gain + bias_at(a.offset, first + i) + before);
    }
    if (a.inverse != nullptr) a.inverse[part] = static_cast<float>(inverse);
  }
}

void ReferenceKernels::gate(const Gate& arguments) {
  const auto& [gate, up, activation, y] = arguments;
  for (const ConstMatrix& other : {gate, up}) {
    check(other.rows == y.rows && other.columns == y.columns, "a gate's matrices have one shape");
  }
  for (int64_t t = 0; t < y.rows; ++t) {
    for (int64_t i = 0; i < y.columns; ++i) {
      const double opened = activate(activation, static_cast<double>(gate.row<float>(t)[i]));
      y.row<float>(t)[i] = static_cast<float>(opened * static_cast<double>(up.row<float>(t)[i]));
    }
  }
}

void ReferenceKernels::clamp(const Clamp& arguments) {
  const auto& [x, limit] = arguments;
  check(limit > 0.0F, "values are held within a positive limit");
  for (int64_t t = 0; t < x.rows; ++t) {
    float* row = x.row<float>(t);
    for (int64_t i = 0; i < x.columns; ++i) {
      if (std::fabs(row[i]) > limit) row[i] = std::copysign(limit, row[i]);
    }
  }
}

void ReferenceKernels::rotate(const Rotate& arguments) {
  const auto& [x, positions, rotation, head_width, y] = arguments;
  check(rotation != nullptr && rotation->width() <= head_width, "a head has columns to rotate");
  check(y.rows == x.rows && y.columns == x.columns && std::ssize(positions) == x.rows &&
            x.columns % head_width == 0,
        "rows of whole heads are rotated, each to its position");
  for (int64_t t = 0; t < x.rows; ++t) {
    const int64_t position = positions[static_cast<size_t>(t)];
    std::vector<float> row(x.row<float>(t), x.row<float>(t) + x.columns);
    std::copy(row.begin(), row.end(), y.row<float>(t));
    for (int64_t head = 0; head < x.columns; head += head_width) {
      rotation->apply(position, row.data() + head, y.row<float>(t) + head);
    }
  }
}

void ReferenceKernels::embed(const Embed& arguments) {
  const auto& [ids, table, scale, factor, places, positions, y] = arguments;
  check((table.type == DType::i8) == (scale != nullptr), "a table of i8, and no other, has scales");
  check(positions.rows == 0 || ids.size() == places.size(), "every embedded token has a place");
  check(y.rows == static_cast<int64_t>(ids.size()), "an embedding's y has a row for each token");
  check(y.columns == table.columns && (positions.rows == 0 || y.columns == positions.columns),
        "an embedding's tables have the columns of its y");
  for (int64_t t = 0; t < y.rows; ++t) {
    const int32_t id = ids[static_cast<size_t>(t)];
    check(id >= 0 && id < table.rows, "an embedded token lies in the table");
    std::vector<float> token = weight_row(table, id);
    for (float& value : token) value *= scale == nullptr ? 1.0F : scale[id];
    for (size_t i = 0; i < token.size(); ++i) y.row<float>(t)[i] = token[i] * factor;
    if (positions.rows == 0) continue;
    const int32_t place = places[static_cast<size_t>(t)];
    check(place >= 0 && place < positions.rows, "an embedded place lies in the positions");
    const std::vector<float> position = weight_row(positions, place);
    for (size_t i = 0; i < token.size(); ++i) y.row<float>(t)[i] += position[i];
  }
}

void ReferenceKernels::convolve(const Convolve& arguments) {
  check_convolve(arguments);
  const auto& [x, weight, bias, y, batch, stride, activation, taps, padding] = arguments;
  const int64_t frames = x.rows / batch;
  const int64_t steps = arguments.steps(frames);
  const int64_t inputs = x.columns;
  for (int64_t o = 0; o < weight.rows; ++o) {
    const std::vector<float> weights = weight_row(weight, o);
    for (int64_t row = 0; row < y.rows; ++row) {
      const int64_t run = row / steps;
      double sum = bias_at(bias, o);
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t frame = row % steps * stride + tap - padding;
        if (frame < 0 || frame >= frames) continue;  // the padding is zero
        sum += dot_in_double(x.row<float>(run * frames + frame), weights.data() + tap * inputs,
                             inputs);
      }
      y.row<float>(row)[o] = static_cast<float>(activate(activation, sum));
    }
  }
}

void ReferenceKernels::log_softmax(const LogSoftmax& arguments) {
  const auto& [x, y] = arguments;
  check(y.rows == x.rows && y.columns == x.columns, "a softmax's y has the shape of its x");
  for (int64_t t = 0; t < x.rows; ++t) {
    const float* from = x.row<float>(t);
    float largest = -std::numeric_limits<float>::infinity();
    for (int64_t i = 0; i < x.columns; ++i) largest = std::max(largest, from[i]);
    const auto shift = static_cast<double>(largest);
    double sum = 0.0;  // a NaN, which max() passes over, enters here
    for (int64_t i = 0; i < x.columns; ++i) sum += std::exp(static_cast<double>(from[i]) - shift);
    const double logarithm = shift + std::log(sum);
    for (int64_t i = 0; i < x.columns; ++i) {
      y.row<float>(t)[i] = static_cast<float>(static_cast<double>(from[i]) - logarithm);
    }
  }
}

void ReferenceKernels::sum_words(const SumWords& arguments) {
  const auto& [words, count, sum] = arguments;
  check(reinterpret_cast<uintptr_t>(words) % 16 == 0, "words to be summed lie at 16 bytes");
  for (int64_t i = 0; i < count; ++i) *sum += words[i];
}

std::unique_ptr<Kernels> make_reference_kernels(std::string_view, int) {
  return std::make_unique<ReferenceKernels>();
}

}  // namespace slim
