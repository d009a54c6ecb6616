// Kernels: everything a device can do, as one abstract class of coarse operations on plain argument
// structs. Three implementations: reference (naive loops, double accumulation: the specification
// and the oracle), cpu and cuda. Tests iterate kernel_names() and compare each with
// reference. Kernels know matrices and paged rows; they do not know caches, layers or models.
//
// Shapes: T tokens of this step, N outputs, K inputs, H heads, G key heads, C head width, D model
// width, S cached rows. Activations are f32 matrices; weights are of any DType but i32 and are
// never expanded as a whole; those of i8 and i16 have one f32 scale per output beside them.
// Accumulation is at least f32. NaN and infinity propagate. Results do not depend on the number of
// threads, nor on the other sequences of a batch, beyond f32 rounding.
//
// Matrices, weights with their scales and biases, vectors of gains and slopes, tables of biases and
// pages lie in the memory of the kernels' device(). Spans, and the structs they hold, rotations and
// Shaping structs lie in the host's; the addresses within them (pages, hot pages, u and g) are the
// device's.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "tensor/device.h"
#include "tensor/rotation.h"
#include "tensor/row_format.h"
#include "tensor/tensor.h"

namespace slim {

enum class Activation : uint8_t { none, relu, gelu, gelu_tanh, silu, tanh };  // gelu: with erf

// What a product takes for x, where Kernels::takes() it, and attention, where Kernels::attends()
// so; else f32.
//   f16:     each number is rounded to 11 bits, off by 2^-12 of itself or 2^-40 of its row's
//            largest, or to 16 bits beside bf16 and block weights. Only where there are many rows,
//            whatever the weights but f32. For attention: queries, keys, values and weights of many
//            tokens. What is NaN or infinite stays so.
//   i8, i16: for products with i8 weights, row x is s q with s = max |x| / L and q the integers
//            nearest to x / s, in f32 (see InputScale); L is 127 or 32,639. The sum of q times
//            weight is exact for K <= 131,072, which is the most there may be.
// There each number of a row is off by s / 2 and f32 rounding, and a product by (s / 2) sum_k
// |weight[n, k]|: s / 2 is a 254th or 65,278th of the row's largest number. A row with a NaN or
// infinity gives NaN alone; one without a number of 2^-110 or more counts as zeros.
//   i16 in attention: attend_dense: queries, keys, values and weights (cpu/int16_panels.h). Over
//            rows of i16 that are keys and values alike, whose heads score and mix all columns,
//            unturned: queries are rounded as rows are (integer_scale() of tensor/row_format.h),
//            off by half a scale; weights times the scales of their rows are, 64 rows at a time,
//            off by 2^-17 of what these weigh or 2^-16 of the largest (cpu/int16_rows.h). Sums of
//            products are exact. All else is in f32.
enum class Inputs : uint8_t { f32, f16, i16, i8 };

// What the products of a model take, and what its attention does.
struct Arithmetic {
  Inputs products = Inputs::f32;
  Inputs attention = Inputs::f32;

  friend bool operator==(const Arithmetic&, const Arithmetic&) = default;
};

// y[t, n] = activation(sum_k x[t, k] * weight[n, k] + bias[n]) + (accumulate ? y[t, n] : 0)
struct Linear {
  ConstMatrix x;                 // [T, K] f32
  ConstMatrix weight;            // [N, K]
  const float* scale = nullptr;  // [N], of i8 and i16 weights: multiplies the product
  const float* bias = nullptr;   // [N] or none
  Matrix y;                      // [T, N] f32
  Activation activation = Activation::none;
  bool accumulate = false;  // adds to y: the residual stream
  Inputs inputs = Inputs::f32;
};

// One product per group: y[t, g*N + n] = sum_k x[t, g*x_stride + k] * weight[g*N + n, k].
// Absorbs W_K into queries (K = C, N = D) and applies W_V,i or M_i to mixed rows (K = D, N = C).
struct GroupedLinear {
  ConstMatrix x;                 // [T, (groups - 1) * x_stride + K] at least, f32
  int64_t x_stride = 0;          // columns from one group's x to the next's; 0: K
  ConstMatrix weight;            // [groups * N, K]
  const float* scale = nullptr;  // [groups * N], of i8 and i16 weights
  const float* bias = nullptr;   // [groups * N] or none
  Matrix y;                      // [T, groups * N] f32
  int64_t groups = 1;
  bool accumulate = false;
  Inputs inputs = Inputs::f32;  // each group's part of a row is rounded by itself
};

enum class NormKind : uint8_t { layer, rms };

// layer: y = (x - mean(x)) / sqrt(var(x) + epsilon) * gain + offset
// rms:   y = x / sqrt(mean(x^2) + epsilon) * gain + offset
// over each of `groups` equal parts of a row (1: the whole row; heads, where each has its norm).
struct Norm {
  NormKind kind = NormKind::layer;
  ConstMatrix x;                  // [T, D] f32
  const float* gain = nullptr;    // [D] or none (1)
  const float* offset = nullptr;  // [D] or none (0)
  float epsilon = 1e-5F;
  int64_t groups = 1;
  bool accumulate = false;   // adds to y: norms of what a branch gave (OLMo-2)
  Matrix y;                  // [T, D] f32; may be x itself unless it accumulates
  float* inverse = nullptr;  // [T] or none: 1 / sqrt(...) of each row; for groups = 1
};

// y = activation(gate) * up, element by element. y may be gate or up.
struct Gate {
  ConstMatrix gate;  // [T, F] f32
  ConstMatrix up;    // [T, F] f32
  Activation activation = Activation::silu;
  Matrix y;  // [T, F] f32
};

// x = x held within [-limit, limit], element by element; NaN stays. (clip_qkv: OLMo-1, MPT)
struct Clamp {
  Matrix x;  // f32
  float limit = 0.0F;
};

// Turns the heads of each row to the row's position: the first rotation.width() columns of every
// head's `head_width`; the others are copied. y may be x.
struct Rotate {
  ConstMatrix x;                       // [T, heads * head_width] f32
  std::span<const int32_t> positions;  // [T]
  const Rotation* rotation = nullptr;
  int64_t head_width = 0;
  Matrix y;
};

// y[t] = table[ids[t]] * scale[ids[t]] * factor + positions[places[t]]
struct Embed {
  std::span<const int32_t> ids;  // [T], each in [0, rows of table): the caller has checked
  ConstMatrix table;  // [V, D]; f32, f16, bf16, a block type, or i8 (where takes(Inputs::i8))
  const float* scale = nullptr;          // [V], of an i8 table; of others none (1)
  float factor = 1.0F;                   // Gemma: sqrt(D)
  std::span<const int32_t> places = {};  // [T], or none with no positions
  ConstMatrix positions = {};            // [P, D] f32, f16 or bf16; or no rows: none are added
  Matrix y;                              // [T, D] f32
};

// One-dimensional convolution, with `padding` frames of zeros at both ends:
// y[b, t, o] = activation(bias[o] + sum_{i, j} weight[o, j, i] * x[b, t*stride + j - padding, i]).
// Channels come last on both sides. (weight is stored tap-major; files have [out, in, tap].)
struct Convolve {
  ConstMatrix x;       // [batch * frames, in] f32; frames + 2 * padding >= taps
  ConstMatrix weight;  // [out, taps * in] f32, f16 or bf16
  const float* bias = nullptr;
  Matrix y;  // [batch * steps(frames), out] f32
  int64_t batch = 1;
  int64_t stride = 1;
  Activation activation = Activation::none;
  int64_t taps = 3;
  int64_t padding = 1;  // less than half of the taps

  int64_t steps(int64_t frames) const { return (frames + 2 * padding - taps) / stride + 1; }
};

// What heads add to their scores by distance (T5): position of the row less that of the query, held
// within [-reach, reach]. Head i's are values[i * (2 * reach + 1)] and those after it, from -reach.
struct DistanceBias {
  const float* values = nullptr;  // [H, 2 * reach + 1], or none
  int64_t reach = 0;

  // The number of distance 0.
  const float* of_head(int64_t head) const { return values + head * (2 * reach + 1) + reach; }
};

// Full (unmasked) self-attention within each of `batch` runs of rows / batch rows; nothing cached.
// out[t, h*C + c] = sum_s softmax_s(scale * q[t, h] . k[s, h] + bias[h, p[s] - p[t]]) * v[s, h*C +
// c] Working memory grows with S, never with its square.
struct AttendDense {
  ConstMatrix q;  // [batch * S, H * C] f32
  ConstMatrix k;  // [batch * S, H * C] f32
  ConstMatrix v;  // [batch * S, H * C] f32
  Matrix out;     // [batch * S, H * C] f32; may be q itself
  int64_t heads = 1;
  int64_t batch = 1;
  float scale = 1.0F;
  DistanceBias bias = {};
  // p: [batch * S], where each row stands in its run, which has gaps (Chronos: values that are
  // missing); or none: row after row.
  std::span<const int32_t> places = {};
  Inputs inputs = Inputs::f32;  // or f16, i16
};

// Where one plane of paged rows lies: it starts at `offset` in each page. Row s that stands alone
// is at pages[s / kPageRows] + offset + (s % kPageRows) * format.bytes().
struct Plane {
  RowFormat format;
  int64_t offset = 0;  // bytes from the start of a page
};

// One sequence's part of a step. `pages` covers at least `rows` rows.
struct Slice {
  int64_t first = 0;  // its first token in the step's matrices
  int64_t count = 0;  // its tokens in this step
  int64_t rows = 0;   // rows it may read, those of this step included
  std::byte* const* pages = nullptr;
  // Where it stands in its sequence, for what depends on positions (rotation, slopes, bias,
  // window).
  int64_t position = 0;  // of the first token
  int64_t base = 0;      // of row 0; a multiple of kPageRows
  int32_t regime = 0;    // which of several rotations holds (longrope: short or long)
  // The f32 rows of its unsealed page, where planes are sealed. Attention layers use it; kernels
  // are given slices over it instead.
  std::byte* hot = nullptr;
};

// Encodes x[first + i] into row (rows - count + i) of each slice, for i < count. The bytes are
// those of encode_row. For planes whose rows stand alone.
struct StoreRows {
  ConstMatrix x;  // [T, width] f32
  Plane plane;
  std::span<const Slice> slices;
};

// Seals whole pages: seal_page of kPageRows rows of `from` (f32) into `to`.
struct SealPages {
  struct Page {
    const std::byte* from = nullptr;  // pages that the planes lie in
    std::byte* to = nullptr;
  };
  Plane from;
  Plane to;  // sealed
  const Shaping* shaping = nullptr;
  std::span<const Page> pages;
};

// y[i] = row begin + i of a slice, decoded. Any format; sealed planes: of sealed pages.
struct LoadRows {
  Plane plane;
  Slice slice;
  int64_t begin = 0;
  Matrix y;  // [rows wanted, width] f32
};

// Attention of a step's queries over paged rows. Head i scores columns
// [i*key_stride, i*key_stride + key_width) of a key row, with key_stride 0 where every head scores
// the whole row (x, encoder), and mixes columns [i*value_stride, + value_width) of a value row,
// with value_stride 0 where every head mixes the whole row (k, x, encoder):
//   p[s] = softmax_s(score[t, i, s]),   mixed[t, i] = sum_s p[s] * value[s]
//   score = cap(scale * factor[s] * query[t, i] . key[s]) + slope[i] * distance + bias[i, distance]
// where distance is the position of s less that of t.
// Causal: the query at i of a slice sees rows [0, rows - count + i]; else it sees all rows. With a
// window it sees only rows whose position is above its own less the window. A query that sees no
// row gets zeros and an lse of -infinity. Softmax runs in f32 with a running maximum.
//
// With rotations, key[s] = R(position of s) (gain * k[s] + bias) and the queries, which come
// unrotated, are turned to their positions as well; values are never rotated.
struct Attend {
  ConstMatrix queries;  // [T, H * key_width] f32
  Matrix mixed;         // [T, H * value_width] f32
  std::span<const Slice> slices;
  Plane keys;
  Plane values;  // the same as keys in attend_shared
  int64_t heads = 1;
  int64_t key_width = 0;
  int64_t key_stride = 0;
  int64_t value_width = 0;
  int64_t value_stride = 0;
  int64_t heads_per_key = 1;  // grouped queries: head i uses key and value head i / heads_per_key
  float scale = 1.0F;
  bool causal = true;
  std::span<const Rotation* const> rotations = {};  // by regime; none: keys are not turned
  const float* key_gain = nullptr;                  // [columns of keys scored] or none (1)
  const float* key_bias = nullptr;                  // the same, or none (0)
  const Plane* key_factors = nullptr;               // f32, width 1: factor[s]; or none (1)
  const float* slopes = nullptr;                    // [H] or none (ALiBi)
  DistanceBias bias = {};                           // (T5)
  float cap = 0.0F;                                 // c tanh(score / c); 0: none
  int64_t window = 0;                               // 0: none
  Matrix lse = {};       // [T, H] f32: log of the sum of exp(score); or no rows: not wanted
  bool merge = false;    // mixed and lse hold the result over other rows, and get that over both
  bool keep_lse = true;  // of a merge: else lse may hold anything afterwards
  Inputs inputs = Inputs::f32;  // or f16, i16
};

// y[t] = x[t] - log(sum exp(x[t])), over each row.
struct LogSoftmax {
  ConstMatrix x;  // [T, V] f32
  Matrix y;       // [T, V] f32; may be x itself
};

// Columns [begin, end) of a row of logits that may not come; row -1: of every row.
struct ForbiddenColumns {
  int32_t row = -1;
  int32_t begin = 0;
  int32_t end = 0;
};

// They become -infinity.
struct Forbid {
  Matrix x;  // [T, V] f32
  std::span<const ForbiddenColumns> columns;
};

// A column that may come, and its probability under its row's softmax.
struct Candidate {
  int32_t column = -1;
  float log_probability = -std::numeric_limits<float>::infinity();
};

constexpr int64_t kMostCandidates = 128;
constexpr int64_t kNoTail = std::numeric_limits<int64_t>::max();

// candidates[t * count + i]: the likeliest columns of row t, the likeliest first, the lowest of
// equals; {-1, -infinity} where fewer are above -infinity. Of a row with a NaN or +infinity all are
// {-1, NaN}. Returns when they are there: decoding needs no more of a row of logits than these.
//
// Columns from `tail` on stand together: where the sum of their probabilities is above that of any
// other column, they alone may come, and sum to one.
struct FindCandidates {
  ConstMatrix x;      // [T, V] f32
  int64_t count = 1;  // of each row, 1 to kMostCandidates
  int64_t tail = kNoTail;
  // [T] or none: a column whose probability is asked for, and is the row's one candidate, or -1.
  // `tail` does not apply to such rows.
  std::span<const int32_t> asked = {};
  std::span<Candidate> candidates = {};  // [T, count], in the host's memory
};

// *sum += words[0] + ... + words[count - 1], modulo 2^32. Reads every byte once and has next to
// nothing else to do: what `bench` takes a device's read limit from.
struct SumWords {
  const uint32_t* words = nullptr;  // at a multiple of 16 bytes
  int64_t count = 0;
  uint32_t* sum = nullptr;  // one, in the device's memory
};

class Kernels {
 public:
  virtual ~Kernels() = default;
  virtual std::string_view name() const = 0;
  virtual Device& device() = 0;
  virtual int threads() const = 0;
  // Whether sealed planes with Scaling::channel should be chunked, from 8 bits up. (Others do not
  // read such planes but for the reference.)
  virtual bool chunked() const { return false; }
  // Whether products heed these Inputs; of i8, whether embeddings take such tables, too; of i16,
  // whether there are rows of i16 that stand alone.
  virtual bool takes(Inputs inputs) const { return inputs == Inputs::f32; }
  // Whether attention heeds them.
  virtual bool attends(Inputs inputs) const { return inputs == Inputs::f32; }
  // How much of a prompt is best done at a time.
  struct PromptSizes {
    int64_t tokens = 512;  // of a pass, and of those that attend to rebuilt values together
    int64_t beside = 512;  // of a pass in which other texts are written, which wait for it
    int64_t rows = 256;    // of whose keys values are rebuilt together; a multiple of kPageRows
  };
  virtual PromptSizes prompt_sizes() const { return {}; }

  virtual void linear(const Linear& arguments) = 0;
  virtual void grouped_linear(const GroupedLinear& arguments) = 0;
  virtual void norm(const Norm& arguments) = 0;
  virtual void gate(const Gate& arguments) = 0;
  virtual void clamp(const Clamp& arguments) = 0;
  virtual void rotate(const Rotate& arguments) = 0;
  virtual void embed(const Embed& arguments) = 0;
  virtual void convolve(const Convolve& arguments) = 0;
  virtual void attend_dense(const AttendDense& arguments) = 0;
  virtual void store_rows(const StoreRows& arguments) = 0;
  virtual void seal_pages(const SealPages& arguments) = 0;
  virtual void load_rows(const LoadRows& arguments) = 0;
  // Keys and values are two planes (kv), or any two planes at all: the general body.
  virtual void attend_pair(const Attend& arguments) = 0;
  // Keys and values are the same rows, so one read serves both. The default calls attend_pair, so a
  // new kind runs on every device the day it is written.
  virtual void attend_shared(const Attend& arguments) { attend_pair(arguments); }
  virtual void log_softmax(const LogSoftmax& arguments) = 0;
  virtual void forbid(const Forbid& arguments) = 0;
  virtual void find_candidates(const FindCandidates& arguments) = 0;
  virtual void sum_words(const SumWords& arguments) = 0;

  // Runs `body`, the operations of one decoder step of so many tokens on the calling thread. A
  // device may begin with them only when a result is asked for (Device::copy to the host), or when
  // body() returns: for small steps a card takes longer to be told one by one. If body() throws,
  // some of what it asked for may never run.
  virtual void run_step(int64_t /*tokens*/, FunctionRef<void()> body) { body(); }

  // For the time of one call into the engine: places the calling thread (ThreadPool::CallerPin).
  class Session {
   public:
    virtual ~Session() = default;
  };
  virtual std::unique_ptr<Session> begin_session() { return nullptr; }
};

// "reference", "cpu", and one "cpu:<target>" per instruction set that this machine has and that
// can be forced ("cpu:scalar", "cpu:avx2", "cpu:avx3", ...); with a card, "cuda" and one
// "cuda:<number>" per card. The first is the oracle.
std::vector<std::string> kernel_names();

// `name` from kernel_names(); `threads` as for ThreadPool. Throws Error{bad_request} naming the
// devices there are.
std::unique_ptr<Kernels> make_kernels(std::string_view name, int threads);

}  // namespace slim
