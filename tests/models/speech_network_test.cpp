// SpeechNetwork against PyTorch, in steps that are cut anyhow, and what it refuses.
#include "models/speech_network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "error_matchers.h"
#include "models/golden.h"
#include "temporary_folder.h"

namespace slim {
namespace {

namespace fs = std::filesystem;
using test::floats;

const fs::path kGolden = fs::path(SLIM_TEST_DATA) / "golden" / "speech_network";

// What the golden recording's samples are to run(): zeros before them, and after them to the end of
// a step.
std::vector<float> heard(const Checkpoint& expected) {
  const Tensor samples = expected.get("samples", {-1}).to_f32();
  std::vector<float> all(SpeechNetwork::kBefore);
  all.insert(all.end(), floats(samples).begin(), floats(samples).end());
  const int64_t steps = expected.get("probabilities", {-1}).elements();
  all.resize(static_cast<size_t>(SpeechNetwork::kBefore + steps * SpeechNetwork::kStep));
  return all;
}

TEST(SpeechNetwork, SaysWhatPyTorchSays) {
  const SpeechNetwork network(*Checkpoint::open(kGolden));
  const auto expected = Checkpoint::open(kGolden / "expected");
  const std::span<const float> wanted = floats(expected->get("probabilities"));
  SpeechNetwork::State state = network.start();
  std::vector<float> got(wanted.size());
  network.run(heard(*expected), state, got);
  // Sums of 256 products and a few layers in f32; probabilities lie from 0.03 to 0.77.
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], 2e-6) << i;
}

TEST(SpeechNetwork, GoesOnFromItsState) {
  const SpeechNetwork network(*Checkpoint::open(kGolden));
  const std::vector<float> samples = heard(*Checkpoint::open(kGolden / "expected"));
  std::vector<float> whole((samples.size() - SpeechNetwork::kBefore) / SpeechNetwork::kStep);
  SpeechNetwork::State state = network.start();
  network.run(samples, state, whole);
  state = network.start();
  size_t first = 0;
  for (const size_t count : {size_t{1}, size_t{0}, size_t{4}, whole.size() - 5}) {
    std::vector<float> part(count);
    network.run(std::span(samples).subspan(first * SpeechNetwork::kStep,
                                           SpeechNetwork::kBefore + count * SpeechNetwork::kStep),
                state, part);
    for (size_t i = 0; i < count; ++i) EXPECT_NEAR(part[i], whole[first + i], 1e-6) << first + i;
    first += count;
  }
}

// The golden network's file with the first `from` of it replaced.
std::string changed(const std::string& from, const std::string& to) {
  std::ifstream file(kGolden / "model.safetensors", std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  std::string text = bytes.str();
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(SpeechNetwork, RefusesOtherWeights) {
  const TemporaryFolder folder;
  const auto refuses = [&](const std::string& bytes,
                           std::initializer_list<std::string_view> parts) {
    const fs::path file = folder.write("any name.safetensors", bytes);
    return fails_with(ErrorCode::bad_file, parts,
                      [&] { const SpeechNetwork network(*Checkpoint::open(file)); });
  };
  EXPECT_TRUE(refuses(changed("conv2.bias", "conv9.bias"), {"conv2.bias", "missing"}));
  EXPECT_TRUE(refuses(changed("\"shape\":[6,5,3]", "\"shape\":[5,6,3]"), {"conv1", "[any, 5, 3]"}));
  EXPECT_TRUE(refuses(changed("\"shape\":[36,9]", "\"shape\":[9,36]"), {"weight_hh", "[144, 36]"}));
  std::string other = changed("stft_conv", "stft_conv");
  const size_t header =
      static_cast<unsigned char>(other[0]) + 256 * static_cast<unsigned char>(other[1]);
  other.replace(8 + header + 400, 4, std::string(4, '\0'));  // of the basis, which comes first
  EXPECT_TRUE(refuses(other, {"stft_conv.weight", "window's cosines and sines"}));
  std::string infinite = changed("conv1", "conv1");
  infinite.replace(infinite.size() - 2, 2, std::string("\x00\x7c", 2));
  EXPECT_TRUE(refuses(infinite, {"not finite"}));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"none.safetensors"},
                         [&] { Checkpoint::open(folder.path() / "none.safetensors"); }));
}

}  // namespace
}  // namespace slim
