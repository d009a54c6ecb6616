// The triangular filters that gather 201 frequencies (a window of 400 samples at 16 kHz, 40 Hz
// apart) into mel bins, by the formulas of Slaney's Auditory Toolbox as librosa uses them:
//   mel(f) = 3 f / 200 below 1000 Hz, 15 + 27 ln(f / 1000) / ln(6.4) above;
//   the corners are evenly spaced in mel from 0 to 8000 Hz; filter i rises from corner i to i + 1
//   and falls to i + 2; its height is 2 / (corner i+2 - corner i), so that its area is 1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace slim {

// One filter: the weights of the frequencies first, first + 1, ...; all others have none.
struct MelFilter {
  size_t first = 0;
  std::vector<float> weights;
};

// `bins` filters, as f32 of values computed in f64.
std::vector<MelFilter> mel_filters(int64_t bins);

}  // namespace slim
