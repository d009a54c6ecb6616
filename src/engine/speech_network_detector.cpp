// Samples gathered into steps.
#include "engine/speech_network_detector.h"

#include <algorithm>
#include <vector>

#include "models/speech_network.h"

namespace slim {
namespace {

// 4 s in 260 KB: as many rows as make the packing of weights cheap.
constexpr int64_t kSteps = 128;

class NetworkListener : public SpeechDetector::Listener {
 public:
  explicit NetworkListener(std::shared_ptr<const SpeechNetwork> network)
      : network_(std::move(network)),
        state_(network_->start()),
        samples_(SpeechNetwork::kBefore + kSteps * SpeechNetwork::kStep) {}

  void hear(std::span<const float> samples, FunctionRef<void(double)> take) override {
    while (!samples.empty()) {
      const size_t count = std::min(samples.size(), samples_.size() - filled_);
      std::copy_n(samples.begin(), count, samples_.begin() + static_cast<ptrdiff_t>(filled_));
      filled_ += count;
      samples = samples.subspan(count);
      if (filled_ == samples_.size()) run(take);
    }
  }

  void finish(FunctionRef<void(double)> take) override {
    const size_t rest = (filled_ - SpeechNetwork::kBefore) % SpeechNetwork::kStep;
    if (rest > 0) {
      const size_t end = filled_ + SpeechNetwork::kStep - rest;
      std::fill(samples_.begin() + static_cast<ptrdiff_t>(filled_),
                samples_.begin() + static_cast<ptrdiff_t>(end), 0.0F);
      filled_ = end;
    }
    run(take);
  }

 private:
  // Whole steps; their last samples go before the next ones.
  void run(FunctionRef<void(double)> take) {
    probabilities_.resize((filled_ - SpeechNetwork::kBefore) / SpeechNetwork::kStep);
    network_->run(std::span(samples_).first(filled_), state_, probabilities_);
    for (const float probability : probabilities_) take(double{probability});
    const auto end = samples_.begin() + static_cast<ptrdiff_t>(filled_);
    std::copy(end - SpeechNetwork::kBefore, end, samples_.begin());
    filled_ = SpeechNetwork::kBefore;
  }

  std::shared_ptr<const SpeechNetwork> network_;
  SpeechNetwork::State state_;
  std::vector<float> samples_;  // the last ones that have been judged, and those that have not
  size_t filled_ = SpeechNetwork::kBefore;
  std::vector<float> probabilities_;
};

class NetworkDetector : public SpeechDetector {
 public:
  explicit NetworkDetector(const Checkpoint& checkpoint)
      : network_(std::make_shared<const SpeechNetwork>(checkpoint)) {}
  int64_t step() const override { return SpeechNetwork::kStep; }
  std::unique_ptr<Listener> listen() const override {
    return std::make_unique<NetworkListener>(network_);
  }

 private:
  std::shared_ptr<const SpeechNetwork> network_;
};

}  // namespace

std::shared_ptr<const SpeechDetector> open_speech_network(const std::string& path) {
  return std::make_shared<const NetworkDetector>(*Checkpoint::open(path));
}

}  // namespace slim
