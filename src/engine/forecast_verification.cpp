// Verification of models of series: of a model that draws, the likeliest path under kv in f32,
// through both caches; of one that gives quantiles, these.
#include <limits>

#include "engine/logits.h"
#include "engine/paired_scorer.h"
#include "engine/runtime.h"
#include "engine/series_source.h"
#include "engine/step_batch.h"

namespace slim {
namespace {

// From the start token on, as many as the model foretells values at a time.
std::vector<int32_t> likeliest_path(const Model& model, ConstMatrix encoded) {
  const SeriesSpec& series = model.spec().series;
  std::vector<int32_t> tokens = {series.start};
  if (series.patch > 0) return tokens;
  const PageTable rows = model.remember(encoded);
  Sequence sequence{model.new_sequence(), &rows};
  StepBatch step(model);
  while (std::ssize(tokens) < series.horizon) {
    step.clear();
    step.add(sequence, std::span(tokens).last(1));
    step.run();
    step.logits(0)[static_cast<size_t>(series.end)] = -std::numeric_limits<float>::infinity();
    check_logits(step.logits(0));
    tokens.push_back(static_cast<int32_t>(argmax(step.logits(0))));
  }
  return tokens;
}

}  // namespace

Verification verify_forecast(Runtime& runtime, const std::vector<Series>& series,
                             const ForecastOptions& options) {
  require_series(runtime);
  require_kv(runtime);
  const std::vector<std::vector<float>> all = checked_series(runtime, series);
  const auto session = runtime.kernels().begin_session();
  const Model& reference = runtime.model(kv_choice(RowType::f32));
  PairedScorer scorer(reference, runtime.model());
  const ModelSpec& spec = runtime.spec();
  for (size_t i = 0; i < all.size(); ++i) {
    const SeriesSource source =
        spec.series.patch > 0 ? cut_patches(spec.series, all[i]) : SeriesBins(spec).read(all[i]);
    const auto encode = [&](const Model& model) { return encode_series(model, source); };
    scorer.score(encode, likeliest_path(reference, encode(reference).matrix()));
    if (options.on_done && !options.on_done(i + 1, all.size())) break;
  }
  Verification result = scorer.verification();
  if (spec.series.patch > 0) {
    constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
    result.distributions = false;
    result.kl_mean = result.kl_p99 = result.kl_max = result.top1 = kNone;
  }
  return result;
}

}  // namespace slim
