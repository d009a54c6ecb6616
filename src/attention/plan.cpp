// Chooses a kind for each layer: the user's, or the first that fits and saves memory.
#include "attention/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "attention/row_fit.h"
#include "slim/error.h"

namespace slim {
namespace {

struct Choice {
  std::string_view name;   // what users write
  std::string_view self;   // the kind it asks for
  std::string_view cross;  // and in cross attention
  RowType row_type;        // unless they name one
};

constexpr std::string_view kFallback = "kv";
constexpr std::array kChoices{
    Choice{"auto", "x", "encoder", RowType::f16}, Choice{"kv", "kv", "kv", RowType::f16},
    Choice{"x", "x", "encoder", RowType::f16}, Choice{"k", "k", "k", RowType::f32}};

const Choice& find_choice(const std::string& name) {
  std::string known;
  for (const Choice& choice : kChoices) {
    if (choice.name == name) return choice;
    known += (known.empty() ? "" : ", ") + std::string(choice.name);
  }
  throw Error(ErrorCode::bad_request,
              fmt::format("There is no cache '{}'; there are {}.", name, known), "cache");
}

// A kind that holds a layer, or does not.
struct Candidate {
  std::string_view kind;
  Fit fit;
};

class Planner {
 public:
  Planner(std::span<const LayerRequest> layers, const CacheChoice& asked)
      : layers_(layers),
        asked_(asked),
        choice_(find_choice(asked.kind)),
        type_(asked.row_type.value_or(choice_.row_type)) {}

  std::vector<LayerPlan> run() const {
    std::vector<LayerPlan> plans;
    std::vector<std::pair<std::string_view, int64_t>> stored;  // shared row sets: kind, layer
    for (const LayerRequest& layer : layers_) {
      const Candidate chosen = choose(layer);
      LayerPlan plan{.layer = layer.layer,
                     .cross = layer.spec.cross,
                     .kind = std::string(chosen.kind),
                     .rows = {type_},
                     .condition_k = layer.conditioning.condition_k,
                     .bytes_per_token = chosen.fit.bytes_per_token,
                     .kv_bytes_per_token = kv_bytes(layer.spec),
                     .predicted_error = chosen.fit.predicted_error,
                     .reason = chosen.fit.reason};
      if (chosen.fit.shared_rows) {
        const auto first = std::find_if(stored.begin(), stored.end(), [&](const auto& rows) {
          return rows.first == chosen.kind;
        });
        if (first == stored.end()) {
          stored.emplace_back(chosen.kind, layer.layer);
        } else {
          plan.bytes_per_token = 0;
          plan.reason = fmt::format("reads the rows stored for layer {}", first->second);
        }
      }
      plans.push_back(std::move(plan));
    }
    return plans;
  }

 private:
  Candidate candidate(std::string_view kind, const LayerRequest& layer) const {
    return {kind, scheme(kind).fit(layer.spec, layer.conditioning, {type_})};
  }

  std::string_view wanted(const AttentionSpec& spec) const {
    return spec.cross ? choice_.cross : choice_.self;
  }

  Candidate choose(const LayerRequest& layer) const {
    Candidate chosen = candidate(wanted(layer.spec), layer);
    if (choice_.name == "auto") {
      const std::string why =
          chosen.fit.possible ? refuse_size(chosen.fit, layer)
                              : fmt::format("{} does not fit: {}", chosen.kind, chosen.fit.reason);
      if (why.empty()) return chosen;
      chosen = candidate(kFallback, layer);
      if (chosen.fit.possible) chosen.fit.reason += "; " + why;
    }
    const bool runs = chosen.fit.possible || (asked_.forced && chosen.fit.bytes_per_token > 0);
    if (!runs) refuse(chosen, layer);
    if (!chosen.fit.possible) chosen.fit.reason = "forced: " + chosen.fit.reason;
    return chosen;
  }

  // Why a kind that fits saves nothing here, or "". Rows that layers share are weighed against the
  // standard caches of all of them.
  std::string refuse_size(const Fit& fit, const LayerRequest& layer) const {
    int64_t replaced = kv_bytes(layer.spec);
    if (fit.shared_rows) {
      replaced = 0;
      for (const LayerRequest& other : layers_) {
        const bool joins = wanted(other.spec) == wanted(layer.spec) &&
                           candidate(wanted(other.spec), other).fit.possible;
        if (joins) replaced += kv_bytes(other.spec);
      }
    }
    if (fit.bytes_per_token < replaced) return "";
    return fmt::format("{} would take {} bytes a token where kv takes {}", wanted(layer.spec),
                       fit.bytes_per_token, replaced);
  }

  // Of the standard cache, whether or not it can be had (i8 rows of odd widths cannot).
  int64_t kv_bytes(const AttentionSpec& spec) const {
    return 2 * standing_format(is_float(type_) ? type_ : RowType::bf16,
                               spec.key_heads * spec.head_width)
                   .bytes();
  }

  [[noreturn]] void refuse(const Candidate& chosen, const LayerRequest& layer) const {
    throw Error(ErrorCode::bad_request,
                fmt::format("The cache kind {} with {} rows does not fit: {}.", chosen.kind,
                            name_of(type_), chosen.fit.reason),
                fmt::format("layer {}, {}", layer.layer,
                            layer.spec.cross ? "cross attention" : "self-attention"));
  }

  std::span<const LayerRequest> layers_;
  const CacheChoice& asked_;
  const Choice& choice_;
  RowType type_;
};

}  // namespace

std::vector<LayerPlan> plan(std::span<const LayerRequest> layers, const CacheChoice& choice) {
  return Planner(layers, choice).run();
}

ContextSize context_size(std::span<const LayerPlan> layers, int64_t tokens, int64_t positions) {
  ContextSize size;
  for (const LayerPlan& layer : layers) {
    const int64_t rows = layer.cross ? positions : tokens;
    const int64_t stored = (rows + kPageRows - 1) / kPageRows * kPageRows;
    size.kv += stored * layer.kv_bytes_per_token;
    size.slim += stored * layer.bytes_per_token;
  }
  return size;
}

}  // namespace slim
