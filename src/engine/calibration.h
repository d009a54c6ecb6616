// Calibration: of the plans that seal keys, the smallest whose divergence, measured on a text, is
// within the budget. Predictions of errors, made from weights alone, are cautious: smaller rows
// than they allow keep the budget (docs/slim-attention.md).
#pragma once

#include <memory>
#include <string>

#include "models/model.h"
#include "slim/report.h"

namespace slim {

class Runtime;

struct MeasuredModel {
  std::unique_ptr<Model> model;  // under the plan that was chosen
  Calibration calibration;
};

// Plans for a ladder of predicted errors, from 8 times runtime.choice().budget down to a quarter of
// it, are tried until the mean KL from kv in f32 is at most budget^2 times that of kv in bf16: the
// budget is a ratio of amplitudes, and KL goes with their square. If none is: what plan() does
// where no prediction is within the budget (auto: kv; a named type or force: the closest; k:
// Error{bad_request}). Text: 1024 tokens at most, in sequences of min(context, 512), each token
// scored against stored rows. Costs two passes over it, and two for each plan tried; all models but
// the one returned are freed.
//
// Throws Error{bad_request} where nothing is left to choose, and for a text of less than 128
// tokens; Error{bad_file} for one that cannot be read.
MeasuredModel measure_plan(const Runtime& runtime, const std::string& text);

}  // namespace slim
