// One step at a time; padding once all is known.
#include "audio/speech_cutter.h"

#include <algorithm>
#include <utility>

namespace slim {
namespace {

constexpr int64_t kPause = 98 * 16;  // samples of silence at which long speech may be cut

}  // namespace

void SpeechCutter::add(int64_t begin, int64_t end) { found_.push_back({begin, end, begin, end}); }

// Speech that became too long here.
void SpeechCutter::cut_long(int64_t at) {
  add(begin_, pause_ != kNone ? pause_ : at);
  speaking_ = pause_ != kNone && resumed_ > pause_;
  begin_ = resumed_;
  forget_pauses();
}

void SpeechCutter::push(double probability) {
  const int64_t at = std::exchange(next_, next_ + step_);
  const bool speech = probability >= rules_.threshold;
  if (speech && silence_ != kNone) {
    silence_ = kNone;
    if (resumed_ < pause_) resumed_ = at;
  }
  if (speech && !speaking_) {
    speaking_ = true;
    begin_ = at;
    return;
  }
  if (!speaking_) return;
  if (at - begin_ > rules_.max_speech) {
    cut_long(at);
    if (!speaking_) return;
  }
  if (probability >= rules_.neg_threshold) return;
  if (silence_ == kNone) silence_ = at;
  if (at - silence_ > kPause) pause_ = silence_;
  if (at - silence_ < rules_.min_silence) return;
  if (silence_ - begin_ > rules_.min_speech) add(begin_, silence_);
  speaking_ = false;
  forget_pauses();
}

std::vector<Stretch> SpeechCutter::finish(int64_t samples) {
  if (speaking_ && samples - begin_ > rules_.min_speech) {
    add(begin_, samples);
    if (silence_ != kNone) found_.back().speech_end = silence_;
  }
  for (size_t i = 0; i < found_.size(); ++i) {
    Stretch& own = found_[i];
    if (i == 0) own.begin = std::max<int64_t>(0, own.begin - rules_.padding);
    if (i + 1 == found_.size()) {
      own.end = std::min(samples, own.end + rules_.padding);
      continue;
    }
    Stretch& next = found_[i + 1];
    const int64_t silence = next.begin - own.end;
    const int64_t before = std::min(rules_.padding, silence / 2);
    const int64_t after = std::min(rules_.padding, silence - silence / 2);
    own.end += before;
    next.begin -= after;
  }
  return std::move(found_);
}

}  // namespace slim
