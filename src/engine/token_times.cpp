// Normalising, smoothing, averaging; and dynamic time warping.
#include "engine/token_times.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace slim {
namespace {

constexpr ptrdiff_t kSmoothed = 7;  // positions a median is taken of
constexpr ptrdiff_t kReach = kSmoothed / 2;

void softmax(std::span<float> row) {
  const float largest = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float value : row) sum += std::exp(double{value} - largest);
  for (float& value : row) {
    value = static_cast<float>(std::exp(double{value} - largest) / sum);
  }
}

// Mean and inverse deviation of each position over all tokens of a head.
struct Moments {
  std::vector<double> mean;
  std::vector<double> inverse;
};

Moments moments_of(ConstMatrix weights) {
  const auto tokens = static_cast<double>(weights.rows);
  const auto positions = static_cast<size_t>(weights.columns);
  Moments moments{std::vector<double>(positions), std::vector<double>(positions)};
  for (int64_t t = 0; t < weights.rows; ++t) {
    for (size_t s = 0; s < positions; ++s) moments.mean[s] += weights.row<float>(t)[s] / tokens;
  }
  for (int64_t t = 0; t < weights.rows; ++t) {
    for (size_t s = 0; s < positions; ++s) {
      const double difference = weights.row<float>(t)[s] - moments.mean[s];
      moments.inverse[s] += difference * difference / tokens;
    }
  }
  for (double& value : moments.inverse) value = value > 0 ? 1 / std::sqrt(value) : 0;
  return moments;
}

// Adds the running median of `row`, mirrored at its ends, to `sum`. Rows too short to be mirrored
// stay as they are.
void add_smoothed(std::span<const float> row, std::span<float> sum) {
  const auto count = std::ssize(row);
  const auto at = [&](ptrdiff_t i) {
    const ptrdiff_t inside = i < 0 ? -i : i < count ? i : 2 * (count - 1) - i;
    return row[static_cast<size_t>(inside)];
  };
  std::array<float, kSmoothed> near;
  for (ptrdiff_t i = 0; i < count; ++i) {
    if (count <= kReach) {
      sum[static_cast<size_t>(i)] += at(i);
      continue;
    }
    for (ptrdiff_t k = 0; k < kSmoothed; ++k) near[static_cast<size_t>(k)] = at(i + k - kReach);
    std::nth_element(near.begin(), near.begin() + kReach, near.end());
    sum[static_cast<size_t>(i)] += near[kReach];
  }
}

// How the cheapest path came to a cell.
enum class From : uint8_t { both, token, position };

}  // namespace

std::vector<float> alignment_weights(Matrix scores, const AlignmentRange& range) {
  const auto& [heads, first, count, positions] = range;
  check(heads > 0 && scores.rows % heads == 0, "every head scores every token");
  const int64_t tokens = scores.rows / heads;
  check(first >= 0 && first + count <= tokens, "the tokens wanted were scored");
  check(positions > 0 && positions <= scores.columns, "the positions wanted were scored");
  const auto width = static_cast<size_t>(positions);
  std::vector<float> weights(static_cast<size_t>(count) * width);
  std::vector<float> row(width);
  for (int64_t head = 0; head < heads; ++head) {
    const Matrix own = scores.rows_from(head * tokens, tokens).columns_from(0, positions);
    for (int64_t t = 0; t < tokens; ++t) softmax({own.row<float>(t), width});
    const Moments moments = moments_of(own);
    for (int64_t t = 0; t < count; ++t) {
      const float* values = own.row<float>(first + t);
      for (size_t s = 0; s < width; ++s) {
        row[s] = static_cast<float>((values[s] - moments.mean[s]) * moments.inverse[s]);
      }
      add_smoothed(row, std::span(weights).subspan(static_cast<size_t>(t) * width, width));
    }
  }
  for (float& value : weights) value /= static_cast<float>(heads);
  return weights;
}

std::vector<int64_t> first_positions(std::span<const float> weights, int64_t tokens,
                                     int64_t positions) {
  check(std::ssize(weights) == tokens * positions,
        "there is a weight for every token and position");
  const auto rows = static_cast<size_t>(tokens);
  const auto columns = static_cast<size_t>(positions);
  constexpr float kNever = std::numeric_limits<float>::infinity();
  std::vector<From> from(rows * columns);
  // Costs of one position, of which entry t + 1 belongs to token t; those of the one before.
  std::vector<float> cost(rows + 1, kNever);
  std::vector<float> before(rows + 1, kNever);
  before[0] = 0;
  for (size_t s = 0; s < columns; ++s) {
    for (size_t t = 0; t < rows; ++t) {
      const float both = before[t];
      const float token = cost[t];
      const float position = before[t + 1];
      float least = position;
      From came = From::position;
      if (both < token && both < position) {
        least = both;
        came = From::both;
      } else if (token < both && token < position) {
        least = token;
        came = From::token;
      }
      from[t * columns + s] = came;
      cost[t + 1] = static_cast<float>(double{least} - double{weights[t * columns + s]});
    }
    std::swap(cost, before);
    cost[0] = kNever;
  }
  std::vector<int64_t> first(rows, 0);
  for (size_t t = rows, s = columns; t > 0 && s > 0;) {
    first[t - 1] = static_cast<int64_t>(s) - 1;
    const From came = from[(t - 1) * columns + s - 1];
    if (came != From::position) --t;
    if (came != From::token) --s;
  }
  return first;
}

}  // namespace slim
