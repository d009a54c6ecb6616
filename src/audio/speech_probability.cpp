// Half seconds of levels, the floors around them, and what stands out.
#include "audio/speech_probability.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <functional>
#include <limits>
#include <vector>

namespace slim {
namespace {

constexpr int64_t kBands = 6;
constexpr int64_t kLoudest = 3;    // bands that count
constexpr int64_t kBlock = 50;     // frames a floor is found for
constexpr int64_t kAround = 20;    // blocks either side that say what the floor is
constexpr int64_t kSmoothing = 2;  // frames either side
constexpr double kDecibels = 40;   // of 1 in the spectrum's scale: 10 log10, divided by 4
constexpr double kRange = 55;      // below the loudest bin
constexpr double kMiddle = 9;      // dB above the floor where p is 1/2
constexpr double kWidth = 2;

using Levels = std::array<double, kBands>;  // dB

struct Block {
  std::vector<Levels> levels;  // by frame, smoothed
  Levels lowest;
};

class Detector {
 public:
  explicit Detector(MelStream& mel)
      : mel_(mel),
        quietest_(kDecibels * mel.loudest() - kRange),
        blocks_((mel.frames() + kBlock - 1) / kBlock) {}

  void run(FunctionRef<void(double)> take) {
    for (int64_t index = 0; index < blocks_; ++index) {
      while (loaded_ < std::min(index + kAround + 1, blocks_)) near_.push_back(load(loaded_++));
      if (first_ < index - kAround) {
        near_.pop_front();
        ++first_;
      }
      const Levels floor = floor_of_near();
      const Block& block = near_[static_cast<size_t>(index - first_)];
      for (const Levels& levels : block.levels) take(probability(levels, floor));
    }
  }

 private:
  Levels bands_of(const float* bins) const {
    const int64_t width = mel_.bins() / 8;
    Levels levels;
    for (int64_t band = 0; band < kBands; ++band) {
      const float* begin = bins + mel_.bins() / 20 + band * width;
      double sum = 0;
      for (int64_t i = 0; i < width; ++i) sum += double{begin[i]};
      levels[static_cast<size_t>(band)] = kDecibels * sum / static_cast<double>(width);
    }
    return levels;
  }

  Block load(int64_t index) {
    const int64_t begin = index * kBlock;
    const int64_t end = std::min(begin + kBlock, mel_.frames());
    const int64_t first = std::max<int64_t>(0, begin - kSmoothing);
    const int64_t last = std::min(end + kSmoothing, mel_.frames());
    frames_.resize(static_cast<size_t>((last - first) * mel_.bins()));
    mel_.read(first, last - first, frames_);
    Block block;
    block.lowest.fill(std::numeric_limits<double>::infinity());
    for (int64_t frame = begin; frame < end; ++frame) {
      const int64_t from = std::max(first, frame - kSmoothing);
      const int64_t to = std::min(last, frame + kSmoothing + 1);
      Levels mean{};
      for (int64_t i = from; i < to; ++i) {
        const Levels own = bands_of(frames_.data() + (i - first) * mel_.bins());
        for (size_t b = 0; b < kBands; ++b) mean[b] += own[b] / static_cast<double>(to - from);
      }
      for (size_t b = 0; b < kBands; ++b) block.lowest[b] = std::min(block.lowest[b], mean[b]);
      block.levels.push_back(mean);
    }
    return block;
  }

  Levels floor_of_near() const {
    Levels floor;
    std::vector<double> lowest(near_.size());
    for (size_t band = 0; band < kBands; ++band) {
      for (size_t i = 0; i < near_.size(); ++i) lowest[i] = near_[i].lowest[band];
      const auto tenth = lowest.begin() + static_cast<ptrdiff_t>(lowest.size() / 10);
      std::nth_element(lowest.begin(), tenth, lowest.end());
      floor[band] = std::max(*tenth, quietest_);
    }
    return floor;
  }

  static double probability(const Levels& levels, const Levels& floor) {
    Levels above;
    for (size_t b = 0; b < kBands; ++b) above[b] = levels[b] - floor[b];
    std::partial_sort(above.begin(), above.begin() + kLoudest, above.end(), std::greater<>());
    double sum = 0;
    for (size_t b = 0; b < kLoudest; ++b) sum += above[b] / kLoudest;
    return 1 / (1 + std::exp(-(sum - kMiddle) / kWidth));
  }

  MelStream& mel_;
  double quietest_;  // dB
  int64_t blocks_;
  int64_t loaded_ = 0;
  int64_t first_ = 0;       // number of the first block of near_
  std::deque<Block> near_;  // within kAround of the block being judged
  std::vector<float> frames_;
};

}  // namespace

void for_speech_probabilities(MelStream& mel, FunctionRef<void(double)> take) {
  Detector(mel).run(take);
}

}  // namespace slim
