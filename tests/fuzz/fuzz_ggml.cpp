// whisper.cpp's ggml files, and the tokenizer made from what they list.
#include "engine/ggml_text.h"
#include "fuzz/fuzz_target.h"
#include "fuzz/fuzz_weights.h"
#include "weights/ggml.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  slim::accept_refusal([&] {
    const auto weights = slim::read_ggml(slim::fuzzed_file(data, size));
    slim::read_everything(*weights);
    slim::read_ggml_tokenizer(*weights->extras(), 1 << 16, "input");
  });
  return 0;
}
