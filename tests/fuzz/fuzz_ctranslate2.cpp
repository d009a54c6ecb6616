// CTranslate2's model.bin.
#include "weights/ctranslate2.h"

#include "fuzz/fuzz_target.h"
#include "fuzz/fuzz_weights.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  slim::accept_refusal(
      [&] { slim::read_everything(*slim::read_ctranslate2(slim::fuzzed_file(data, size))); });
  return 0;
}
