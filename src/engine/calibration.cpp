// Largest rows last: the first plan within the budget is the smallest of those on the ladder.
#include "engine/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "engine/runtime.h"
#include "engine/text_scoring.h"

namespace slim {
namespace {

// Predicted errors to plan for, in budgets. On trained models predictions were 3 (D = 512) and 7 to
// 10 (D = 128) times the root of the measured ratio of KLs. The last two are for weights of which
// predictions are too bold. Two bits less are a factor of four.
constexpr std::array kLadder = {8.0, 4.0, 2.0, 1.0, 0.5, 0.25};
constexpr int64_t kTokens = 1024;
constexpr int64_t kSequence = 512;  // eight pages, of which seven are read sealed
constexpr int64_t kLeastTokens = 128;

bool seals_keys(const std::vector<LayerPlan>& plan) {
  return std::any_of(plan.begin(), plan.end(), [](const LayerPlan& layer) {
    return layer.kind == "k" && layer.hot_bytes_per_token > 0;
  });
}

bool same_rows(const std::vector<LayerPlan>& a, const std::vector<LayerPlan>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const LayerPlan& one, const LayerPlan& other) {
                      return one.kind == other.kind && one.rows == other.rows;
                    });
}

// Why a text could change nothing, or "".
std::string refusal(const Runtime& runtime) {
  const CacheChoice& choice = runtime.choice();
  if (runtime.hears()) return "A plan is measured on text, and this is a speech model.";
  if (runtime.spec().has_encoder()) {
    return "A plan is measured on text alone, and this model's encoder reads another.";
  }
  if (!choice.stored.empty()) return "The model was converted, and its plan is stored with it.";
  if (choice.row_type && choice.spill && choice.rank) {
    return "Type, spill and rank are all given: nothing is left to choose by measurement.";
  }
  if (seals_keys(runtime.unseen_plan(choice))) return "";
  return "No layer can seal keys under this cache: nothing is left to choose by measurement.";
}

TextSequences read_text(const Runtime& runtime, const std::string& path) {
  ScoreOptions options;
  options.context = std::min(runtime.context(), kSequence);
  options.max_tokens = kTokens;
  TextSequences sequences = read_sequences(runtime, path, options);
  size_t tokens = 0;
  for (const auto& sequence : sequences) tokens += sequence.size();
  if (tokens < size_t{kLeastTokens}) {
    throw Error(ErrorCode::bad_request,
                fmt::format("The text has {} tokens, and a plan is measured on {} at least.",
                            tokens, kLeastTokens),
                path);
  }
  return sequences;
}

class PlanMeter {
 public:
  PlanMeter(const Runtime& runtime, const std::string& path)
      : runtime_(runtime),
        path_(path),
        sequences_(read_text(runtime, path)),
        reference_(runtime.new_model(runtime.unseen_plan(kv_choice(RowType::f32)))) {
    result_.kv_kl = measure(runtime.unseen_plan(kv_choice(RowType::bf16))).calibration.kl;
  }

  MeasuredModel choose() {
    std::vector<std::vector<LayerPlan>> tried;
    const std::vector<LayerPlan>* closest = nullptr;
    tried.reserve(kLadder.size());
    for (const double step : kLadder) {
      std::optional<std::vector<LayerPlan>> plan = plan_within(step * runtime_.choice().budget);
      if (!plan || !seals_keys(*plan)) break;  // nor is anything within smaller errors
      const bool known = std::any_of(tried.begin(), tried.end(),
                                     [&](const auto& other) { return same_rows(*plan, other); });
      if (known) continue;
      tried.push_back(std::move(*plan));
      MeasuredModel measured = measure(tried.back());
      measured.calibration.predicted_budget = step * runtime_.choice().budget;
      if (measured.calibration.kl <= allowed()) return measured;
      if (closest == nullptr || measured.calibration.kl < closest_.kl) {
        closest = &tried.back();
        closest_ = measured.calibration;
      }
    }
    if (closest == nullptr) return measure(runtime_.plan(runtime_.choice()));
    return above_budget(*closest);
  }

 private:
  double allowed() const {
    return runtime_.choice().budget * runtime_.choice().budget * result_.kv_kl;
  }

  // None: k is asked for, and no keys are predicted to be so close.
  std::optional<std::vector<LayerPlan>> plan_within(double budget) const {
    CacheChoice choice = runtime_.choice();
    choice.budget = budget;
    try {
      return runtime_.plan(choice);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::bad_request) throw;
      return std::nullopt;
    }
  }

  MeasuredModel measure(std::vector<LayerPlan> plan) const {
    MeasuredModel measured{runtime_.new_model(std::move(plan)), result_};
    Divergence divergence;
    add_divergence({reference_.get(), measured.model.get()}, sequences_, {}, divergence);
    measured.calibration.tokens = divergence.tokens();
    measured.calibration.kl = divergence.kl_mean();
    return measured;
  }

  // As plan() does where the closest prediction is above the budget.
  MeasuredModel above_budget(std::vector<LayerPlan> closest) const {
    const std::string why =
        fmt::format("a measured KL of {:.1e}, above the {:.1e} of a budget of {:.2g}", closest_.kl,
                    allowed(), runtime_.choice().budget);
    CacheChoice choice = runtime_.choice();
    if (choice.row_type || choice.forced) {
      for (LayerPlan& layer : closest) layer.reason += "; all together: " + why;
      return {runtime_.new_model(std::move(closest)), closest_};
    }
    if (choice.kind != "auto") {
      throw Error(ErrorCode::bad_request,
                  fmt::format("The cache kind {} does not fit: its closest rows have {}.",
                              choice.kind, why),
                  path_);
    }
    choice.kind = "kv";
    std::vector<LayerPlan> standard = runtime_.plan(choice);
    for (LayerPlan& layer : standard) {
      layer.reason += "; k does not fit: its closest rows have " + why;
    }
    return measure(std::move(standard));
  }

  const Runtime& runtime_;
  const std::string& path_;
  TextSequences sequences_;
  std::unique_ptr<Model> reference_;
  Calibration result_;   // what all measurements share
  Calibration closest_;  // of the plans above the budget
};

}  // namespace

MeasuredModel measure_plan(const Runtime& runtime, const std::string& text) {
  const std::string why = refusal(runtime);
  if (!why.empty()) throw Error(ErrorCode::bad_request, why, "calibration");
  const auto session = runtime.kernels().begin_session();
  return PlanMeter(runtime, text).choose();
}

}  // namespace slim
