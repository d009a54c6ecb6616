// The files are asked in this order: the task's entry of config.json; generation_config.json or,
// where there is none, config.json. Lengths of theirs count the decoder's start token, those here
// do not.
#include "engine/translation_setting.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "engine/random_numbers.h"
#include "engine/sampler.h"
#include "slim/error.h"

namespace slim {
namespace {

constexpr int kBeams = 4;
constexpr int64_t kMostTokens = 256;
constexpr int64_t kNoLimit = int64_t{1} << 40;

class Defaults {
 public:
  Defaults(const TranslationFiles& files, std::optional<JsonObject> task) {
    if (task) files_.push_back(*task);
    // Where the first is, the second has remains of older ways to say it.
    files_.push_back(files.generation.fields().empty() ? files.config : files.generation);
  }

  const JsonObject* find(std::string_view field) const {
    const auto found = std::find_if(files_.begin(), files_.end(),
                                    [&](const JsonObject& file) { return file.has(field); });
    return found == files_.end() ? nullptr : &*found;
  }
  int64_t integer(std::string_view field, int64_t low, int64_t high, int64_t otherwise) const {
    const JsonObject* file = find(field);
    return file == nullptr ? otherwise : file->integer(field, low, high);
  }
  double real(std::string_view field, double otherwise) const {
    const JsonObject* file = find(field);
    return file == nullptr ? otherwise : file->real(field);
  }
  bool flag(std::string_view field) const {
    const JsonObject* file = find(field);
    return file != nullptr && file->boolean(field);
  }

 private:
  std::vector<JsonObject> files_;
};

std::vector<int32_t> token_list(const Defaults& defaults, std::string_view field,
                                int64_t vocabulary) {
  const JsonObject* file = defaults.find(field);
  if (file == nullptr) return {};
  const std::vector<int64_t> ids = file->integers(field, 0, vocabulary - 1);
  return {ids.begin(), ids.end()};
}

void refuse_others(const Defaults& defaults) {
  const JsonObject* early = defaults.find("early_stopping");
  if (early != nullptr && early->is_string("early_stopping")) {
    throw Error(ErrorCode::unsupported_model, "A search that stops by a word is not supported.",
                early->place() + ", field 'early_stopping'");
  }
  for (const auto& [field, usual] :
       {std::pair("encoder_no_repeat_ngram_size", 0.0), std::pair("diversity_penalty", 0.0),
        std::pair("encoder_repetition_penalty", 1.0)}) {
    if (defaults.real(field, usual) == usual) continue;
    throw Error(ErrorCode::unsupported_model, "This way of choosing tokens is not supported.",
                defaults.find(field)->place() + ", field '" + field + "'");
  }
}

void check_range(double value, double low, double high, const char* name) {
  if (value >= low && value <= high) return;
  const auto text = [](double bound) { return std::to_string(static_cast<int64_t>(bound)); };
  throw Error(ErrorCode::bad_request,
              "The option must lie between " + text(low) + " and " + text(high) + ".", name);
}

void check_setting(const TranslationSetting& setting, const TranslateOptions& options) {
  check_sampling(options.sampling);
  check_range(setting.search.beams, 1, 256, "beams");
  check_range(setting.hypotheses, 1, 256, "hypotheses");
  check_range(*setting.search.length_penalty, -100, 100, "length_penalty");
  check_range(setting.rules.no_repeat_ngram, 0, 1 << 20, "no_repeat_ngram");
  check_range(static_cast<double>(setting.rules.least), 0, static_cast<double>(kNoLimit),
              "min_tokens");
  check_range(static_cast<double>(setting.most), 1, static_cast<double>(kNoLimit), "max_tokens");
  if (options.min_tokens && setting.rules.least > setting.most) {
    throw Error(ErrorCode::bad_request, "A text cannot have more tokens at least than at most.",
                "min_tokens");
  }
  check_range(setting.batch, 1, 4096, "batch");
  if (!(options.patience > 0 && options.patience <= 100)) {
    throw Error(ErrorCode::bad_request, "The option must be above 0 and at most 100.", "patience");
  }
  if (!(setting.rules.repetition_penalty >= 1e-3 && setting.rules.repetition_penalty <= 1e3)) {
    throw Error(ErrorCode::bad_request, "The option must lie between 0.001 and 1000.",
                "repetition_penalty");
  }
  if (!setting.samples() && setting.hypotheses > setting.search.beams) {
    throw Error(ErrorCode::bad_request,
                "A search with " + std::to_string(setting.search.beams) +
                    " beams has no more hypotheses than these.",
                "hypotheses");
  }
  if (!setting.samples() && setting.hypotheses > awaited(setting.search)) {
    throw Error(ErrorCode::bad_request,
                "With this patience a search waits for " + std::to_string(awaited(setting.search)) +
                    " texts, and has no more hypotheses than these.",
                "hypotheses");
  }
}

}  // namespace

TranslationSetting translation_setting(const TranslateOptions& options,
                                       const TranslationTokens& tokens, int64_t vocabulary) {
  const Defaults defaults(tokens.files(), tokens.task({options.source, options.target}));
  refuse_others(defaults);
  TranslationSetting setting;
  setting.sampling = options.sampling;
  if (!setting.sampling.seed) setting.sampling.seed = random_seed();
  setting.hypotheses = options.hypotheses;
  setting.batch = options.batch;
  const auto beams = static_cast<int>(defaults.integer("num_beams", 1, 256, kBeams));
  setting.search = {
      .beams = setting.samples() ? options.hypotheses : options.beams.value_or(beams),
      .patience = setting.samples() ? 1 : options.patience,
      .length_penalty = options.length_penalty.value_or(defaults.real("length_penalty", 1)),
      .ends = tokens.ends(),
      .ending = BeamEnding::best,
      .early = defaults.flag("early_stopping")};
  setting.rules.repetition_penalty =
      options.repetition_penalty.value_or(defaults.real("repetition_penalty", 1));
  setting.rules.no_repeat_ngram = options.no_repeat_ngram.value_or(
      static_cast<int>(defaults.integer("no_repeat_ngram_size", 0, 1 << 20, 0)));
  setting.rules.ends = tokens.ends();
  // Lengths count the start token, "new" ones do not, and hold where both are given.
  const int64_t least = std::max<int64_t>(defaults.integer("min_length", 0, kNoLimit, 0) - 1, 0);
  setting.rules.least =
      options.min_tokens.value_or(defaults.integer("min_new_tokens", 0, kNoLimit, least));
  const int64_t most = defaults.integer("max_length", 2, kNoLimit, kMostTokens + 1) - 1;
  setting.most = options.max_tokens.value_or(defaults.integer("max_new_tokens", 1, kNoLimit, most));
  setting.renormalized = defaults.flag("renormalize_logits");
  if (const JsonObject* file = defaults.find("bad_words_ids")) {
    for (const auto& sequence : file->integer_lists("bad_words_ids", 0, vocabulary - 1)) {
      if (!sequence.empty()) setting.rules.banned.emplace_back(sequence.begin(), sequence.end());
    }
  }
  for (const int32_t token : token_list(defaults, "suppress_tokens", vocabulary)) {
    setting.rules.banned.push_back({token});
  }
  setting.rules.not_first = token_list(defaults, "begin_suppress_tokens", vocabulary);
  setting.rules.first = std::ssize(tokens.begin({options.source, options.target})) - 1;
  if (defaults.find("forced_eos_token_id") != nullptr) {
    setting.forced_end =
        static_cast<int32_t>(defaults.integer("forced_eos_token_id", 0, vocabulary - 1, 0));
  }
  setting.sampling.repeat_penalty = setting.rules.repetition_penalty;
  if (setting.samples()) setting.rules.repetition_penalty = 1;  // the sampler has it
  check_setting(setting, options);
  return setting;
}

}  // namespace slim
