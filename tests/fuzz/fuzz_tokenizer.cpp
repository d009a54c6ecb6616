// Fuzzes the tokenizer. Input that starts with '{' is a tokenizer.json: it loads or throws an
// Error, and what loads encodes and decodes. Any other input is a text: its ids must give it back.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/check.h"
#include "fuzz_target.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

namespace slim {
namespace {

void load(std::string_view json) {
  const auto tokenizer = parse_tokenizer(json, "input");
  // The file itself has all of its added tokens, and spaces around some.
  for (const std::string_view text : {json, std::string_view(" a <|b|>  \xC3\xA9\xFF")}) {
    for (const bool specials : {false, true}) {
      tokenizer->decode(tokenizer->encode(text, specials, true), specials);
    }
  }
}

void round_trip(std::string_view text) {
  static const auto tokenizer = Tokenizer::load(std::filesystem::path(SLIM_TEST_DATA) /
                                                "golden/text/tiny_whisper_tokenizer.json");
  for (const bool specials : {false, true}) {
    const auto ids = tokenizer->encode(text, specials);
    check(tokenizer->decode(ids, true) == text, "decoding gives the text back");
    Detokenizer detokenizer(tokenizer);
    std::string streamed;
    for (const int32_t id : ids) streamed += detokenizer.push(id);
    streamed += detokenizer.finish();
    check(streamed == valid_utf8(tokenizer->decode(ids)), "streaming gives the decoded text");
    check(utf8_prefix(streamed) == streamed.size(), "streamed text is UTF-8");
  }
}

}  // namespace
}  // namespace slim

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.starts_with('{')) {
    slim::accept_refusal([&] { slim::load(input); });
  } else {
    slim::round_trip(input);
  }
  return 0;
}
