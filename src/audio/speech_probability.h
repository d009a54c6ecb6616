// SpeechProbability: how likely each frame of a recording (10 ms) holds speech, by its energy
// alone: no model was trained, and what stands out of the noise counts as speech. In each of six
// bands from 0.2 to 4 kHz, with levels in dB smoothed over 50 ms:
//   floor = tenth percentile of the lowest levels of the half seconds within 10 s either side,
//           at least 55 dB below the recording's loudest bin
//   p     = 1 / (1 + exp(-(s - 9 dB) / 2 dB)),  s = mean of the three largest of level - floor
// Steady noise of any loudness gets p below 0.1. A single click is speech for 50 ms.
#pragma once

#include "audio/log_mel.h"
#include "base/function_ref.h"

namespace slim {

// Calls `take` with the probability of each frame of the recording, in order. Memory does not grow
// with the recording.
void for_speech_probabilities(MelStream& mel, FunctionRef<void(double)> take);

}  // namespace slim
