// GGUF: every tensor, every key as every type, and what each family makes of them.
#include "fuzz/fuzz_target.h"
#include "fuzz/fuzz_weights.h"
#include "models/family.h"
#include "models/gguf_fields.h"
#include "weights/gguf.h"

namespace {

void read_key(const slim::GgufMetadata& keys, const std::string& key) {
  if (!keys.has(key)) std::abort();
  slim::accept_refusal([&] { keys.integer(key, -1, 1000); });
  slim::accept_refusal([&] { keys.real(key); });
  slim::accept_refusal([&] { keys.boolean(key); });
  slim::accept_refusal([&] { std::string(keys.string(key)); });
  slim::accept_refusal([&] { keys.integers(key, -1, 1000); });
  slim::accept_refusal([&] { keys.reals(key); });
  slim::accept_refusal([&] { keys.booleans(key); });
  slim::accept_refusal([&] {
    for (const auto text : keys.strings(key)) std::string{text};
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  slim::accept_refusal([&] {
    const auto weights = slim::read_gguf(slim::fuzzed_file(data, size));
    slim::read_everything(*weights);
    for (const auto& key : weights->metadata()->keys()) read_key(*weights->metadata(), key);
    for (const slim::Family& family : slim::families()) {
      if (family.read_gguf == nullptr) continue;
      slim::accept_refusal([&] { family.read_gguf(slim::GgufFields(*weights)); });
    }
  });
  return 0;
}
