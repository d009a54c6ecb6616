// slim transcribe: speech to text, or the name of the language. Text on stdout, or files in
// --output-dir; everything else on stderr. A file that fails does not stop the others; the exit
// status is that of the first failure.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <vector>

#include "command.h"
#include "live.h"
#include "output_format.h"
#include "progress.h"
#include "transcribe_options.h"
#include "vad_model.h"

namespace slim::cli {
namespace {

struct Options {
  ModelOptions model;
  std::vector<std::string> audio;
  TranscribeOptions transcribe;
  NumberLists lists;
  SubtitleStyle style;
  bool detect_language = false;
  std::string format = "txt";
  std::string directory;
  bool resume = false;
  bool stats = false;
  bool live = false;
  bool raw = false;
  double live_step = 2;
};

std::string stem_of(const std::string& path) {
  return path == "-" ? "stdin" : std::filesystem::path(path).stem().string();
}

// Two inputs of one name would overwrite each other's files: refused before anything runs.
void check_stems(const Options& options) {
  if (options.directory.empty()) return;
  std::vector<std::string> stems;
  for (const std::string& path : options.audio) stems.push_back(stem_of(path));
  std::sort(stems.begin(), stems.end());
  const auto twice = std::adjacent_find(stems.begin(), stems.end());
  if (twice == stems.end()) return;
  throw Error(ErrorCode::bad_request, "Two inputs would write the same output files.", *twice);
}

void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw Error(ErrorCode::bad_file, "Writing the text failed.", "standard output");
  }
}

std::vector<std::string> forms_of(const Options& options) {
  return options.format == "all" ? format_names() : std::vector<std::string>{options.format};
}

std::string output_of(const Options& options, const std::string& path, const std::string& form) {
  return (std::filesystem::path(options.directory) / (stem_of(path) + "." + form)).string();
}

// Leaves out the inputs whose outputs are all there: a file has its name only once it is whole.
void skip_done(Options& options) {
  if (options.directory.empty()) {
    throw Error(ErrorCode::bad_request, "There are no output files without --output-dir.",
                "--resume");
  }
  const std::vector<std::string> forms = forms_of(options);
  const size_t all = options.audio.size();
  std::erase_if(options.audio, [&](const std::string& path) {
    return std::all_of(forms.begin(), forms.end(), [&](const std::string& form) {
      std::error_code missing;
      return std::filesystem::is_regular_file(output_of(options, path, form), missing);
    });
  });
  std::fprintf(stderr, "slim: %zu of %zu inputs were done before.\n", all - options.audio.size(),
               all);
}

void write(const Options& options, const std::string& path, const Transcription& transcription) {
  const std::vector<std::string> forms = forms_of(options);
  if (options.directory.empty()) {
    for (const std::string& form : forms) print(format(form, transcription, options.style));
    return;
  }
  for (const std::string& form : forms) {
    write_file(output_of(options, path, form), format(form, transcription, options.style));
  }
}

// A line a file: name, language and probability, with tabs between them.
void print_language(const std::string& path, const Transcription& detected) {
  char probability[32];
  std::snprintf(probability, sizeof probability, "%.4f", detected.language_probability);
  print(path + "\t" + detected.language + "\t" + probability + "\n");
}

void print_stats(const Stats& stats, const TranscribeOptions& options) {
  const double speed = stats.total_seconds > 0 ? stats.audio_seconds / stats.total_seconds : 0;
  std::fprintf(stderr, "audio    %9.2f s, %lld windows, %lld tokens in %lld decoder passes\n",
               stats.audio_seconds, static_cast<long long>(stats.windows),
               static_cast<long long>(stats.tokens), static_cast<long long>(stats.steps));
  std::fprintf(stderr, "time     %9.2f s (%.1f times real time) after loading in %.2f s\n",
               stats.total_seconds, speed, stats.load_seconds);
  std::fprintf(stderr, "  of it  %9.2f s mel, %.2f s encoder, %.2f s decoder\n", stats.mel_seconds,
               stats.encode_seconds, stats.decode_seconds);
  if (options.vad_filter) {
    const std::string& model = options.vad.model;
    std::fprintf(stderr, "silence  %s\n",
                 model.empty() ? "left out by energy" : ("left out by " + model).c_str());
  }
  std::fprintf(stderr, "weights  %12s\n", bytes_text(stats.weight_bytes).c_str());
  std::fprintf(stderr, "context  %12s held at most; a standard cache: %s (%.1f times as much)\n",
               bytes_text(stats.context_peak_bytes).c_str(),
               bytes_text(stats.context_peak_kv_bytes).c_str(),
               stats.context_peak_bytes > 0 ? static_cast<double>(stats.context_peak_kv_bytes) /
                                                  static_cast<double>(stats.context_peak_bytes)
                                            : 0.0);
}

void prepare_output(Options& options) {
  if (options.detect_language) {
    if (!options.resume) return;
    throw Error(ErrorCode::bad_request, "There is no output to go on from.",
                "--resume with --detect-language");
  }
  if (options.format == "all" && options.directory.empty()) options.directory = ".";
  check_stems(options);
  if (!options.directory.empty()) {
    std::error_code failure;
    std::filesystem::create_directories(options.directory, failure);
    if (failure) {
      throw Error(ErrorCode::bad_file, "The directory cannot be made: " + failure.message() + ".",
                  options.directory);
    }
  }
  if (options.resume) skip_done(options);
}

// What live text has no use for is refused.
int run_live(const Options& options, const std::string& notice) {
  const auto refuse = [](const char* sentence, const char* option) {
    throw Error(ErrorCode::bad_request, sentence, option);
  };
  if (options.audio.size() != 1) refuse("One input at a time can be live.", "--live");
  if (!options.directory.empty()) refuse("Live text goes to stdout.", "--output-dir");
  if (options.resume) refuse("Live sound comes once.", "--resume");
  if (options.detect_language) refuse("Live text is all there is.", "--detect-language");
  if (options.format != "txt" && options.format != "json") {
    refuse("Live text is txt or json.", "--output-format");
  }
  Engine engine(options.model.model, options.model.engine);
  return transcribe_live(engine, options.audio.front(), {options.transcribe, options.live_step},
                         {options.raw, options.format == "json", notice});
}

int run(Options& options) {
  parse_lists(options.lists, options.transcribe);
  options.style.check(options.transcribe.word_timestamps);
  VadOptions& vad = options.transcribe.vad;
  const VadModel detector = find_vad_model(vad.model, options.model.model);
  vad.model = detector.path;
  if (options.live) return run_live(options, detector.notice);
  if (options.raw) {
    throw Error(ErrorCode::bad_request, "Samples without a header are read with --live.", "--raw");
  }
  prepare_output(options);
  if (options.audio.empty()) return 0;
  if (options.transcribe.vad_filter && !detector.notice.empty()) {
    std::fprintf(stderr, "slim: %s\n", detector.notice.c_str());
  }
  Engine engine(options.model.model, options.model.engine);
  Progress progress(true);
  Stats stats;
  int status = 0;
  const auto fail = [&](const Error& error) {
    progress.clear();
    std::fprintf(stderr, "slim: %s\n", error.what());
    if (status == 0) status = exit_status(error.code());
  };
  TranscribeOptions& transcribe = options.transcribe;
  transcribe.on_progress = [&](size_t file, double done, double total) {
    progress.show(options.audio[file], done, total, "s");
    return true;
  };
  transcribe.on_failure = [&](size_t /*file*/, const Error& error) { fail(error); };
  transcribe.on_result = [&](size_t file, const Transcription& result) {
    progress.clear();
    try {
      options.detect_language ? print_language(options.audio[file], result)
                              : write(options, options.audio[file], result);
    } catch (const Error& error) {
      fail(error);
    }
  };
  try {
    options.detect_language ? engine.detect_languages(options.audio, transcribe)
                            : engine.transcribe(options.audio, transcribe, &stats);
  } catch (const Error& error) {
    fail(error);
  }
  progress.clear();
  if (options.stats && !options.detect_language) print_stats(stats, options.transcribe);
  return status;
}

}  // namespace

Action add_transcribe(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_options(app, options->model);
  app.add_option("audio", options->audio, "Audio files (wav, flac, ogg, mp3, ...); - is stdin")
      ->required();
  add_transcribe_options(app, options->transcribe, options->lists);
  add_subtitle_options(app, options->style);
  app.add_flag("--detect-language", options->detect_language,
               "Print the language of each file and its probability, and no text");
  std::vector<std::string> forms = format_names();
  forms.emplace_back("all");
  app.add_option("-f,--output-format,--output_format", options->format, "Form of the text")
      ->check(CLI::IsMember(forms))
      ->capture_default_str();
  app.add_option("-o,--output-dir,--output_dir", options->directory,
                 "Write files here instead of to stdout");
  app.add_flag("--live", options->live,
               "Transcribe one input while it is coming in: wav of 16 kHz, or --raw");
  app.add_flag("--raw", options->raw, "Live input is s16le samples of 16 kHz, without a header");
  app.add_option("--live-step", options->live_step,
                 "Seconds of new sound after which live text is looked at again")
      ->capture_default_str();
  app.add_flag("--resume", options->resume,
               "Leave out inputs whose files in --output-dir are all there");
  app.add_flag("--stats", options->stats, "Print times and memory to stderr");
  return [options] { return run(*options); };
}

}  // namespace slim::cli
