// The plan: which kind and row type each attention layer gets, and why. Pure: it looks at specs and
// conditioning, never at weights or devices.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "attention/scheme.h"

namespace slim {

// What a converted model was stored for.
struct StoredLayer {
  int64_t layer = 0;
  bool cross = false;
  std::string kind;
  RowChoice rows;
};

// What the user asked for. "auto": slim wherever a kind is sound: self-attention without rotation:
// x; with it: k; cross: encoder; else kv. kind "kv", "x" (x and encoder) or "k" apply to every
// layer.
struct CacheChoice {
  std::string kind = "auto";
  // None: f16, or i16 for x and encoder where attention is in it; for k chosen by budget.
  std::optional<RowType> row_type = {};
  // The largest predicted error accepted, relative to that of kv in bf16 (1: no worse). Of the row
  // types within it the smallest is taken, then the smallest spill and rank.
  double budget = 1.0;
  std::optional<int64_t> spill = {};  // r, for every k layer; none: chosen
  std::optional<int64_t> rank = {};   // of shaped rounding, likewise
  bool forced = false;                // run a refused combination all the same (verify, to show it)
  // "auto" of a converted model: one for each layer, whatever else is asked for. Else empty.
  std::vector<StoredLayer> stored = {};
  // Of no cache, but what a model runs with as well. Plans heed what attention takes: of i16 it
  // takes rows of i16.
  Arithmetic arithmetic = {};
};

struct LayerRequest {
  int64_t layer = 0;
  AttentionSpec spec;
  Conditioning conditioning;
};

struct LayerPlan {
  int64_t layer = 0;
  bool cross = false;
  std::string kind;
  RowChoice rows;
  std::optional<double> condition_k = {};
  int64_t bytes_per_token = 0;      // of full pages; a shared encoder row counts in its first layer
  int64_t hot_bytes_per_token = 0;  // of the rows of the hot page; 0 if nothing is sealed
  // Of the standard cache: in rows of the same type where they stand alone, else in bf16.
  int64_t kv_bytes_per_token = 0;
  std::optional<double> predicted_error = {};
  std::string reason = {};  // a clause for people, without a full stop
};

// Throws Error{bad_request} with the scheme's reason where the choice does not fit a layer (and is
// not forced), or names no kind.
std::vector<LayerPlan> plan(std::span<const LayerRequest> layers, const CacheChoice& choice);

// Whether all self layers seal their rows: then the last, open page is the hot page alone.
bool only_sealed(std::span<const LayerPlan> layers);

}  // namespace slim
