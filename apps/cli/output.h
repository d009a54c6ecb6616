// Standard output, standard input and Ctrl-C, for commands that write as they go.
#pragma once

#include <string>

namespace slim::cli {

// Writes to stdout at once. False if nobody reads it any more (a closed pipe: `| head`); throws
// Error{bad_file} if writing fails otherwise.
bool put(const std::string& text);

// Flushes what printf has left. Throws as put() does; a closed pipe is no failure.
void finish_output();

// A whole file, or stdin for "-". Throws Error{bad_file}.
std::string read_text(const std::string& path);

// One line of stdin without its end. False at the end of input, or when Ctrl-C interrupts.
bool read_line(std::string* line);

// While one of these lives, the first Ctrl-C is noted instead of ending the process; a second one
// ends it.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool requested() const;
  void rearm();  // forgets it
};

// The status a shell expects of what Ctrl-C ended.
constexpr int kInterrupted = 130;

}  // namespace slim::cli
