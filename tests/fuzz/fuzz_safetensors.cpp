// Safetensors, as given; and once more with the header's length made right, which mutations rarely
// get right by themselves.
#include <cstring>
#include <vector>

#include "fuzz/fuzz_target.h"
#include "fuzz/fuzz_weights.h"
#include "weights/safetensors.h"

namespace {

void read(const uint8_t* data, size_t size) {
  slim::accept_refusal([&] {
    slim::CheckpointBuilder builder("safetensors", "input");
    slim::read_safetensors(slim::fuzzed_file(data, size), builder);
    slim::read_everything(*builder.finish());
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  read(data, size);
  std::vector<uint8_t> repaired(data, data + size);
  uint64_t end = size;
  while (end > 8 && repaired[end - 1] != '}') --end;
  if (end <= 8) return 0;
  end -= 8;
  std::memcpy(repaired.data(), &end, sizeof end);
  read(repaired.data(), repaired.size());
  return 0;
}
