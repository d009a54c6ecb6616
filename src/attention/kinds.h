// The kinds there are, each defined in the file of its name. schemes.cpp lists them.
#pragma once

#include "attention/scheme.h"

namespace slim {

const Scheme& kv_kind();
const Scheme& k_kind();
const Scheme& x_kind();
const Scheme& encoder_kind();

}  // namespace slim
