// Compute types: what products take (Inputs), by the names that CTranslate2 and faster-whisper have
// for it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"
#include "weights/checkpoint.h"

namespace slim {

std::vector<std::string> compute_type_names();  // "auto", then one for each
std::string_view name_of(Inputs inputs);

// "auto": i8 where the checkpoint has weights of i8 and the kernels round inputs, else f32.
// `checkpoint` may be null (a config alone). Throws Error{bad_request} for an unknown name, and for
// rounded inputs where the weights or the device have none.
Inputs compute_type(const std::string& name, const Checkpoint* checkpoint, const Kernels& kernels);

}  // namespace slim
