// Pattern over PCRE2. Matches are anchored at compile time, since the JIT does not take the flag at
// match time, and the subject starts where the match must: no offset, nothing looked at before it.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pattern.h"

#include <pcre2.h>

#include <array>

#include "slim/error.h"

namespace slim {
namespace {

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

[[noreturn]] void fail(int code) {
  const bool memory = code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAPLIMIT;
  throw Error(memory ? ErrorCode::out_of_memory : ErrorCode::internal,
              "Splitting text into words failed: " + message_of(code) + ".");
}

}  // namespace

const std::string& white_space() {
  static const std::string set =
      R"(\t-\r\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
  return set;
}

Pattern::Pattern(const std::string& expression) {
  int error = 0;
  size_t offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                    PCRE2_UTF | PCRE2_ANCHORED, &error, &offset, nullptr);
  if (code == nullptr) fail(error);
  code_ = std::shared_ptr<const void>(code, [code](const void*) { pcre2_code_free(code); });
  // Where executable memory is denied, matching falls back to PCRE2's interpreter: slower only.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
}

Matcher::Matcher(const Pattern& pattern) : code_(pattern.code_) {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  if (data == nullptr) fail(PCRE2_ERROR_NOMEMORY);
  data_ = std::shared_ptr<void>(data, [data](void*) { pcre2_match_data_free(data); });
}

size_t Matcher::match(std::string_view text) {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  auto* data = static_cast<pcre2_match_data*>(data_.get());
  const auto run = [&](uint32_t options) {
    return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0,
                       PCRE2_NO_UTF_CHECK | options, data, nullptr);
  };
  int result = run(0);
  // The interpreter keeps its stack on the heap, so it can finish what the JIT's 32 KiB could not.
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = run(PCRE2_NO_JIT);
  if (result == PCRE2_ERROR_NOMATCH) return 0;
  if (result < 0) fail(result);
  return pcre2_get_ovector_pointer(data)[1];
}

}  // namespace slim
