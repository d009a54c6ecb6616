// Tables of cosines and sines.
#include "tensor/rotation.h"

#include <atomic>
#include <cmath>

#include "base/check.h"

namespace slim {
namespace {

// Row m: cos then sin of m * step * frequency.
std::vector<float> turns(int64_t rows, int64_t step, std::span<const double> frequencies) {
  check(rows > 0, "a table of positions has rows");
  std::vector<float> table;
  table.reserve(static_cast<size_t>(rows) * 2 * frequencies.size());
  for (int64_t m = 0; m < rows; ++m) {
    const auto position = static_cast<double>(m * step);
    for (const double f : frequencies) table.push_back(static_cast<float>(std::cos(position * f)));
    for (const double f : frequencies) table.push_back(static_cast<float>(std::sin(position * f)));
  }
  return table;
}

uint64_t next_id() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

}  // namespace

Rotation::Rotation(int64_t width, bool interleaved, std::span<const double> frequencies,
                   double magnitude, int64_t positions)
    : id_(next_id()),
      width_(width),
      interleaved_(interleaved),
      magnitude_(static_cast<float>(magnitude)),
      positions_(positions),
      rows_(turns(kPageRows, 1, frequencies)),
      pages_(turns((positions + kPageRows - 1) / kPageRows + 1, kPageRows, frequencies)) {
  check(width > 0 && width % 2 == 0, "pairs of columns rotate");
  check(std::ssize(frequencies) * 2 == width, "every pair has its frequency");
  check(positions >= 0, "there is no negative number of positions");
}

void Rotation::apply(int64_t position, const float* head, float* turned) const {
  check(position >= 0 && position <= positions_, "a rotation holds for the positions it has");
  const int64_t m = position / kPageRows;
  const int64_t j = position % kPageRows;
  const int64_t half = pairs();
  for (int64_t i = 0; i < half; ++i) {
    const float c = page_cos(m)[i] * row_cos(j)[i] - page_sin(m)[i] * row_sin(j)[i];
    const float s = page_sin(m)[i] * row_cos(j)[i] + page_cos(m)[i] * row_sin(j)[i];
    const int64_t left = interleaved_ ? 2 * i : i;
    const int64_t right = interleaved_ ? 2 * i + 1 : i + half;
    const float a = head[left];
    const float b = head[right];
    turned[left] = magnitude_ * (a * c - b * s);
    turned[right] = magnitude_ * (a * s + b * c);
  }
}

}  // namespace slim
