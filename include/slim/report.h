// Looking inside: what inspect, verify, perplexity, bench and convert find out.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace slim {

struct ContextBytes {
  int64_t kv = 0;
  int64_t slim = 0;
  double ratio() const {
    return slim == 0 ? 0 : static_cast<double>(kv) / static_cast<double>(slim);
  }
};

struct LayerReport {
  int64_t layer = 0;
  std::string attention;              // self, cross
  std::string kind;                   // kv, k, x, encoder
  std::string row_type;               // f32, f16, bf16, i16, i12, i10, i8, i6, i5, i4
  int64_t spill = 0;                  // k: columns beside the keys
  int64_t rank = 0;                   // k: of shaped rounding; 0: plain
  std::optional<double> condition_k;  // of W_K; none without weights
  int64_t bytes_per_token = 0;        // an encoder row all layers share counts in the first
  int64_t hot_bytes_per_token = 0;    // f32 rows of the unsealed page; 0: rows stand alone
  int64_t kv_bytes_per_token = 0;     // a standard cache: rows of the same type, or bf16 if sealed
  std::optional<double> predicted_error;
  std::string reason;
};

// How a plan was chosen by measurement, on EngineOptions::calibration. KL: the mean over its
// tokens, in nats, from kv in f32.
struct Calibration {
  int64_t tokens = 0;  // scored
  double kv_kl = 0;    // of kv in bf16; the plan's is to be within cache_budget^2 times it
  double kl = 0;       // of the plan
  // The predicted error, relative to that of kv in bf16, that led to the plan; 0: kv, because no
  // sealed keys that were tried are within the budget.
  double predicted_budget = 0;
};

struct Inspection {
  std::string model;
  std::string family;
  int64_t encoder_layers = 0, decoder_layers = 0, width = 0, heads = 0, key_heads = 0;
  int64_t mel_bins = 0;  // 0: a model of text, with or without an encoder
  int64_t vocabulary = 0, encoder_positions = 0, decoder_positions = 0;
  int64_t series_context = 0, series_horizon = 0;  // values looked at and foretold at once; 0: text
  bool has_weights = false;
  // Matrices of the file that are held as f32, because nothing multiplies their blocks.
  int64_t unpacked_weights = 0;
  int64_t weight_bytes = 0;  // without weights: what its matrices would take in 16 bits
  // What the cache kinds add to the weights (value maps, spill, shaping), less what they replace.
  int64_t derived_bytes = 0;
  std::string compute_type;  // what products and attention round to: one of compute_types()
  // Where the vocabulary product runs in integers first, and then exactly for every token that may
  // be among the likeliest (log-probabilities are off by some 1e-4, tokens never): what that adds
  // to the weights. Else 0.
  int64_t rounded_head_bytes = 0;
  std::vector<LayerReport> layers;
  std::optional<Calibration> calibration;  // if the plan was measured
  int64_t context_tokens = 0;
  ContextBytes context;            // so many tokens, from pages really allocated, hot ones included
  int64_t context_bf16_bytes = 0;  // a standard cache in bf16: rows alone
};

// The chosen cache and compute type against kv and products in f32, on the same tokens, each scored
// against stored rows.
struct Verification {
  std::string compute_type;  // as of Inspection
  // False: the outputs are numbers (quantiles, in standard deviations of their series), and what is
  // said of distributions (kl, top1) is NaN.
  bool distributions = true;
  int64_t tokens = 0;
  int64_t sequences = 0;
  double logit_rel = 0;  // max |difference| / max |logit|
  double logit_max = 0;  // max |difference|
  double kl_mean = 0;    // nats, in double precision
  double kl_p99 = 0;
  double kl_max = 0;
  double top1 = 0;  // share of tokens with the same most likely successor
  // At the end of the longest sequence, from pages really held; kv in rows of the same type, or in
  // bf16 for sealed rows.
  ContextBytes context;
  int64_t context_tokens = 0;
  int64_t context_bf16_bytes = 0;    // a standard cache in bf16: rows alone
  int64_t bytes_per_token = 0;       // of full pages, self attention of all layers
  int64_t bf16_bytes_per_token = 0;  // the same, of a standard cache in bf16
  std::vector<LayerReport> layers;
};

struct ScoreOptions {
  int64_t context = 0;      // tokens of a sequence; 0: 1024, or the model's if that is less
  int64_t max_tokens = 0;   // of the text; 0: all
  int64_t step_tokens = 0;  // tokens of a pass; 0: chosen by memory
  // After each sequence; returning false stops with what has been scored.
  std::function<bool(int64_t tokens_done, int64_t tokens_total)> on_progress;
};

// How well the model foretells a text under the chosen cache.
struct Perplexity {
  int64_t tokens = 0;  // scored: all but the first of each sequence
  int64_t sequences = 0;
  double nll_mean = 0;   // nats
  double nll_error = 0;  // standard error of the mean
  double perplexity = 0;
  double seconds = 0;
};

struct BenchOptions {
  std::vector<int> batches = {};  // none: 1, 16 and 64 of models with an encoder, or 1 text
  int tokens = 96;         // decoder steps timed, of series no more than it has: what 30 s of
                           // speech come to
  int repeats = 3;         // medians of this many
  int source_tokens = 64;  // of each text that a model of text for text reads
  bool alone = false;      // of models with an encoder: without kv beside, nor its memory
  // Language models; tokens: steps after each prompt.
  std::vector<int> prompts = {512, 1024};
  int64_t step_tokens = 0;  // of a pass; 0: as the device likes them
  // Memory read to find out how fast the device reads; should be several times its caches. 0: 1 GiB
  // of the host's, 2 GiB of a card's, or what of it there is room for.
  int64_t read_bytes = 0;
};

struct BenchRow {
  std::string cache;  // "kv" or "slim"
  std::string row_type;
  int batch = 0;
  int prompt = 0;  // tokens, or those of a source; 0 for speech
  // One window; or a source for each of the batch, with what cross attention stores of them.
  double encode_seconds = 0;
  // From encoder output, or from empty contexts, to first logits (texts of a batch one by one).
  double first_token_seconds = 0;
  double step_seconds = 0;       // one token for each of the batch
  double prompt_rate = 0;        // prompt tokens a second
  double tokens_per_second = 0;  // speech: from encoder output to the last token, the first
                                 // included; language: steps alone
  int64_t context_bytes = 0;
  int64_t peak_rss_bytes = 0;  // of the process so far
  // What a step has to read: weights once, rows once for each layer and sequence that attends to
  // them (the mean of the steps timed).
  int64_t step_weight_bytes = 0;
  int64_t step_row_bytes = 0;
  double read_limit = 0;  // bytes a second of a plain read on the same device; 0: no room for it

  // Bytes a second that a step reads, its sampling and all else counted; and of what is possible.
  double read_rate() const {
    if (step_seconds == 0) return 0;  // no steps after the first
    return static_cast<double>(step_weight_bytes + step_row_bytes) / step_seconds;
  }
  double read_share() const { return read_limit == 0 ? 0 : read_rate() / read_limit; }
};

struct Conversion {
  std::string directory;
  int64_t source_bytes = 0;   // of the tensors read
  int64_t written_bytes = 0;  // of the tensors written
  std::vector<LayerReport> layers;
  std::optional<Calibration> calibration;  // if the plan was measured
  // Of convert_weights: the type asked for, and the largest change of a matrix by rounding (the
  // root of its mean square over the matrix's own), with the matrix's name; 0 where none was.
  std::string weights;
  double rounding = 0;
  std::string rounded;
};

}  // namespace slim
