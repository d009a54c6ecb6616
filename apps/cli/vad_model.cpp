// The places, in their order.
#include "vad_model.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace slim::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kEnergy = "energy";
constexpr const char* kFolder = "silero-vad";

// Without the slash at its end.
fs::path beside(const std::string& model) {
  std::error_code error;
  fs::path path = fs::absolute(model, error).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  return path.parent_path() / kFolder;
}

fs::path installed() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  return program.parent_path().parent_path() / "share" / "slim" / kFolder;
}

}  // namespace

VadModel find_vad_model(const std::string& asked, const std::string& model) {
  const char* const variable = std::getenv("SLIM_VAD_MODEL");
  const std::string named = asked.empty() && variable != nullptr ? variable : asked;
  if (named == kEnergy) return {};
  if (!named.empty()) return {named, ""};
  const fs::path first = beside(model);
  for (const fs::path& place : {first, installed()}) {
    std::error_code error;
    if (fs::exists(place / "model.safetensors", error)) return {place.string(), ""};
  }
  return {"", "Silero's detector of speech is not there (no " + first.string() +
                  "; --vad-model says where), so speech is told by its energy."};
}

}  // namespace slim::cli
