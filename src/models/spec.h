// ModelSpec: what a model is, as data. Typed and closed: a family fills it in from its config, the
// rest of the engine runs it, and no family name appears outside models/families/. Every field says
// which families need it; a config value that has no field here is an Error, never a default.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attention/scheme.h"
#include "kernels/kernels.h"
#include "tensor/rotation.h"

namespace slim {

// How tokens learn where they are.
enum class Positions : uint8_t {
  learned,   // a table added to the embedding (Whisper, GPT-2, OPT, BART)
  sinusoid,  // the same of sines and cosines, computed where a file has none (Whisper's encoder,
             // Marian, Pegasus, M2M100)
  rotary,    // queries and keys are turned (Llama, Phi, Gemma, StableLM, GPT-NeoX, Qwen, OLMo,
             // Cohere)
  alibi,     // a slope per head on the distance (MPT, BLOOM)
  relative,  // a number per head and distance, which a table has by buckets (T5)
};

enum class RopeScaling : uint8_t { none, linear, dynamic, yarn, llama3, longrope };

// Rotary positions. The frequency of pair i is base^(-2i / width), then scaled:
//   linear    / factor
//   dynamic   base grown for the context the model was opened with, where that is longer than
//             `original`: what Transformers uses for a sequence of exactly that length
//   yarn, llama3  by wavelength, between kept and divided by factor
//   longrope  / short_factors[i] while a sequence has at most `original` positions, else
//             / long_factors[i]: two regimes; crossing over needs the sequence to be computed anew
struct RopeSpec {
  int64_t width = 0;         // columns of a head that rotate: all, or fewer (Phi-2, NeoX, StableLM)
  bool interleaved = false;  // pairs are neighbours (Cohere, GPT-J, GGUF's llama), else halves
  double base = 10000.0;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1.0;
  int64_t original = 0;         // positions it was trained on
  double low_frequency = 1.0;   // llama3
  double high_frequency = 4.0;  // llama3
  double beta_fast = 32.0;      // yarn
  double beta_slow = 1.0;       // yarn
  bool truncate = true;         // yarn: correction range to whole pairs
  double magnitude = 1.0;       // on cos and sin: yarn's and longrope's attention factor
  std::vector<double> short_factors, long_factors;  // [width / 2], longrope
  std::vector<double> divisors;  // [width / 2] or none: GGUF's rope.factors (llama3 precomputed)
};

// Radians a position of each pair, by regime: one, or two (short, long) with longrope and a context
// beyond `original`. Rounded to f32 where Transformers rounds.
std::vector<std::vector<float>> rope_frequencies(const RopeSpec& rope, int64_t context);
// A rotation for each regime. `context`: positions it must serve.
std::vector<std::shared_ptr<const Rotation>> rotations(const RopeSpec& rope, int64_t context);

// Where the norms of a layer stand, and what adds up (a: attention, m: MLP).
enum class Residual : uint8_t {
  sequential,  // x += a(norm(x));  x += m(norm(x))
  parallel,    // x += a(norm(x)) + m(norm'(x)); norm' is norm if shared_norm (Phi-2, Cohere, GPT-J)
  after_branch,  // x += norm(a(x));  x += norm(m(x))      (OLMo-2)
  after_sum,     // x = norm(x + a(x));  x = norm(x + m(x))  (OPT-350m, Marian, BART)
};

struct NormSpec {
  NormKind kind = NormKind::layer;
  float epsilon = 1e-5F;
  bool gain = true;        // OLMo-1 has none
  bool offset = true;      // layer norm's bias; MPT, Cohere have none
  float gain_base = 0.0F;  // added to the stored gain: 1 (Gemma)
};

// How the file packs the three projections of an attention layer.
enum class Packing : uint8_t {
  separate,  // q, k, v
  stacked,   // qkv: rows of q, then of k, then of v (Phi-3, MPT, GPT-2)
  by_head,   // qkv: for each head its rows of q, k, v (GPT-NeoX, BLOOM)
};

// One stack of layers with a final norm.
struct StackSpec {
  int64_t layers = 0;      // L
  int64_t width = 0;       // D
  int64_t heads = 0;       // H
  int64_t key_heads = 0;   // G; 0: H
  int64_t head_width = 0;  // C; 0: D / H. Gemma-7B, T5-11B: H * C > D
  int64_t mlp_width = 0;   // F
  int64_t positions = 0;   // rows of the position table, or the longest context
  Residual residual = Residual::sequential;
  bool shared_norm = false;
  NormSpec norm;
  bool final_norm = true;  // OPT-350m, Marian and BART have none
  Activation activation = Activation::gelu;
  bool gated = false;        // down(activation(gate(x)) * up(x)), else down(activation(up(x)))
  bool packed_gate = false;  // the file stacks gate over up as gate_up (Phi-3)
  bool up_first = false;     // ... up over gate (Moonshine)
  Packing packing = Packing::separate;
  bool inputs_first = false;  // files hold [inputs, outputs] (GPT-2's Conv1D)
  bool qkv_bias = true, out_bias = true, mlp_bias = true;
  bool key_bias = true;  // false: q and v have biases, k has none (Whisper); zeros are accepted
  Positions position_kind = Positions::learned;
  int64_t position_offset = 0;  // rows of the table before position 0: 2 (OPT, BART, M2M100)
  int64_t sinusoid_steps = 0;   // position t: sin and cos of t w_i, w_i = 10000^(-i / steps)
  int64_t buckets = 0;          // of relative positions; half of them lie ahead in an encoder
  int64_t bias_reach = 0;       // distances of relative positions: those beyond share a bucket
  RopeSpec rope;
  double alibi_max = 8.0;  // ALiBi slopes are 2^(-alibi_max * (i + 1) / H), as for powers of two
  // Attention.
  float score_scale = 0.0F;         // 0: C^-1/2; T5: 1
  float score_cap = 0.0F;           // soft cap on scores
  std::vector<int64_t> windows;     // by layer, 0: none; empty: none anywhere
  float clip = 0.0F;                // q, k and v clamped to +-clip (OLMo-1, MPT); 0: not
  KeyNorm qk_norm = KeyNorm::none;  // on q and k alike
  NormKind qk_norm_kind = NormKind::rms;

  int64_t key_head_count() const { return key_heads == 0 ? heads : key_heads; }
  int64_t width_of_head() const {
    return head_width != 0 ? head_width : heads == 0 ? 0 : width / heads;
  }
  bool is_absolute() const {
    return position_kind == Positions::learned || position_kind == Positions::sinusoid;
  }
  // The attention of a layer; rotations must have been made for the context.
  AttentionSpec self(bool causal, int64_t layer = 0) const;
  AttentionSpec cross(int64_t encoder_width) const;
};

// A model that foretells series of numbers: what its encoder reads of one, and what its decoder
// says.
struct SeriesSpec {
  int64_t context = 0;  // values it looks at, the last ones of a series
  int64_t horizon = 0;  // values it foretells at a time; 0: not such a model
  int32_t start = 0;    // token that the decoder begins with
  // By patches (Chronos-Bolt): values less their mean over their standard deviation, `patch` at a
  // time and one patch every `stride`; the decoder's first step gives quantiles of all values.
  int64_t patch = 0;           // 0: by tokens
  int64_t stride = 0;          // at most patch
  bool closed = false;         // token 1 follows the patches (REG)
  std::vector<double> levels;  // of the quantiles, ascending, in (0, 1)
  // By tokens (Chronos): a value over the mean |value| becomes its bin, one of centers that lie
  // evenly in [low, high]; the decoder writes tokens. Bin b is token b + specials.
  double low = 0, high = 0;
  int64_t specials = 0;  // tokens before the bins
  int32_t padding = 0, end = 0;
  bool ended = false;   // the end token follows the values
  int64_t samples = 0;  // what the file says of drawing
  int64_t top_k = 0;
  double temperature = 1, top_p = 1;
};

struct ModelSpec {
  std::string family;      // "whisper": for people; nothing branches on it
  int64_t vocabulary = 0;  // V
  // What the encoder is given: audio of so many mel bins, 80 or 128, through two convolutions
  // (Whisper); or its samples, through three (Moonshine); or a series of numbers (Chronos); or else
  // tokens (T5, Marian, BART).
  int64_t mel_bins = 0;
  bool waveform = false;
  SeriesSpec series;
  int64_t source_vocabulary = 0;  // of an encoder that reads, where it has its own (Marian); 0: V
  StackSpec encoder;              // no layers: a language model
  StackSpec decoder;              // has cross attention if there is an encoder
  bool tied_head = true;          // logits by the embedding's own table
  bool head_bias = false;         // Phi-2, GPT-J; BART's final_logits_bias
  float head_factor = 1.0F;       // on the final norm, for the head: D^-1/2 (T5 v1.0)
  int64_t embed_width = 0;        // OPT-350m: the embedding is projected to D, and back; 0: D
  // The last token's embedding is zeros and it is never predicted: decoding starts from it, and
  // neither table has a row for it (CTranslate2's Marian).
  bool zero_start = false;
  float embed_factor = 1.0F;  // on the embedding, of either side: sqrt(D) (Gemma, Marian)
  bool embed_norm = false;    // of either side (BLOOM, BART)
  float logit_scale = 1.0F;   // Cohere
  float logit_cap = 0.0F;     // Gemma-2
  // (layer, head) pairs of cross attention that follow the audio in time; of a config alone, may be
  // empty. (Whisper)
  std::vector<std::vector<int64_t>> alignment_heads;

  bool has_encoder() const { return encoder.layers > 0; }
  bool hears() const { return mel_bins > 0 || waveform; }
  bool forecasts() const { return series.horizon > 0; }
  bool reads() const { return has_encoder() && !hears() && !forecasts(); }
  // Numbers that the decoder gives for a token: logits of V tokens, or quantiles of the values.
  int64_t outputs() const {
    return series.patch > 0 ? series.horizon * static_cast<int64_t>(series.levels.size())
                            : vocabulary - (zero_start ? 1 : 0);
  }
};

// The attention layers a cache is planned for, in order: self (and cross, with an encoder) of
// decoder layer 0, 1, ... Without rotations made: for planning.
std::vector<AttentionSpec> attention_layers(const ModelSpec& spec);

}  // namespace slim
