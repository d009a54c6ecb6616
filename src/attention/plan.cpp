// Chooses a kind and rows for each layer: the user's, or the first kind that fits and saves memory,
// in the smallest rows whose predicted error is within the budget.
#include "attention/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "attention/k_choices.h"
#include "attention/row_fit.h"
#include "slim/error.h"

namespace slim {
namespace {

struct Choice {
  std::string_view name;    // what users write
  std::string_view self;    // the kind it asks for
  std::string_view rotary;  // where positions rotate keys
  std::string_view cross;   // and in cross attention
};

// Without spill the rounding of M itself, which predictions leave out, is amplified as that of keys
// is: on the trained fixture i12 keys have a KL of 1.4e-4 with none and 1.3e-7 with 8 columns.
constexpr int64_t kLeastSpill = 8;
constexpr std::string_view kFallback = "kv";
constexpr int kLeastBits = 8;  // of keys that nobody asked to be smaller
constexpr std::array kChoices{Choice{"auto", "x", "k", "encoder"}, Choice{"kv", "kv", "kv", "kv"},
                              Choice{"x", "x", "x", "encoder"}, Choice{"k", "k", "k", "k"}};

const Choice& find_choice(const std::string& name) {
  std::string known;
  for (const Choice& choice : kChoices) {
    if (choice.name == name) return choice;
    known += (known.empty() ? "" : ", ") + std::string(choice.name);
  }
  throw Error(ErrorCode::bad_request,
              fmt::format("There is no cache '{}'; there are {}.", name, known), "cache");
}

// A kind that holds a layer in some rows, or does not.
struct Candidate {
  std::string_view kind;
  RowChoice rows;
  Fit fit;
};

// The smallest rows first, then the least work to seal them.
auto size_of(const Candidate& candidate) {
  return std::tuple(candidate.fit.bytes_per_token, candidate.rows.rank, candidate.rows.spill);
}

class Planner {
 public:
  Planner(std::span<const LayerRequest> layers, const CacheChoice& asked)
      : layers_(layers), asked_(asked), choice_(find_choice(asked.kind)) {}

  std::vector<LayerPlan> run() const {
    std::vector<LayerPlan> plans;
    std::vector<std::pair<std::string_view, int64_t>> stored;  // shared row sets: kind, layer
    for (const LayerRequest& layer : layers_) {
      const Candidate chosen = choose(layer);
      LayerPlan plan{.layer = layer.layer,
                     .cross = layer.spec.cross,
                     .kind = std::string(chosen.kind),
                     .rows = chosen.rows,
                     .condition_k = layer.conditioning.condition_k,
                     .bytes_per_token = chosen.fit.bytes_per_token,
                     .hot_bytes_per_token = chosen.fit.hot_bytes_per_token,
                     .kv_bytes_per_token = kv_bytes(layer.spec, chosen),
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
  std::string_view wanted(const AttentionSpec& spec) const {
    if (spec.cross) return choice_.cross;
    return spec.rotary ? choice_.rotary : choice_.self;
  }

  Candidate candidate(std::string_view kind, const LayerRequest& layer,
                      const RowChoice& rows) const {
    return {kind, rows, scheme(kind).fit(layer.spec, layer.conditioning, rows)};
  }

  // The kind in the rows asked for, or in those that suit it best.
  Candidate best(std::string_view kind, const LayerRequest& layer) const {
    if (kind != "k") return candidate(kind, layer, {asked_.row_type.value_or(usual_rows(kind))});
    if (layer.spec.cross || (asked_.row_type && is_float(*asked_.row_type))) {
      // These rows stand alone: nothing seals or shapes them.
      return candidate(kind, layer,
                       {asked_.row_type.value_or(RowType::f32), asked_.spill.value_or(0)});
    }
    return best_keys(layer);
  }

  // Rows that attention multiplies as they are.
  RowType usual_rows(std::string_view kind) const {
    return kind != "kv" && asked_.arithmetic.attention == Inputs::i16 ? RowType::i16 : RowType::f16;
  }

  // Sealed keys: the smallest within the budget. A type that the user names is taken at its word,
  // in its most accurate form if none is within the budget; else such a layer is refused.
  Candidate best_keys(const LayerRequest& layer) const {
    RowChoice usual = kUnknownKeys;
    usual.type = asked_.row_type.value_or(usual.type);
    usual.spill = asked_.spill.value_or(usual.spill);
    usual.rank = asked_.rank.value_or(usual.rank);
    std::vector<Candidate> known;
    for (const KeyError& key : layer.conditioning.key_errors) {
      const bool named = asked_.row_type ? key.rows.type == *asked_.row_type
                                         : bits_of(key.rows.type) >= kLeastBits;
      const bool spilled =
          asked_.spill ? key.rows.spill == *asked_.spill : key.rows.spill >= kLeastSpill;
      const bool suits = named && spilled && key.rows.rank == asked_.rank.value_or(key.rows.rank);
      if (!suits) continue;
      Candidate keys = candidate("k", layer, key.rows);
      if (keys.fit.possible && keys.fit.predicted_error) known.push_back(std::move(keys));
    }
    if (known.empty()) return candidate("k", layer, usual);
    const double allowed = asked_.budget * unit_roundoff(RowType::bf16);
    const auto least = [](const auto& first, const auto& last, auto&& measure) {
      return std::min_element(first, last, [&](const Candidate& a, const Candidate& b) {
        return measure(a) < measure(b);
      });
    };
    const auto within = std::partition(known.begin(), known.end(), [&](const Candidate& keys) {
      return *keys.fit.predicted_error <= allowed;
    });
    if (within != known.begin()) return *least(known.begin(), within, size_of);
    Candidate closest = *least(known.begin(), known.end(), [](const Candidate& keys) {
      return std::tuple(*keys.fit.predicted_error, size_of(keys));
    });
    closest.fit.reason += fmt::format(", above the budget of {:.2g}", asked_.budget);
    closest.fit.possible = asked_.row_type.has_value();
    return closest;
  }

  Candidate choose(const LayerRequest& layer) const {
    if (choice_.name == "auto" && !asked_.stored.empty()) return as_stored(layer);
    const std::string_view kind = wanted(layer.spec);
    Candidate chosen = best(kind, layer);
    if (choice_.name == "auto" && !(asked_.forced && buildable(chosen))) {
      const std::string why = chosen.fit.possible
                                  ? refuse_size(chosen, layer)
                                  : fmt::format("{} does not fit: {}", kind, chosen.fit.reason);
      if (why.empty()) return chosen;
      chosen = best(kFallback, layer);
      if (chosen.fit.possible) chosen.fit.reason += "; " + why;
    }
    if (!chosen.fit.possible && !(asked_.forced && buildable(chosen))) refuse(chosen, layer);
    if (!chosen.fit.possible) chosen.fit.reason = "forced: " + chosen.fit.reason;
    return chosen;
  }

  Candidate as_stored(const LayerRequest& layer) const {
    for (const StoredLayer& stored : asked_.stored) {
      if (stored.layer != layer.layer || stored.cross != layer.spec.cross) continue;
      Candidate chosen = candidate(scheme(stored.kind).name(), layer, stored.rows);
      if (!buildable(chosen)) refuse(chosen, layer);
      chosen.fit.reason = "as converted: " + chosen.fit.reason;
      return chosen;
    }
    throw Error(ErrorCode::bad_file,
                fmt::format("The stored plan has no entry for layer {}.", layer.layer), "plan");
  }

  static bool buildable(const Candidate& candidate) { return candidate.fit.bytes_per_token > 0; }

  // Why a kind that fits saves nothing here, or "". Rows that layers share are weighed against the
  // standard caches of all of them.
  std::string refuse_size(const Candidate& chosen, const LayerRequest& layer) const {
    int64_t replaced = kv_bytes(layer.spec, chosen);
    if (chosen.fit.shared_rows) {
      replaced = 0;
      for (const LayerRequest& other : layers_) {
        const bool joins = wanted(other.spec) == wanted(layer.spec) &&
                           candidate(wanted(other.spec), other, chosen.rows).fit.possible;
        if (joins) replaced += kv_bytes(other.spec, chosen);
      }
    }
    if (chosen.fit.bytes_per_token < replaced) return "";
    return fmt::format("{} would take {} bytes a token where kv takes {}", chosen.kind,
                       chosen.fit.bytes_per_token, replaced);
  }

  // Of the standard cache: in the same type where these rows stand alone, else in bf16; whether or
  // not it can be had (i8 rows of odd widths cannot).
  static int64_t kv_bytes(const AttentionSpec& spec, const Candidate& chosen) {
    const bool alone = chosen.fit.hot_bytes_per_token == 0;
    return 2 * standing_format(alone ? chosen.rows.type : RowType::bf16,
                               spec.key_heads * spec.head_width)
                   .bytes();
  }

  [[noreturn]] void refuse(const Candidate& chosen, const LayerRequest& layer) const {
    throw Error(ErrorCode::bad_request,
                fmt::format("The cache kind {} with {} rows does not fit: {}.", chosen.kind,
                            name_of(chosen.rows.type), chosen.fit.reason),
                fmt::format("layer {}, {}", layer.layer,
                            layer.spec.cross ? "cross attention" : "self-attention"));
  }

  std::span<const LayerRequest> layers_;
  const CacheChoice& asked_;
  const Choice& choice_;
};

}  // namespace

std::vector<LayerPlan> plan(std::span<const LayerRequest> layers, const CacheChoice& choice) {
  return Planner(layers, choice).run();
}

bool only_sealed(std::span<const LayerPlan> layers) {
  return std::all_of(layers.begin(), layers.end(), [](const LayerPlan& layer) {
    return layer.cross || layer.hot_bytes_per_token > 0;
  });
}

}  // namespace slim
