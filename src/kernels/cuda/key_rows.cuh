// Key rows as attention scores them: decoded, with gain and bias, and turned to their positions.
// The magnitude of a rotation is left out: the turned queries have its square.
#pragma once

#include "kernels/cuda/attend_parts.cuh"

namespace slim {

// A row of a page, and where its position's angles stand.
struct KeyRow {
  const std::byte* page;   // where the plane begins
  const float* page_turn;  // cosines, then sines, of the page's position
  const float* row_turn;   // of the row within the page
  int row;
};

// The columns that the heads of a tile score. kOctets: all are whole octets with no gain and no
// bias, and pairs that are turned, if any, are octets too (reads_octets). The general body needs
// three times the registers.
template <RowCode kCode, bool kOctets>
struct KeyColumns {
  int first;              // in the row
  CudaRotation rotation;  // with no pairs if keys are not turned

  __device__ KeyColumns(const AttendView& view, const AttendTile& tile)
      : first(static_cast<int>(view.key_stride) * (tile.head / view.heads_per_key)) {
    if (view.rotations != nullptr) rotation = view.rotations[tile.slice.regime];
  }
  // Of one key head of slices in a regime.
  __device__ KeyColumns(const AttendView& view, int key_head, int regime)
      : first(static_cast<int>(view.key_stride) * key_head) {
    if (view.rotations != nullptr) rotation = view.rotations[regime];
  }

  __device__ KeyRow row(const AttendView& view, const AttendTile& tile, int page, int row) const {
    return at(tile.page(view, page) + view.keys.offset, tile.slice.base / kPageRows + page, row);
  }
  // Row `row` of the page whose plane is at `plane`, the `turn`th page of positions.
  __device__ KeyRow at(const std::byte* plane, int64_t turn, int row) const {
    KeyRow result{plane, nullptr, nullptr, row};
    if (rotation.pairs > 0) {
      result.page_turn = rotation.pages + turn * 2 * rotation.pairs;
      result.row_turn = rotation.rows + static_cast<int64_t>(row) * 2 * rotation.pairs;
    }
    return result;
  }

  // Eight neighbours from `column` of the head on, which is a multiple of eight; zeros past the
  // end.
  __device__ void octet(const AttendView& view, const KeyRow& row, int column,
                        float (&values)[8]) const {
    plain(view, row, {column, min(8, view.key_width - column)}, values);
    if (column >= 2 * rotation.pairs) return;
    if (!kOctets && rotation.interleaved) {
      turn_neighbours(row, column, values);
    } else {
      turn_halves(view, row, column, values);
    }
  }

  // Eight pairs at once: octets from `column` on, below the number of pairs, and as many further.
  __device__ void pair(const AttendView& view, const KeyRow& row, int column, float (&left)[8],
                       float (&right)[8]) const {
    plain(view, row, {column, 8}, left);
    plain(view, row, {column + rotation.pairs, 8}, right);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float2 turn = angle(row, column + i);
      const float a = left[i];
      const float b = right[i];
      left[i] = fmaf(a, turn.x, -__fmul_rn(b, turn.y));
      right[i] = fmaf(b, turn.x, __fmul_rn(a, turn.y));
    }
  }

 private:
  // Cosine and sine of a pair's angle. Fused by hand, here and below: bodies for more or fewer
  // queries must give the same bits.
  __device__ float2 angle(const KeyRow& row, int pair) const {
    const float page_cos = row.page_turn[pair];
    const float page_sin = row.page_turn[pair + rotation.pairs];
    const float row_cos = row.row_turn[pair];
    const float row_sin = row.row_turn[pair + rotation.pairs];
    return {fmaf(page_cos, row_cos, -__fmul_rn(page_sin, row_sin)),
            fmaf(page_sin, row_cos, __fmul_rn(page_cos, row_sin))};
  }

  // Neighbours before they are turned.
  __device__ void plain(const AttendView& view, const KeyRow& row, int2 columns,
                        float (&values)[8]) const {
    using Reader = RowReader<kCode>;
    const int column = first + columns.x;
    if constexpr (kOctets) {
      Reader::expand(view.keys, Reader::fetch(view.keys, row.page, row.row, column),
                     Reader::share(view.keys, row.page, column), values);
      return;
    }
    read_columns<kCode>(view.keys, row.page, row.row, {column, columns.y}, values);
    if (view.key_gain == nullptr && view.key_bias == nullptr) return;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (i >= columns.y) break;
      const float gain = view.key_gain == nullptr ? 1.0F : view.key_gain[column + i];
      const float bias = view.key_bias == nullptr ? 0.0F : view.key_bias[column + i];
      values[i] = fmaf(values[i], gain, bias);
    }
  }

  __device__ void turn_neighbours(const KeyRow& row, int column, float (&values)[8]) const {
#pragma unroll
    for (int i = 0; i < 8; i += 2) {
      if (column + i >= 2 * rotation.pairs) break;
      const float2 turn = angle(row, (column + i) / 2);
      const float a = values[i];
      const float b = values[i + 1];
      values[i] = fmaf(a, turn.x, -__fmul_rn(b, turn.y));
      values[i + 1] = fmaf(a, turn.y, __fmul_rn(b, turn.x));
    }
  }

  __device__ void turn_halves(const AttendView& view, const KeyRow& row, int column,
                              float (&values)[8]) const {
    const int pairs = rotation.pairs;
    float others[8];
    if (kOctets || pairs % 8 == 0) {
      plain(view, row, {column < pairs ? column + pairs : column - pairs, 8}, others);
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int at = column + i;
        if (at >= 2 * pairs) break;
        others[i] = single(view, row, first + (at < pairs ? at + pairs : at - pairs));
      }
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int at = column + i;
      if (at >= 2 * pairs) break;
      const float2 turn = angle(row, at < pairs ? at : at - pairs);
      const float other = __fmul_rn(others[i], turn.y);
      values[i] = fmaf(values[i], turn.x, at < pairs ? -other : other);
    }
  }

  // A column by itself, of pairs that do not lie as octets do.
  __device__ float single(const AttendView& view, const KeyRow& row, int column) const {
    const float value = read_element<kCode>(view.keys, row.page, row.row, column);
    const float gain = view.key_gain == nullptr ? 1.0F : view.key_gain[column];
    return fmaf(value, gain, view.key_bias == nullptr ? 0.0F : view.key_bias[column]);
  }
};

}  // namespace slim
