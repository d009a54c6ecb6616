// What encoders need beside products: convolution, and attention without a cache.
#include <algorithm>
#include <string>

#include "kernels/convolve_check.h"
#include "kernels/cuda/attend_prompt.h"
#include "kernels/cuda/device_kernels.h"
#include "kernels/cuda/distance_bias.cuh"
#include "kernels/cuda/earlier_work.cuh"
#include "kernels/cuda/reductions.cuh"
#include "slim/error.h"

namespace slim {
namespace {

constexpr int64_t kTapScratch = int64_t{64} << 20;

struct Taps {
  const float* x;
  int64_t x_stride;
  int64_t frames;  // of a run
  int64_t steps;   // of a run: rows of outputs
  int64_t stride;
  int64_t inputs;
  int64_t taps;
  int64_t padding;
  int64_t begin;  // the first row of outputs wanted
  float* to;      // [rows, taps * inputs]
};

constexpr int kTapThreads = 256;

// The frames that each row of outputs sees, side by side: convolution becomes a product.
__global__ void __launch_bounds__(kTapThreads) gather_taps(const Taps a) {
  wait_for_earlier();
  const int64_t column = static_cast<int64_t>(blockIdx.y) * kTapThreads + threadIdx.x;
  if (column >= a.taps * a.inputs) return;
  const int64_t row = a.begin + blockIdx.x;
  const int64_t frame = row % a.steps * a.stride + column / a.inputs - a.padding;
  const int64_t run = row / a.steps;
  const bool padding = frame < 0 || frame >= a.frames;
  a.to[blockIdx.x * (a.taps * a.inputs) + column] =
      padding ? 0.0F : a.x[(run * a.frames + frame) * a.x_stride + column % a.inputs];
}

struct DenseAttention {
  const float* q;
  const float* k;
  const float* v;
  float* out;
  int64_t q_stride, k_stride, v_stride, out_stride;
  int rows;   // of a run
  int width;  // of a head
  int heads;
  int tiles;  // of queries, of a run
  float scale;
  DistanceBias bias;
  const int32_t* places;  // of all rows, or null
};

// A block of 256 threads takes kQueries queries of one head and walks over the keys kKeys at a
// time, with a running maximum and sum. 16 threads, half a warp, share four queries: of scores each
// computes 4 by kKeys / 16, of the mix 4 by kWidth / 16. Heads are filled up with zeros to kWidth.
constexpr int kAttendThreads = 256;
constexpr int kQueries = 64;
constexpr int kOwn = 4;     // queries of a thread
constexpr int kShare = 16;  // threads that share them

// Rows of shared memory are four floats longer than their contents: 16 rows at the same column then
// lie in different banks.
constexpr int pitch_of(int width) { return width + 4; }

template <int kWidth>
struct Tile {
  static constexpr int kKeys = kWidth <= 64 ? 64 : 32;
  static constexpr int kScores = kKeys / kShare;   // of a thread and query
  static constexpr int kQuads = kWidth / 64;       // of four columns, of a thread
  static constexpr int kPitch = pitch_of(kWidth);  // of queries, keys and values
  static constexpr int kBytes =
      (kQueries * kPitch + 2 * kKeys * kPitch + kQueries * pitch_of(kKeys)) * 4;
};

// Rows [first, first + kCount) of a head, zeros past the end of the run and of the head.
template <int kCount, int kWidth>
__device__ inline void load_rows(const float* from, int64_t stride, int left, int width,
                                 float* to) {
  for (int i = static_cast<int>(threadIdx.x); i < kCount * kWidth; i += kAttendThreads) {
    const int row = i / kWidth;
    const int column = i % kWidth;
    const bool inside = row < left && column < width;
    to[row * pitch_of(kWidth) + column] = inside ? from[row * stride + column] : 0.0F;
  }
}

__device__ inline float dot_quads(const float4& a, const float4& b, float sum) {
  sum = fmaf(a.x, b.x, sum);
  sum = fmaf(a.y, b.y, sum);
  sum = fmaf(a.z, b.z, sum);
  return fmaf(a.w, b.w, sum);
}

__device__ inline const float4& quad_at(const float* at) {
  return *reinterpret_cast<const float4*>(at);
}

// What a thread keeps of its four queries. Each of the 16 threads knows their maxima; the sums are
// of its own keys only until the end.
template <int kWidth>
struct State {
  float largest[kOwn];
  float sum[kOwn];
  float4 mixed[kOwn][Tile<kWidth>::kQuads];
};

// Keys kShare apart, so that neighbouring threads read neighbouring rows.
template <int kWidth>
__device__ inline void score_keys(const float* queries, const float* keys, int share,
                                  float (&scores)[kOwn][Tile<kWidth>::kScores]) {
  constexpr int kPitch = Tile<kWidth>::kPitch;
#pragma unroll 2
  for (int c = 0; c < kWidth; c += 4) {
    float4 query[kOwn];
#pragma unroll
    for (int i = 0; i < kOwn; ++i) query[i] = quad_at(queries + i * kPitch + c);
#pragma unroll
    for (int s = 0; s < Tile<kWidth>::kScores; ++s) {
      const float4 key = quad_at(keys + (share + s * kShare) * kPitch + c);
#pragma unroll
      for (int i = 0; i < kOwn; ++i) scores[i][s] = dot_quads(query[i], key, scores[i][s]);
    }
  }
}

// Keys that are scored together.
struct KeyBlock {
  const float* biases;    // of the head, or null
  const int32_t* places;  // of the run's rows, or null
  int query;              // the thread's first
  int first;              // the first key
  int left;               // keys from it on that there are
};

// From a query of the thread to a key; of rows past the end of the run, anything.
__device__ inline int distance_of(const DenseAttention& a, const KeyBlock& keys, int query,
                                  int key) {
  const int to = keys.first + key;
  const int from = keys.query + query;
  if (keys.places == nullptr) return to - from;
  return keys.places[min(to, a.rows - 1)] - keys.places[min(from, a.rows - 1)];
}

// Scores become weights, in shared memory; what was mixed before is scaled to the new maximum.
template <int kWidth>
__device__ inline void weigh_keys(const DenseAttention& a, const KeyBlock& keys, int share,
                                  float (&scores)[kOwn][Tile<kWidth>::kScores], float* weights,
                                  State<kWidth>& state) {
  constexpr int kScores = Tile<kWidth>::kScores;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    float largest = state.largest[i];
#pragma unroll
    for (int s = 0; s < kScores; ++s) {
      const int key = share + s * kShare;
      float score = scores[i][s] * a.scale;
      if (keys.biases != nullptr) {
        score += bias_at(a.bias, keys.biases, distance_of(a, keys, i, key));
      }
      scores[i][s] = key < keys.left ? score : -INFINITY;
      largest = fmaxf(largest, scores[i][s]);
    }
    largest = reduce_warp<kShare>(largest, Largest());
    // While all scores are minus infinity, they weigh nothing.
    const float shift = largest == -INFINITY ? 0.0F : largest;
    const float before = expf(state.largest[i] - shift);
    state.largest[i] = largest;
    state.sum[i] *= before;
#pragma unroll
    for (int s = 0; s < kScores; ++s) {
      const float weight = expf(scores[i][s] - shift);
      state.sum[i] += weight;
      weights[i * pitch_of(Tile<kWidth>::kKeys) + share + s * kShare] = weight;
    }
#pragma unroll
    for (float4& mixed : state.mixed[i]) {
      mixed.x *= before;
      mixed.y *= before;
      mixed.z *= before;
      mixed.w *= before;
    }
  }
}

__device__ inline void mix_quad(float weight, const float4& value, float4& mixed) {
  mixed.x = fmaf(weight, value.x, mixed.x);
  mixed.y = fmaf(weight, value.y, mixed.y);
  mixed.z = fmaf(weight, value.z, mixed.z);
  mixed.w = fmaf(weight, value.w, mixed.w);
}

template <int kWidth>
__device__ inline void mix_values(const float* weights, const float* values, int share,
                                  State<kWidth>& state) {
  constexpr int kKeys = Tile<kWidth>::kKeys;
  for (int s = 0; s < kKeys; s += 4) {
    float weight[kOwn][4];
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const float4 four = quad_at(weights + i * pitch_of(kKeys) + s);
      weight[i][0] = four.x;
      weight[i][1] = four.y;
      weight[i][2] = four.z;
      weight[i][3] = four.w;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float* row = values + (s + j) * Tile<kWidth>::kPitch + share * 4;
#pragma unroll
      for (int n = 0; n < Tile<kWidth>::kQuads; ++n) {
        const float4 value = quad_at(row + n * 64);
#pragma unroll
        for (int i = 0; i < kOwn; ++i) mix_quad(weight[i][j], value, state.mixed[i][n]);
      }
    }
  }
}

template <int kWidth>
__device__ inline void store_mixed(const DenseAttention& a, float* out, int left, int share,
                                   const State<kWidth>& state) {
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    const float sum = reduce_warp<kShare>(state.sum[i], Sum());
    if (i >= left) continue;
#pragma unroll
    for (int n = 0; n < Tile<kWidth>::kQuads; ++n) {
      const float4& mixed = state.mixed[i][n];
      const float values[4] = {mixed.x, mixed.y, mixed.z, mixed.w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int column = n * 64 + share * 4 + j;
        if (column < a.width) out[i * a.out_stride + column] = values[j] / sum;
      }
    }
  }
}

template <int kWidth>
__global__ void __launch_bounds__(kAttendThreads) attend_rows(const DenseAttention a) {
  wait_for_earlier();
  using Shape = Tile<kWidth>;
  extern __shared__ float4 shared[];
  float* const queries = reinterpret_cast<float*>(shared);
  float* const keys = queries + kQueries * Shape::kPitch;
  float* const values = keys + Shape::kKeys * Shape::kPitch;
  float* const weights = values + Shape::kKeys * Shape::kPitch;

  const int64_t head = blockIdx.x / a.tiles % a.heads;
  const int64_t run = blockIdx.x / a.tiles / a.heads;
  const int first = static_cast<int>(blockIdx.x % a.tiles) * kQueries;
  const int64_t column = head * a.width;
  const int64_t row = run * a.rows;
  const int share = static_cast<int>(threadIdx.x) % kShare;
  const int own = static_cast<int>(threadIdx.x) / kShare * kOwn;

  load_rows<kQueries, kWidth>(a.q + (row + first) * a.q_stride + column, a.q_stride, a.rows - first,
                              a.width, queries);
  const float* const biases =
      a.bias.values == nullptr ? nullptr : biases_of(a.bias, static_cast<int>(head));
  const int32_t* const places = a.places == nullptr ? nullptr : a.places + row;
  State<kWidth> state{};
#pragma unroll
  for (float& largest : state.largest) largest = -INFINITY;
  for (int begin = 0; begin < a.rows; begin += Shape::kKeys) {
    const int left = a.rows - begin;
    __syncthreads();  // the keys and values before are done with
    load_rows<Shape::kKeys, kWidth>(a.k + (row + begin) * a.k_stride + column, a.k_stride, left,
                                    a.width, keys);
    load_rows<Shape::kKeys, kWidth>(a.v + (row + begin) * a.v_stride + column, a.v_stride, left,
                                    a.width, values);
    __syncthreads();
    float scores[kOwn][Shape::kScores] = {};
    score_keys<kWidth>(queries + own * Shape::kPitch, keys, share, scores);
    float* const own_weights = weights + own * pitch_of(Shape::kKeys);
    __syncwarp();  // the weights of four queries are written and read by the same half warp
    weigh_keys<kWidth>(a, {biases, places, first + own, begin, left}, share, scores, own_weights,
                       state);
    __syncwarp();
    mix_values<kWidth>(own_weights, values, share, state);
  }
  float* const out = a.out + (row + first + own) * a.out_stride + column;
  store_mixed<kWidth>(a, out, a.rows - first - own, share, state);
}

template <int kWidth>
void launch_attention(CudaDevice& device, const DenseAttention& a, int64_t blocks) {
  constexpr int kBytes = Tile<kWidth>::kBytes;
  check_cuda(cudaFuncSetAttribute(attend_rows<kWidth>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  kBytes),
             "give shared memory");
  device.launch("attend", attend_rows<kWidth>,
                {static_cast<unsigned>(blocks), kAttendThreads, kBytes}, a);
}

}  // namespace

void CudaKernels::convolve(const Convolve& arguments) {
  const Convolve& a = arguments;
  check_convolve(a);
  if (a.y.rows == 0 || a.y.columns == 0) return;
  device_.select();
  const int64_t frames = a.x.rows / a.batch;
  const int64_t columns = a.taps * a.x.columns;
  const int64_t most =
      std::clamp<int64_t>(kTapScratch / (4 * std::max<int64_t>(1, columns)), 1, a.y.rows);
  const auto scratch = device_.allocate(static_cast<size_t>(4 * most * columns));
  for (int64_t begin = 0; begin < a.y.rows; begin += most) {
    const int64_t rows = std::min(most, a.y.rows - begin);
    const Taps taps{.x = a.x.row<float>(0),
                    .x_stride = a.x.stride,
                    .frames = frames,
                    .steps = a.steps(frames),
                    .stride = a.stride,
                    .inputs = a.x.columns,
                    .taps = a.taps,
                    .padding = a.padding,
                    .begin = begin,
                    .to = reinterpret_cast<float*>(scratch->data())};
    const dim3 grid(static_cast<unsigned>(rows),
                    static_cast<unsigned>((columns + kTapThreads - 1) / kTapThreads));
    device_.launch("gather frames", gather_taps, {grid, kTapThreads}, taps);
    linear({.x = {scratch->data(), DType::f32, rows, columns, columns},
            .weight = a.weight,
            .bias = a.bias,
            .y = a.y.rows_from(begin, rows),
            .activation = a.activation});
  }
}

// The same as attention of prompts: each run is a slice over pages that lie in k and v themselves.
// False if rows of keys and of values are not equally far apart or have gaps between them, or heads
// are too wide.
static bool attend_as_prompts(CudaDevice& device, const AttendDense& a) {
  const int64_t rows = a.q.rows / a.batch;
  const int64_t width = a.q.columns / a.heads;
  if (a.k.stride != a.v.stride || !a.places.empty() || !is_prompt(rows)) return false;
  PromptCall call{{}, {DType::f32, a.k.stride}, {DType::f32, a.v.stride}, SliceTables({}), {}};
  if (a.inputs == Inputs::f16) call.parts = 1;
  for (int64_t run = 0; run < a.batch; ++run) {
    std::vector<std::byte*> pages;
    for (int64_t row = 0; row < rows; row += kPageRows) {
      pages.push_back(const_cast<std::byte*>(a.k.rows_from(run * rows + row, 1).data));
    }
    call.tables.add({.first = run * rows, .count = rows, .rows = rows, .pages = pages.data()});
  }
  const bool aligned = call.tables.aligned;
  AttendView& view = call.view;
  view.queries = a.q.row<float>(0);
  view.query_stride = a.q.stride;
  view.keys = plane_view({call.keys, 0}, width, aligned);
  view.values = plane_view({call.values, a.v.data - a.k.data}, width, aligned);
  view.key_octets = view.keys.octets;
  view.factors = -1;
  view.heads = static_cast<int32_t>(a.heads);
  view.heads_per_key = 1;
  view.key_width = view.value_width = static_cast<int32_t>(width);
  view.key_stride = view.value_stride = width;
  view.scale = a.scale;
  view.bias = a.bias;
  view.mixed = a.out.row<float>(0);
  view.mixed_stride = a.out.stride;
  const bool in_place = a.out.data == a.q.data;
  if (!suits_prompts(view, call.keys, call.values) ||
      (in_place && !reads_queries_once(view, rows))) {
    return false;
  }
  attend_prompts(device, std::move(call));
  return true;
}

void CudaKernels::attend_dense(const AttendDense& arguments) {
  const AttendDense& a = arguments;
  if (a.q.rows == 0 || a.q.columns == 0) return;
  device_.select();
  if (attend_as_prompts(device_, a)) return;
  const int64_t rows = a.q.rows / a.batch;
  const int64_t width = a.q.columns / a.heads;
  const int64_t tiles = (rows + kQueries - 1) / kQueries;
  const DenseAttention dense{.q = a.q.row<float>(0),
                             .k = a.k.row<float>(0),
                             .v = a.v.row<float>(0),
                             .out = a.out.row<float>(0),
                             .q_stride = a.q.stride,
                             .k_stride = a.k.stride,
                             .v_stride = a.v.stride,
                             .out_stride = a.out.stride,
                             .rows = static_cast<int>(rows),
                             .width = static_cast<int>(width),
                             .heads = static_cast<int>(a.heads),
                             .tiles = static_cast<int>(tiles),
                             .scale = a.scale,
                             .bias = a.bias,
                             .places = a.places.empty() ? nullptr : device_.upload(a.places)};
  const int64_t blocks = tiles * a.heads * a.batch;
  if (width <= 64) {
    launch_attention<64>(device_, dense, blocks);
  } else if (width <= 128) {
    launch_attention<128>(device_, dense, blocks);
  } else if (width <= 256) {
    launch_attention<256>(device_, dense, blocks);
  } else {
    throw Error(ErrorCode::device, "The card has no attention with heads of " +
                                       std::to_string(width) + " columns; 256 are the most.");
  }
}

}  // namespace slim
