// Fuzzes sentencepiece's .model files: one loads or is refused, and what loads encodes and decodes.
#include <string>
#include <string_view>

#include "fuzz_target.h"
#include "text/sentencepiece_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slim;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  accept_refusal([&] {
    PieceModel model = read_sentencepiece(bytes, "input");
    const Tokenizer tokenizer(make_piece_tokenizer(std::move(model), "input"));
    for (const std::string_view text : {bytes, std::string_view(" the  a</s>\xC3\xA9\xFF")}) {
      for (const bool specials : {false, true}) {
        tokenizer.decode(tokenizer.encode(text, specials, true), specials);
      }
    }
  });
  return 0;
}
