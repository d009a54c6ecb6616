// A loop over updates.
#include "live.h"

#include <unistd.h>

#include <cstdio>

#include "output.h"
#include "output_format.h"
#include "sound_pipe.h"
#include "subtitles.h"

namespace slim::cli {
namespace {

// The end of a text that fits into a line of a terminal, whole characters.
std::string tail(const std::string& text) {
  constexpr size_t kMost = 76;
  if (text.size() <= kMost) return text;
  size_t begin = text.size() - kMost;
  while (begin < text.size() && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) ++begin;
  return "..." + text.substr(begin);
}

class Lines {
 public:
  explicit Lines(bool json) : json_(json), terminal_(isatty(STDERR_FILENO) != 0) {}
  ~Lines() { show(""); }
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;

  // False if nobody reads any more.
  bool write(const LiveUpdate& update) {
    show("");
    std::string text;
    for (const Segment& segment : update.segments) {
      text += json_ ? live_json(segment) : trimmed(segment.text) + "\n";
    }
    if (json_ && !update.partial.empty()) text += live_json(update.partial, update.seconds);
    if (!text.empty() && !put(text)) return false;
    if (!json_) show(tail(update.partial));
    return true;
  }

 private:
  void show(const std::string& partial) {
    if (!terminal_ || (partial.empty() && !shown_)) return;
    std::fprintf(stderr, "\r\033[K%s", partial.c_str());
    std::fflush(stderr);
    shown_ = !partial.empty();
  }

  bool json_;
  bool terminal_;
  bool shown_ = false;
};

}  // namespace

int transcribe_live(Engine& engine, const std::string& path, const LiveOptions& options,
                    const LiveStyle& style) {
  LiveTranscription live(engine, options);
  if (live.vad_detector() == "energy" && !style.notice.empty()) {
    std::fprintf(stderr, "slim: %s\n", style.notice.c_str());
  }
  SoundPipe pipe(path, style.raw);
  Lines lines(style.json);
  const Interrupt interrupt;
  while (!interrupt.requested()) {
    const std::vector<float> samples = pipe.read();
    if (samples.empty()) break;
    const std::optional<LiveUpdate> update = live.push(samples);
    if (update && !lines.write(*update)) return 0;
  }
  lines.write(live.finish());
  return interrupt.requested() ? kInterrupted : 0;
}

}  // namespace slim::cli
