// Rotation: rotary positions (RoPE) as tables. Position p turns the pair i of a head's columns by
// the angle p * frequency[i]:
//   (a, b) -> magnitude * (a cos - b sin, a sin + b cos)
// A page of 64 positions starts at 64 m, so the angle of row j is that of 64 m plus that of j: two
// small tables serve any length, and a kernel may turn queries *back* by 64 m instead, so that the
// table inside a page is constant. Angles are computed in double and reduced before cos and sin.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/row_format.h"

namespace slim {

class Rotation {
 public:
  // width: rotated columns of a head, its first; even. `frequencies`: [width / 2] radians a
  // position. `interleaved`: pairs are columns (2i, 2i + 1); else (i, i + width / 2). `positions`:
  // how many there will be. Cost: (64 + positions / 64) * width floats.
  Rotation(int64_t width, bool interleaved, std::span<const double> frequencies, double magnitude,
           int64_t positions);

  // Differs from that of every other Rotation of the process but its copies: devices keep tables by
  // it.
  uint64_t id() const noexcept { return id_; }
  int64_t width() const noexcept { return width_; }
  int64_t pairs() const noexcept { return width_ / 2; }
  bool interleaved() const noexcept { return interleaved_; }
  int64_t positions() const noexcept { return positions_; }
  // cos and sin of in-page row j, [pairs()] each, without the magnitude.
  const float* row_cos(int64_t j) const { return rows_.data() + j * width_; }
  const float* row_sin(int64_t j) const { return rows_.data() + j * width_ + pairs(); }
  // cos and sin of position 64 m, [pairs()] each, without the magnitude.
  const float* page_cos(int64_t m) const { return pages_.data() + m * width_; }
  const float* page_sin(int64_t m) const { return pages_.data() + m * width_ + pairs(); }
  // Multiplies cos and sin, of queries and of keys (yarn, longrope): scores get its square.
  float magnitude() const noexcept { return magnitude_; }

  // Turns the first `width` columns of one head, to position p, magnitude included. The
  // specification; devices agree to f32 rounding.
  void apply(int64_t position, const float* head, float* turned) const;

 private:
  uint64_t id_;
  int64_t width_;
  bool interleaved_;
  float magnitude_;
  int64_t positions_;
  std::vector<float> rows_;   // [kPageRows, 2 * pairs]
  std::vector<float> pages_;  // [ceil(positions / kPageRows) + 1, 2 * pairs]
};

}  // namespace slim
