// Decoding steps that are gathered and run as graphs (kernels/cuda/step_graphs.h) on the emulated
// card: the same to the bit as launches one by one, and nearly nothing to set anew from one step to
// the next.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "kernels/cuda/device_kernels.h"
#include "kernels/staged_kernels.h"
#include "models/golden.h"

namespace slim::test {
namespace {

using emulated::CudaDevice;
using Counts = emulated::StepGraphs::Counts;

// The card's kernels, told of no steps: everything is launched when it is asked for.
class OneByOne final : public WrappedKernels<OneByOne> {
 public:
  OneByOne() : WrappedKernels(device_kernels("emulated", 1)) {}
  std::string_view name() const override { return inner().name(); }
  Device& device() override { return inner().device(); }
  template <typename Arguments>
  void run(const Arguments& arguments, void (Kernels::*operation)(const Arguments&)) {
    (inner().*operation)(arguments);
  }
};

class StepGraphs : public testing::TestWithParam<const char*> {
 protected:
  StepGraphs()
      : files_(open_model(folder())),
        weights_(std::make_shared<const ModelWeights>(files_.spec, *files_.checkpoint)),
        scored_(read_scored(folder() / "expected")) {}

  static std::filesystem::path folder() {
    return std::filesystem::path(SLIM_TEST_DATA) / "golden" / "lm" / GetParam();
  }
  std::span<const int32_t> text(size_t sequence, size_t begin, size_t count) const {
    return std::span(scored_.tokens[sequence]).subspan(begin, count);
  }
  // Two sequences, one of which fills a page on the way.
  std::vector<std::vector<float>> decode(Kernels& kernels, const CacheChoice& choice) const {
    const Model model(files_.spec, weights_, kernels, choice, scored_.length());
    Decoding decoding(model, 2, scored_.length());
    std::vector<std::vector<float>> all;
    const auto add = [&](const Tensor& logits) {
      all.emplace_back(floats(logits).begin(), floats(logits).end());
    };
    add(decoding.step({text(0, 0, 57), text(1, 0, 30)}));
    for (size_t i = 0; i < 12; ++i) add(decoding.step({text(0, 57 + i, 1), text(1, 30 + i, 1)}));
    add(decoding.step({text(0, 69, 1), {}}));
    return all;
  }
  static Counts counts() { return emulated::cuda_device(0).graphs().counts(); }

  ModelFiles files_;
  std::shared_ptr<const ModelWeights> weights_;
  Scored scored_;
};

TEST_P(StepGraphs, ComputeTheSameBits) {
  for (const char* kind : {"kv", "k"}) {
    const CacheChoice choice =
        cache(kind, std::string(kind) == "kv" ? RowType::bf16 : RowType::i12, true);
    OneByOne one_by_one;
    const auto expected = decode(one_by_one, choice);
    const Counts before = counts();
    const std::unique_ptr<Kernels> kernels = device_kernels("emulated", 1);
    EXPECT_EQ(decode(*kernels, choice), expected) << kind;
    const Counts after = counts();
    // All steps but those whose kernels were called for the first time.
    EXPECT_GE(after.runs - before.runs, 8) << kind;
    // With and without a page to seal, of two sequences and of one; each half of that where a norm
    // after a branch clears memory between launches (olmo2).
    EXPECT_LE(after.graphs - before.graphs, 4) << kind;
    // A step of 30 launches or more sends some hundred bytes and leaves the graph as it is.
    EXPECT_LE(after.uploaded - before.uploaded, 14 * 4096) << kind;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, StepGraphs, testing::Values("llama", "gpt2", "olmo2"),
                         [](const auto& instance) { return std::string(instance.param); });

}  // namespace
}  // namespace slim::test
