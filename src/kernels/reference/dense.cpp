// The specification of all that works on whole matrices: products, norms, embedding, convolution
// and the logarithm of the softmax. The formulas stand in kernels/kernels.h.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "base/check.h"
#include "kernels/reference/dot.h"
#include "kernels/reference/reference_kernels.h"

namespace slim {
namespace {

// One row of weights, whatever their type.
std::vector<float> weight_row(const ConstMatrix& matrix, int64_t row) {
  check(matrix.type == DType::f32 || matrix.type == DType::f16 || matrix.type == DType::bf16,
        "weights are f32, f16 or bf16");
  std::vector<float> values(static_cast<size_t>(matrix.columns));
  decode_row({matrix.type, matrix.columns},
             matrix.data + row * matrix.stride * size_of(matrix.type), values.data());
  return values;
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
  }
  check(false, "an activation is one of those listed");
  return x;
}

double bias_at(const float* bias, int64_t n) {
  return bias == nullptr ? 0.0 : static_cast<double>(bias[n]);
}

}  // namespace

void ReferenceKernels::linear(const Linear& arguments) {
  const auto& [x, weight, bias, y, activation, accumulate] = arguments;
  check(x.columns == weight.columns, "a linear layer's x and weight have the same columns");
  check(y.rows == x.rows && y.columns == weight.rows, "a linear layer's y is [x rows, outputs]");
  for (int64_t n = 0; n < weight.rows; ++n) {
    const std::vector<float> weights = weight_row(weight, n);
    for (int64_t t = 0; t < x.rows; ++t) {
      const double sum =
          dot_in_double(x.row<float>(t), weights.data(), x.columns) + bias_at(bias, n);
      float& to = y.row<float>(t)[n];
      const double before = accumulate ? static_cast<double>(to) : 0.0;
      to = static_cast<float>(activate(activation, sum) + before);
    }
  }
}

void ReferenceKernels::grouped_linear(const GroupedLinear& arguments) {
  const auto& [x, weight, bias, y, groups] = arguments;
  check(groups > 0 && weight.rows % groups == 0, "groups divide the outputs");
  check(x.columns == groups * weight.columns, "a grouped product's x holds K columns a group");
  check(y.rows == x.rows && y.columns == weight.rows, "a grouped product's y is [x rows, outputs]");
  const int64_t inputs = weight.columns;
  const int64_t outputs = weight.rows / groups;
  for (int64_t g = 0; g < groups; ++g) {
    linear({.x = x.columns_from(g * inputs, inputs),
            .weight = weight.rows_from(g * outputs, outputs),
            .bias = bias == nullptr ? nullptr : bias + g * outputs,
            .y = y.columns_from(g * outputs, outputs)});
  }
}

void ReferenceKernels::norm(const Norm& arguments) {
  const auto& [x, gain, offset, epsilon, y] = arguments;
  check(y.rows == x.rows && y.columns == x.columns, "a norm's y has the shape of its x");
  const auto width = static_cast<double>(x.columns);
  for (int64_t t = 0; t < x.rows; ++t) {
    const float* from = x.row<float>(t);
    double sum = 0.0;
    for (int64_t i = 0; i < x.columns; ++i) sum += static_cast<double>(from[i]);
    const double mean = sum / width;
    double squares = 0.0;
    for (int64_t i = 0; i < x.columns; ++i) {
      const double difference = static_cast<double>(from[i]) - mean;
      squares += difference * difference;
    }
    const double scale = 1.0 / std::sqrt(squares / width + static_cast<double>(epsilon));
    for (int64_t i = 0; i < x.columns; ++i) {
      const double normalised = (static_cast<double>(from[i]) - mean) * scale;
      const double factor = gain == nullptr ? 1.0 : static_cast<double>(gain[i]);
      y.row<float>(t)[i] = static_cast<float>(normalised * factor + bias_at(offset, i));
    }
  }
}

void ReferenceKernels::embed(const Embed& arguments) {
  const auto& [ids, table, places, positions, y] = arguments;
  check(ids.size() == places.size(), "every embedded token has a place");
  check(y.rows == static_cast<int64_t>(ids.size()), "an embedding's y has a row for each token");
  check(y.columns == table.columns && y.columns == positions.columns,
        "an embedding's tables have the columns of its y");
  for (int64_t t = 0; t < y.rows; ++t) {
    const int32_t id = ids[static_cast<size_t>(t)];
    const int32_t place = places[static_cast<size_t>(t)];
    check(id >= 0 && id < table.rows, "an embedded token lies in the table");
    check(place >= 0 && place < positions.rows, "an embedded place lies in the positions");
    const std::vector<float> token = weight_row(table, id);
    const std::vector<float> position = weight_row(positions, place);
    for (size_t i = 0; i < token.size(); ++i) y.row<float>(t)[i] = token[i] + position[i];
  }
}

void ReferenceKernels::convolve(const Convolve& arguments) {
  const auto& [x, weight, bias, y, batch, stride, activation] = arguments;
  check(batch > 0 && x.rows % batch == 0, "a convolution's runs divide its rows");
  check(stride == 1 || stride == 2, "a convolution's stride is 1 or 2");
  const int64_t frames = x.rows / batch;
  const int64_t steps = (frames + stride - 1) / stride;
  const int64_t inputs = x.columns;
  check(weight.columns == 3 * inputs, "a convolution's weight holds three taps");
  check(y.rows == batch * steps && y.columns == weight.rows,
        "a convolution's y is [runs * steps, outputs]");
  for (int64_t o = 0; o < weight.rows; ++o) {
    const std::vector<float> weights = weight_row(weight, o);
    for (int64_t row = 0; row < y.rows; ++row) {
      const int64_t run = row / steps;
      double sum = bias_at(bias, o);
      for (int64_t tap = 0; tap < 3; ++tap) {
        const int64_t frame = row % steps * stride + tap - 1;
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

std::unique_ptr<Kernels> make_reference_kernels(std::string_view, int) {
  return std::make_unique<ReferenceKernels>();
}

}  // namespace slim
