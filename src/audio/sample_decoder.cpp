// What both decoders share: the choice between them, and the checks on what they deliver.
#include "audio/sample_decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace slim {
namespace {

// Loudest sample taken for audio. Full scale is 1, or 2^31 in f32 files that hold plain integers;
// from about 1e16 on the power spectrum leaves f32.
constexpr float kLoudest = 1e10F;

}  // namespace

void check_samples(std::span<const float> samples, int64_t first, double rate,
                   const std::string& name) {
  // The comparison is false for NaN.
  const auto is_sound = [](float sample) { return std::abs(sample) <= kLoudest; };
  const auto bad = std::find_if_not(samples.begin(), samples.end(), is_sound);
  if (bad == samples.end()) return;
  const double time = static_cast<double>(first + (bad - samples.begin())) / rate;
  throw Error(ErrorCode::bad_file,
              fmt::format("The sample at {:.4g} s is {}, which is not sound.", time, *bad), name);
}

std::unique_ptr<SampleDecoder> SampleDecoder::open(std::FILE* file, const std::string& name) {
  auto mpeg = open_mpeg(file, name);
  return mpeg ? std::move(mpeg) : open_sndfile(file, name);
}

void SampleDecoder::fail(std::string text) const {
  throw Error(ErrorCode::bad_file, std::move(text), name_);
}

double SampleDecoder::seconds(int64_t frame) const {
  return static_cast<double>(frame) / static_cast<double>(format_.rate);
}

int64_t SampleDecoder::read(std::span<float> out) {
  const int64_t wanted = static_cast<int64_t>(out.size()) / format_.channels;
  std::string failure;
  const int64_t got = decode(out, failure);
  position_ += got;
  if (!failure.empty()) {
    fail(fmt::format("It cannot be decoded at {:.4g} s: {}", seconds(position_), failure));
  }
  if (got < wanted && position_ + format_.slack < format_.frames) {
    fail(fmt::format("It ends early, at {:.4g} s of {:.4g} s.", seconds(position_),
                     seconds(format_.frames)));
  }
  return got;
}

}  // namespace slim
