// Steering tokens by their order, and mel filters against this engine's own.
#include "engine/ggml_text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include "audio/mel_filters.h"
#include "slim/error.h"
#include "text/ranked_tokenizer.h"

namespace slim {
namespace {

constexpr std::string_view kEnd = "<|endoftext|>";

// In the order in which the models were trained on them; those of 99 languages have no yue.
constexpr std::array<std::string_view, 100> kLanguages = {
    "en", "zh", "de", "es",  "ru", "ko", "fr", "ja", "pt", "tr", "pl", "ca", "nl", "ar", "sv",
    "it", "id", "hi", "fi",  "vi", "he", "uk", "el", "ms", "cs", "ro", "da", "hu", "ta", "no",
    "th", "ur", "hr", "bg",  "lt", "la", "mi", "ml", "cy", "sk", "te", "fa", "lv", "bn", "sr",
    "az", "sl", "kn", "et",  "mk", "br", "eu", "is", "hy", "ne", "mn", "bs", "kk", "sq", "sw",
    "gl", "mr", "pa", "si",  "km", "sn", "yo", "so", "af", "oc", "ka", "be", "tg", "sd", "gu",
    "am", "yi", "lo", "uz",  "fo", "ht", "ps", "tk", "nn", "mt", "sa", "lb", "my", "bo", "tl",
    "mg", "as", "tt", "haw", "ln", "ha", "ba", "jw", "su", "yue"};

constexpr std::array<std::string_view, 6> kTasks = {"<|translate|>", "<|transcribe|>",
                                                    "<|startoflm|>", "<|startofprev|>",
                                                    "<|nospeech|>",  "<|notimestamps|>"};
constexpr int32_t kTimes = 1501;  // 20 ms apart

std::string time_token(int32_t step) {
  const std::string hundredths = std::to_string(100 + step * 2 % 100);
  return "<|" + std::to_string(step / 50) + "." + hundredths.substr(1) + "|>";
}

std::vector<AddedToken> steering_tokens(int64_t first, int64_t vocabulary,
                                        const std::string& place) {
  const int64_t languages = vocabulary - first - 2 - static_cast<int64_t>(kTasks.size()) - kTimes;
  if (languages < 1 || languages > static_cast<int64_t>(kLanguages.size())) {
    throw Error(ErrorCode::unsupported_model,
                "With " + std::to_string(first) + " of " + std::to_string(vocabulary) +
                    " tokens listed, the steering tokens would be of " + std::to_string(languages) +
                    " languages; 1 to 100 are known.",
                place);
  }
  std::vector<AddedToken> added;
  const auto add = [&](std::string content, bool special) {
    added.push_back({std::move(content), static_cast<int32_t>(first + std::ssize(added)), special});
  };
  add(std::string(kEnd), true);
  add("<|startoftranscript|>", true);
  for (size_t i = 0; i < static_cast<size_t>(languages); ++i) {
    add("<|" + std::string(kLanguages[i]) + "|>", true);
  }
  for (const std::string_view task : kTasks) add(std::string(task), true);
  for (int32_t step = 0; step < kTimes; ++step) add(time_token(step), false);
  return added;
}

// Files have what librosa computed, in f32 and f64 by turns: a few units in the last place of
// weights of up to 0.03. Other filters would be other inputs than the model was made for.
void check_filters(const Tensor& stored, const std::string& place) {
  constexpr float kRounding = 1e-6F;
  const std::vector<MelFilter> filters = mel_filters(stored.size(0));
  const auto frequencies = static_cast<size_t>(stored.size(1));
  const float* row = stored.values<float>();
  bool alike = frequencies == 201;
  for (const MelFilter& filter : filters) {
    for (size_t i = 0; i < frequencies; ++i) {
      const bool inside = i >= filter.first && i - filter.first < filter.weights.size();
      const float weight = inside ? filter.weights[i - filter.first] : 0.0F;
      alike = alike && std::abs(row[i] - weight) <= kRounding;  // false for NaN
    }
    row += frequencies;
  }
  if (alike) return;
  throw Error(ErrorCode::unsupported_model,
              "The file's mel filters are not those that spectrograms are made with here.", place);
}

struct SpeechVocabulary {
  std::span<const std::string_view> tokens;  // by id
  std::vector<AddedToken> added;
};

SpeechVocabulary read_vocabulary(const GgmlExtras& extras, int64_t vocabulary,
                                 const std::string& place) {
  check_filters(extras.mel_filters, place);
  // Some converters list the tokens from the first steering token on.
  const auto listed_end = std::find(extras.tokens.begin(), extras.tokens.end(), kEnd);
  const auto first = listed_end - extras.tokens.begin();
  std::vector<AddedToken> added = steering_tokens(first, vocabulary, place);
  for (auto at = listed_end; at != extras.tokens.end(); ++at) {
    const AddedToken& expected = added[static_cast<size_t>(at - listed_end)];
    if (*at == expected.content) continue;
    throw Error(ErrorCode::unsupported_model,
                "The token " + std::to_string(expected.id) + " should be " + expected.content +
                    ", but the file lists another.",
                place);
  }
  return {std::span(extras.tokens).first(static_cast<size_t>(first)), std::move(added)};
}

}  // namespace

std::shared_ptr<const Tokenizer> read_ggml_tokenizer(const GgmlExtras& extras, int64_t vocabulary,
                                                     const std::string& place) {
  SpeechVocabulary read = read_vocabulary(extras, vocabulary, place);
  return ranked_tokenizer(read.tokens, std::move(read.added), place);
}

std::string ggml_tokenizer_json(const GgmlExtras& extras, int64_t vocabulary,
                                const std::string& place) {
  const SpeechVocabulary read = read_vocabulary(extras, vocabulary, place);
  return ranked_tokenizer_json(read.tokens, read.added, place);
}

}  // namespace slim
