// Slim's whole public C++ interface: load a model, transcribe, inspect, verify, measure.
//
//   slim::Engine engine("models/whisper-tiny.en", {});
//   auto result = engine.transcribe({"speech.wav"}, {}).front();
//   for (const auto& segment : result.segments) use(segment.text);
//
// Slim caches the input of an attention layer instead of keys and values ("slim attention", arXiv
// 2503.05840): the same mathematics in a fraction of the memory. Everything throws slim::Error.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "slim/error.h"

namespace slim {

const char* version();  // "0.1.0"

// ---- Loading ---------------------------------------------------------------------------------

struct EngineOptions {
  std::string device = "cpu";  // one of devices()
  int threads = 0;             // 0: one per processor this process may use
  std::string cache = "auto";  // auto, kv, x, k
  std::string cache_type;      // "" (the kind's default), f32, f16, bf16, i8
  bool force_cache = false;    // run a combination that the plan refuses, to look at its error
};

std::vector<std::string> devices();

// ---- Transcription ---------------------------------------------------------------------------

struct TranscribeOptions {
  std::string language;                    // "" detects it (multilingual models), or "en"
  bool condition_on_previous_text = true;  // up to 223 tokens of earlier text as a prompt
  bool without_timestamps = false;         // decode without timestamp tokens
  double no_speech_threshold = 0.6;        // skip a window above this probability of silence ...
  double logprob_threshold = -1.0;         // ... unless its mean log-probability is above this
  double max_initial_timestamp = 1.0;      // seconds
  int max_tokens = 0;                      // per window; 0: half the context (224)
  int batch_size = 1;                      // files decoded together, a window of each at a time
  // Called from the transcribing thread; returning false stops with what there is so far.
  std::function<bool(size_t file, double seconds_done, double seconds_total)> on_progress;
};

// The fields of faster-whisper's segments. Times in seconds from the start of the file.
struct Segment {
  int id = 0;    // 1, 2, ...
  int seek = 0;  // first frame (10 ms) of the window it was decoded from
  double start = 0;
  double end = 0;
  std::string text;  // valid UTF-8, with its leading space
  std::vector<int32_t> tokens;
  double temperature = 0;
  double avg_logprob = 0;
  double compression_ratio = 0;  // of the window's text, by zlib
  double no_speech_prob = 0;
};

struct Stats {
  double audio_seconds = 0;
  double load_seconds = 0;
  double mel_seconds = 0;
  double encode_seconds = 0;
  double decode_seconds = 0;
  double total_seconds = 0;  // without loading
  int64_t windows = 0;
  int64_t tokens = 0;                 // generated
  int64_t steps = 0;                  // decoder passes
  int64_t context_peak_bytes = 0;     // most pages held at once: rows, encoder rows, scales
  int64_t context_peak_kv_bytes = 0;  // what a standard cache in rows of the same type would hold
  int64_t weight_bytes = 0;           // as used: mapped or derived
};

struct Transcription {
  std::string language;
  double language_probability = 1;
  double duration = 0;  // seconds
  std::vector<Segment> segments;
  std::string text() const;  // all segments, leading space trimmed
};

// ---- Looking inside --------------------------------------------------------------------------

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
  std::string row_type;               // f32, f16, bf16, i8
  std::optional<double> condition_k;  // of W_K; none without weights
  int64_t bytes_per_token = 0;        // an encoder row all layers share counts in the first
  int64_t kv_bytes_per_token = 0;     // a standard cache in rows of the same type
  std::optional<double> predicted_error;
  std::string reason;
};

struct Inspection {
  std::string model;
  std::string family;
  int64_t encoder_layers = 0, decoder_layers = 0, width = 0, heads = 0, mel_bins = 0;
  int64_t vocabulary = 0, encoder_positions = 0, decoder_positions = 0;
  int64_t weight_bytes = 0;  // 0 without weights
  std::vector<LayerReport> layers;
  ContextBytes context;  // a whole context, from pages really allocated
};

// Works on a model directory or on a config.json alone.
Inspection inspect(const std::string& model, const EngineOptions& options);

// The chosen cache against kv in f32, on the same tokens, each scored against stored rows.
struct Verification {
  int64_t tokens = 0;
  double logit_rel = 0;  // max |difference| / max |logit|
  double kl_mean = 0;    // nats, in double precision
  double kl_p99 = 0;
  double kl_max = 0;
  double top1 = 0;       // share of tokens with the same most likely successor
  ContextBytes context;  // at these tokens, from pages really held; kv in rows of the same type
  std::vector<LayerReport> layers;
};

struct BenchOptions {
  std::vector<int> batches = {1, 16, 64};
  int tokens = 96;  // decoder steps timed: what 30 s of speech come to
  int repeats = 3;  // medians of this many
};

struct BenchRow {
  std::string cache;  // "kv" or "slim"
  std::string row_type;
  int batch = 0;
  double encode_seconds = 0;       // one window
  double first_token_seconds = 0;  // from encoder output to the first logits
  double step_seconds = 0;         // one token for each of the batch
  double tokens_per_second = 0;    // from encoder output to the last token, the first included
  int64_t context_bytes = 0;
  int64_t peak_rss_bytes = 0;  // of the process so far
};

class Engine {
 public:
  // `model`: a directory (Hugging Face safetensors or CTranslate2, with tokenizer.json).
  Engine(const std::string& model, const EngineOptions& options);
  ~Engine();

  // One result per path, in order; "-" is standard input. A file that cannot be read throws, with
  // its path; nothing of the others is lost if you pass them one at a time. Thread-safe: calls in
  // several threads do not disturb each other.
  std::vector<Transcription> transcribe(const std::vector<std::string>& paths,
                                        const TranscribeOptions& options, Stats* stats = nullptr);
  // 16 kHz mono samples.
  Transcription transcribe_samples(const std::vector<float>& samples,
                                   const TranscribeOptions& options, Stats* stats = nullptr);
  // Transcribes the audio with kv in f32, then scores those tokens, one at a time, under both.
  Verification verify(const std::string& audio, const TranscribeOptions& options);
  // kv and slim (in the chosen kind and type), each at every batch size.
  std::vector<BenchRow> bench(const BenchOptions& options);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace slim
