// Stop strings are looked for in characters, not tokens: the detokenizer has put those together.
#include "engine/text_stream.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "slim/error.h"
#include "text/utf8.h"

namespace slim {
namespace {

// Bytes at the end of `text` that could be the start of `stop`, less than all of it.
size_t overlap(std::string_view text, std::string_view stop) {
  for (size_t size = std::min(text.size(), stop.size() - 1); size > 0; --size) {
    if (text.ends_with(stop.substr(0, size))) return size;
  }
  return 0;
}

}  // namespace

TextStream::TextStream(std::shared_ptr<const Tokenizer> tokenizer,
                       std::span<const std::string> stops, bool continues)
    : detokenizer_(std::move(tokenizer), continues), stops_(stops.begin(), stops.end()) {
  for (const std::string& stop : stops_) {
    if (stop.empty()) {
      throw Error(ErrorCode::bad_request, "A stop string must not be empty.", "stop");
    }
    if (utf8_prefix(stop) != stop.size()) {
      throw Error(ErrorCode::bad_request, "A stop string must be valid UTF-8.", "stop");
    }
  }
}

std::string TextStream::release(std::string piece) {
  text_ += piece;
  return piece;
}

std::string TextStream::push(int32_t token) {
  if (!stop_.empty()) return {};
  held_ += detokenizer_.push(token);
  size_t first_end = held_.size() + 1;
  size_t keep = 0;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    keep = std::max(keep, overlap(held_, stop));
    if (at == std::string::npos) continue;
    const size_t end = at + stop.size();
    if (end > first_end || (end == first_end && stop.size() < stop_.size())) continue;
    first_end = end;
    stop_ = stop;
  }
  const size_t size = stop_.empty() ? held_.size() - keep : first_end - stop_.size();
  std::string piece = held_.substr(0, size);
  held_.erase(0, size);
  return release(std::move(piece));
}

std::string TextStream::finish() {
  if (!stop_.empty()) return {};
  return release(std::exchange(held_, {}) + detokenizer_.finish());
}

}  // namespace slim
