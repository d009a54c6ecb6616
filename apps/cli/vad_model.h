// Where the weights of Silero's detector of speech are looked for.
#pragma once

#include <string>

namespace slim::cli {

struct VadModel {
  std::string path;    // "": speech is told by its energy
  std::string notice;  // what to say of that, where it was not asked for
};

// `asked`: --vad-model, a file or a directory, or "energy" for none; "" looks for one: what
// SLIM_VAD_MODEL says, silero-vad beside the model, and ../share/slim/silero-vad of where this
// program lies.
VadModel find_vad_model(const std::string& asked, const std::string& model);

}  // namespace slim::cli
