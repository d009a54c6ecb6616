// SpeechNetworkDetector: Silero's network (models/speech_network.h) as the detector that a
// recording's reader asks, many steps at once.
#pragma once

#include <memory>
#include <string>

#include "audio/speech_detector.h"

namespace slim {

// `path`: a file of safetensors, or a directory with model.safetensors. Throws Error{bad_file}.
std::shared_ptr<const SpeechDetector> open_speech_network(const std::string& path);

}  // namespace slim
