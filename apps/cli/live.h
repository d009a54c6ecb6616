// `transcribe --live`: text of sound that is still coming in, line by line.
#pragma once

#include <string>

#include "slim/slim.h"

namespace slim::cli {

struct LiveStyle {
  bool raw = false;         // samples without a header
  bool json = false;        // a line of JSON a segment, and one for what may still change
  std::string notice = {};  // said where pauses are found by energy
};

// Reads `path` ("-": standard input) to its end or to Ctrl-C; returns the exit status. Segments go
// to stdout as they become final; what may still change goes to a terminal on stderr, or to stdout
// as JSON.
int transcribe_live(Engine& engine, const std::string& path, const LiveOptions& options,
                    const LiveStyle& style);

}  // namespace slim::cli
