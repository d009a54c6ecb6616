// The ladder of temperatures.
#include "engine/fallback.h"

#include <zlib.h>

#include <algorithm>

namespace slim {
namespace {

double repetition(const Tokenizer& tokenizer, const SpeechTokens& tokens,
                  const std::vector<int32_t>& sampled) {
  std::vector<int32_t> words;
  std::copy_if(sampled.begin(), sampled.end(), std::back_inserter(words),
               [&](int32_t id) { return id < tokens.text_end; });
  const std::string text = valid_utf8(tokenizer.decode(words));
  const size_t begin = text.find_first_not_of(" \t\r\n\v\f");
  if (begin == std::string::npos) return 0;
  return compression_ratio(text.substr(begin, text.find_last_not_of(" \t\r\n\v\f") + 1 - begin));
}

// Whether a is the better one of two that failed.
bool better(const FallbackSetting& setting, const WindowResult& a, const WindowResult& b) {
  const bool a_repeats = a.compression_ratio > setting.compression_ratio_threshold;
  const bool b_repeats = b.compression_ratio > setting.compression_ratio_threshold;
  if (a_repeats != b_repeats) return b_repeats;
  return a.avg_logprob > b.avg_logprob;
}

}  // namespace

double compression_ratio(const std::string& text) {
  if (text.empty()) return 0;
  uLongf size = compressBound(static_cast<uLong>(text.size()));
  std::vector<Bytef> compressed(size);
  const int status = compress(compressed.data(), &size, reinterpret_cast<const Bytef*>(text.data()),
                              static_cast<uLong>(text.size()));
  if (status != Z_OK) throw Error(ErrorCode::out_of_memory, "zlib could not compress the text.");
  return static_cast<double>(text.size()) / static_cast<double>(size);
}

bool needs_fallback(const FallbackSetting& setting, const WindowResult& result) {
  const bool unlikely = result.avg_logprob < setting.logprob_threshold;
  const bool silent = result.no_speech_prob > setting.no_speech_threshold && unlikely;
  const bool repetitive = result.compression_ratio > setting.compression_ratio_threshold;
  return (repetitive || unlikely) && !silent;
}

std::vector<WindowResult> decode_with_fallback(const Model& model,
                                               std::span<const WindowRequest> windows,
                                               const FallbackSetting& setting,
                                               const Tokenizer& tokenizer, DecodeCounts* counts) {
  std::vector<WindowResult> results(windows.size());
  std::vector<size_t> left(windows.size());
  for (size_t i = 0; i < left.size(); ++i) left[i] = i;
  DecodeSetting decode = setting.decode;
  const size_t attempts = setting.temperatures.size();
  for (size_t attempt = 0; attempt < attempts && !left.empty(); ++attempt) {
    decode.attempt = static_cast<int>(attempt);
    decode.temperature = setting.temperatures[attempt];
    decode.candidates = decode.temperature > 0 ? setting.best_of : setting.beam_size;
    std::vector<WindowRequest> requests;
    for (const size_t i : left) requests.push_back(windows[i]);
    std::vector<WindowResult> decoded = decode_windows(model, requests, decode, counts);
    std::vector<size_t> failed;
    for (size_t j = 0; j < left.size(); ++j) {
      WindowResult& result = results[left[j]];
      decoded[j].compression_ratio = repetition(tokenizer, *decode.rules.tokens, decoded[j].tokens);
      const bool again = needs_fallback(setting, decoded[j]);
      if (!again || attempt == 0 || better(setting, decoded[j], result)) result = decoded[j];
      // Where all fail, the last temperature is reported: earlier text is not to be trusted either.
      result.temperature = decode.temperature;
      if (again) failed.push_back(left[j]);
    }
    left = std::move(failed);
  }
  return results;
}

}  // namespace slim
