// Pattern over PCRE2.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pattern.h"

#include <pcre2.h>

#include <array>

#include "slim/error.h"
#include "text/pattern_syntax.h"

namespace slim {
namespace {

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

[[noreturn]] void fail(int code) {
  ErrorCode kind = ErrorCode::internal;
  if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAPLIMIT) {
    kind = ErrorCode::out_of_memory;
  } else if (code == PCRE2_ERROR_MATCHLIMIT || code == PCRE2_ERROR_DEPTHLIMIT) {
    kind = ErrorCode::bad_request;
  }
  throw Error(kind, "Splitting text into words failed: " + message_of(code) + ".");
}

}  // namespace

std::string Pattern::compile(const std::string& expression) {
  int error = 0;
  size_t offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset, nullptr);
  if (code == nullptr) return message_of(error);
  code_ = std::shared_ptr<const void>(code, [code](const void*) { pcre2_code_free(code); });
  // Where executable memory is denied, matching falls back to PCRE2's interpreter: slower only.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return {};
}

Pattern::Pattern(const std::string& expression) {
  const std::string wrong = compile(expression);
  if (!wrong.empty()) {
    throw Error(ErrorCode::internal, "The expression '" + expression + "' is malformed: " + wrong);
  }
}

Pattern Pattern::from_file(std::string_view expression, const std::string& place) {
  Pattern pattern;
  std::string wrong;
  const std::string translated = pcre_expression(expression, wrong);
  if (wrong.empty()) wrong = pattern.compile(translated);
  if (!wrong.empty()) {
    throw Error(ErrorCode::unsupported_model,
                "The expression '" + std::string(expression) + "' is not supported: " + wrong + ".",
                place);
  }
  return pattern;
}

Pattern Pattern::literal(std::string_view text) {
  std::string expression;
  for (const char byte : text) {
    // PCRE2 takes any ASCII character but letters and digits literally after a backslash.
    const bool plain = (static_cast<unsigned char>(byte) & 0x80) != 0 ||
                       (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
                       (byte >= 'a' && byte <= 'z');
    if (!plain) expression += '\\';
    expression += byte;
  }
  return Pattern(expression);
}

Matcher::Matcher() {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  if (data == nullptr) fail(PCRE2_ERROR_NOMEMORY);
  data_ = std::shared_ptr<void>(data, [data](void*) { pcre2_match_data_free(data); });
}

std::optional<Matcher::Match> Matcher::find(const Pattern& pattern, std::string_view text,
                                            size_t from) {
  const auto* code = static_cast<const pcre2_code*>(pattern.code_.get());
  auto* data = static_cast<pcre2_match_data*>(data_.get());
  const auto run = [&](uint32_t options) {
    return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                       PCRE2_NO_UTF_CHECK | options, data, nullptr);
  };
  int result = run(0);
  // The interpreter keeps its stack on the heap, so it can finish what the JIT's 32 KiB could not.
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = run(PCRE2_NO_JIT);
  if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (result < 0) fail(result);
  const size_t* ends = pcre2_get_ovector_pointer(data);
  return Match{ends[0], ends[1]};
}

}  // namespace slim
