// What a decoding step has to read, whatever runs it: bytes over its time, beside the rate of a
// plain read, say how much of a device's memory it uses.
//   weights   each matrix and vector that a token meets, once for all sequences; not the tables of
//             embeddings and positions, of which a token reads one row each
//   rows      each cached row that a layer attends to, once a layer and sequence, however many
//   heads
#include <algorithm>

#include "models/decoder.h"

namespace slim {
namespace {

int64_t bytes_of(const NormWeights& norm) { return norm.gain.bytes() + norm.offset.bytes(); }

int64_t bytes_of(const MlpWeights& mlp) {
  return bytes_of(mlp.norm) + mlp.gate.bytes() + mlp.up.bytes() + mlp.down.bytes();
}

int64_t bytes_of(const PatchWeights& weights) {
  return weights.up.bytes() + weights.down.bytes() + weights.skip.bytes();
}

// Rows [first, rows): of sealed planes, whole pages up to the one of the last row, and that one's
// f32 rows.
int64_t bytes_of_rows(const std::vector<RowFormat>& planes, int64_t first, int64_t rows) {
  const int64_t own = (rows - 1) / kPageRows;
  const int64_t pages = own - first / kPageRows;
  const int64_t hot = rows - std::max(first, own * kPageRows);
  int64_t bytes = 0;
  for (const RowFormat& plane : planes) {
    bytes += plane.sealed() ? pages * plane.page_bytes() + hot * plane.hot().bytes()
                            : (rows - first) * plane.bytes();
  }
  return bytes;
}

}  // namespace

int64_t Decoder::step_weight_bytes() const {
  int64_t bytes = bytes_of(weights_.embed_norm) + weights_.embed_in.bytes() +
                  bytes_of(weights_.decoder_norm) + weights_.embed_out.bytes() +
                  (rounded_head_ != nullptr ? rounded_head_->bytes() : weights_.head.bytes()) +
                  bytes_of(weights_.patch_out);
  for (const DecoderLayer& layer : weights_.decoder) {
    bytes += bytes_of(layer.self_norm) + bytes_of(layer.cross_norm) + bytes_of(layer.mlp);
  }
  for (const auto& attention : self_) bytes += attention->step_weight_bytes();
  for (const auto& attention : cross_) bytes += attention->step_weight_bytes();
  return bytes;
}

int64_t Decoder::step_row_bytes(int64_t rows, int64_t positions) const {
  const std::vector<int64_t>& windows = spec_.decoder.windows;
  int64_t bytes = 0;
  for (size_t i = 0; i < self_.size(); ++i) {
    const int64_t window = windows.empty() ? 0 : windows[i];
    const int64_t first = window == 0 ? 0 : std::max<int64_t>(0, rows - window);
    bytes += bytes_of_rows(self_[i]->rows(), first, rows);
  }
  for (const auto& attention : cross_) bytes += bytes_of_rows(attention->rows(), 0, positions);
  return bytes;
}

}  // namespace slim
