// The binary as a user meets it: exit statuses, sentences, files. Runs it in a shell.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/shell.h"
#include "cli/wav.h"
#include "engine/random_whisper.h"
#include "temporary_folder.h"

namespace slim {
namespace {

namespace fs = std::filesystem;

class Cli : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    write_random_whisper(folder->path() / "model", {});
    write_file(path("speech.wav"), wav(16000, 1, sweep(40000)));
  }
  static void TearDownTestSuite() { delete folder; }

  static fs::path path(const std::string& name) { return folder->path() / name; }
  static Outcome run(const std::string& arguments) { return Shell(folder->path()).run(arguments); }
  static void expect_failure(const std::string& arguments, int status, const std::string& about) {
    Shell(folder->path()).expect_failure(arguments, status, about);
  }

  static TemporaryFolder* folder;
};
TemporaryFolder* Cli::folder = nullptr;

TEST_F(Cli, SaysItsVersionAndHelps) {
  EXPECT_EQ(run("--version").out.substr(0, 5), "slim ");
  const Outcome help = run("transcribe --help");
  EXPECT_EQ(help.status, 0);
  for (const char* option : {"--cache", "--cache-type", "--language", "--threads",
                             "--output-format", "--output-dir", "--stats"}) {
    EXPECT_NE(help.out.find(option), std::string::npos) << option;
  }
}

TEST_F(Cli, BadOptionsAreRefused) {
  expect_failure("", 2, "subcommand");
  expect_failure("transcribe speech.wav", 2, "--model");
  expect_failure("transcribe -m model --cache q speech.wav", 2, "--cache");
  expect_failure("transcribe -m model --threads -3 speech.wav", 2, "--threads");
  expect_failure("transcribe -m model --device abacus speech.wav", 2,
                 "this machine has reference, cpu");
  expect_failure("transcribe -m model --language xx speech.wav", 2, "xx");
  expect_failure("transcribe -m model --cache k --cache-type bf16 speech.wav", 2, "cond");
  expect_failure("transcribe -m model --calibration text.txt speech.wav", 2, "calibration");
}

TEST_F(Cli, TranscribesEveryFormToStdoutAndFiles) {
  const Outcome text = run("transcribe -m model speech.wav --stats");
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_NE(text.err.find("context"), std::string::npos);
  const Outcome all = run("transcribe -m model speech.wav -f all -o made/here");
  EXPECT_EQ(all.status, 0) << all.err;
  EXPECT_EQ(all.out, "");
  EXPECT_EQ(read_file(path("made/here/speech.txt")), text.out);
  EXPECT_EQ(read_file(path("made/here/speech.vtt")).substr(0, 8), "WEBVTT\n\n");
  EXPECT_EQ(read_file(path("made/here/speech.tsv")).substr(0, 15), "start\tend\ttext\n");
  const auto json = nlohmann::json::parse(read_file(path("made/here/speech.json")));
  EXPECT_NEAR(json.at("duration").get<double>(), 2.5, 1e-9);
  for (const auto& segment : json.at("segments")) {
    for (const char* field : {"id", "seek", "start", "end", "text", "tokens", "temperature",
                              "avg_logprob", "compression_ratio", "no_speech_prob", "words"}) {
      EXPECT_TRUE(segment.contains(field)) << field;
    }
  }
}

TEST_F(Cli, ConvertedWeightsRunEverywhere) {
  for (const std::string type : {"f16", "i8"}) {
    const Outcome made = run("convert -m model -o made-" + type + " --weights " + type);
    EXPECT_EQ(made.status, 0) << made.err;
    EXPECT_NE(made.out.find("rounding changes"), std::string::npos) << made.out;
    for (const std::string cache : {"auto", "kv"}) {
      const std::string model = " -m made-" + type + " --cache " + cache;
      EXPECT_EQ(run("transcribe speech.wav" + model).status, 0) << model;
      EXPECT_EQ(run("verify speech.wav" + model).status, 0) << model;
    }
    EXPECT_EQ(run("bench -b 1 -n 2 --repeats 1 --read-bytes 65536 -m made-" + type).status, 0);
  }
  const std::string convert = "convert -m model -o again ";
  expect_failure(convert + "--weights i4", 2, "f32, f16, bf16 or i8");
  expect_failure(convert + "--weights f32", 2, "already");
  expect_failure(convert + "--weights i8 --cache kv", 2, "--weights");
  expect_failure("convert -m model -o made-i8 --weights f16", 2, "not empty");
  expect_failure("convert -m missing -o again --weights f16", 4, "missing");
}

TEST_F(Cli, DetectsLanguagesAlone) {
  const Outcome outcome = run("transcribe -m model speech.wav --detect-language -f all -o none");
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "speech.wav\ten\t1.0000\n");
  EXPECT_FALSE(fs::exists(path("none")));
  expect_failure("transcribe -m model missing.wav --detect-language", 4, "missing.wav");
}

TEST_F(Cli, BadTranscriptionOptionsAreSentences) {
  const auto refuse = [](const std::string& options, const std::string& about) {
    expect_failure("transcribe -m model speech.wav " + options, 2, about);
  };
  refuse("--task translate", "English");
  refuse("--task dance", "--task");
  refuse("--temperature warm", "--temperature");
  refuse("--temperature 0,,1", "--temperature");
  refuse("--temperature 0,nan", "--temperature");
  refuse("--temperature=-1", "temperature -1");
  refuse("--suppress-tokens -1,1.5", "whole");
  refuse("--suppress-tokens 123456", "123456");
  refuse("--clip-timestamps 5,3", "clip_timestamps 3");
  refuse("--best-of 0", "--best-of");
  refuse("--beam-size 0", "--beam-size");
  refuse("--beam_size 1000", "--beam-size");
  refuse("--patience 0", "patience 0");
  refuse("--patience nan", "patience");
  refuse("--length-penalty 2", "length_penalty 2");
  refuse("--highlight-words", "--highlight-words");
  refuse("--max-line-width 40", "--word-timestamps");
  refuse("--word-timestamps --max-line-count 2", "--max-line-width");
  refuse("--word-timestamps --max-line-width 40 --max-words-per-line 3", "not both");
  refuse("--hallucination-silence-threshold 2", "hallucination_silence_threshold");
  refuse("--vad-filter --vad-threshold 2", "vad threshold 2");
  refuse("--compression-ratio-threshold nan", "compression_ratio_threshold");
  refuse("--multilingual", "multilingual");
  for (const char* seed : {"-1", "1.5", "18446744073709551616", "x"}) {
    refuse(std::string("--seed=") + seed, "18446744073709551615");
  }
  refuse("--max-tokens 99999999999", "not in range");
  refuse("--max-initial-timestamp=-1", "max_initial_timestamp -1");
  refuse("--patience 1e300", "patience 1e+300");
}

TEST_F(Cli, TranscriptionOptionsAreTaken) {
  const Outcome outcome =
      run("transcribe -m model --suppress-tokens -1,40 --temperature 0,0.5,1 --best-of 2 --seed 3 "
          "--clip-timestamps 0,1,1.5 --initial-prompt before --hotwords hot --prefix so "
          "--beam_size 3 --patience 2 --length_penalty 0.6 "
          "--no-suppress-blank --task transcribe -f json speech.wav");
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  ASSERT_FALSE(json.at("segments").empty());
  EXPECT_EQ(json.at("segments").at(0).at("text").get<std::string>().substr(0, 3), " so");
}

// Flags of openai-whisper's command have values.
TEST_F(Cli, FlagsMayHaveValues) {
  const auto words = [](const std::string& options) {
    const Outcome outcome = run("transcribe -m model --seed 1 -f json speech.wav " + options);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return !nlohmann::json::parse(outcome.out).at("segments").at(0).at("words").is_null();
  };
  EXPECT_TRUE(
      words("--word_timestamps True --condition_on_previous_text False --language English"));
  EXPECT_FALSE(words("--word_timestamps False --condition_on_previous_text True"));
}

// Silero's weights are looked for, and what told speech is said.
TEST_F(Cli, SilenceIsToldByWhatIsThere) {
  ASSERT_EQ(unsetenv("SLIM_VAD_MODEL"), 0);
  const fs::path network = fs::path(SLIM_TEST_DATA) / "golden" / "speech_network";
  const auto detector = [&](const std::string& options, bool notice) {
    const Outcome outcome = run("transcribe -m model speech.wav -f json --vad-filter " + options);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(outcome.err.find("told by its energy") != std::string::npos, notice) << outcome.err;
    return nlohmann::json::parse(outcome.out).at("vad_detector").get<std::string>();
  };
  EXPECT_EQ(detector("", true), "energy");
  EXPECT_EQ(detector("--vad-model energy", false), "energy");
  EXPECT_EQ(detector("--vad-model " + network.string(), false), "network");
  const std::string file = (network / "model.safetensors").string();
  EXPECT_EQ(detector("--batched --vad_model " + file, false), "network");
  fs::create_directory(path("silero-vad"));
  fs::copy(file, path("silero-vad"));
  EXPECT_EQ(detector("", false), "network");
  ASSERT_EQ(setenv("SLIM_VAD_MODEL", "energy", 1), 0);
  EXPECT_EQ(detector("", false), "energy");
  ASSERT_EQ(setenv("SLIM_VAD_MODEL", "nowhere", 1), 0);
  const std::string filter = "transcribe -m model speech.wav --vad-filter ";
  expect_failure(filter, 4, "nowhere");
  ASSERT_EQ(unsetenv("SLIM_VAD_MODEL"), 0);
  expect_failure(filter + "--vad-model model", 4, "stft_conv.weight");
  EXPECT_TRUE(nlohmann::json::parse(run("transcribe -m model speech.wav -f json").out)
                  .at("vad_detector")
                  .is_null());
  const Outcome stats = run(filter + "--stats");
  EXPECT_NE(stats.err.find("left out by " + path("silero-vad").string()), std::string::npos)
      << stats.err;
  fs::remove_all(path("silero-vad"));
}

// The seconds of a cue's time line, or of none.
std::vector<double> cue_times(const std::string& line) {
  int h[2], m[2], s[2], ms[2];
  if (std::sscanf(line.c_str(), "%d:%d:%d,%d --> %d:%d:%d,%d", h, m, s, ms, h + 1, m + 1, s + 1,
                  ms + 1) != 8) {
    return {};
  }
  std::vector<double> times;
  for (int i = 0; i < 2; ++i) times.push_back(h[i] * 3600 + m[i] * 60 + s[i] + ms[i] / 1000.0);
  return times;
}

TEST_F(Cli, WordsHaveTimesInEveryForm) {
  const std::string command = "transcribe -m model speech.wav --word_timestamps --temperature 0 ";
  const Outcome json = run(command + "-f json --vad-filter --vad-threshold 0.3");
  EXPECT_EQ(json.status, 0) << json.err;
  const auto document = nlohmann::json::parse(json.out);
  for (const auto& segment : document.at("segments")) {
    std::string text;
    for (const auto& word : segment.at("words")) {
      for (const char* field : {"start", "end", "probability"}) EXPECT_TRUE(word.contains(field));
      text += word.at("word").get<std::string>();
    }
    EXPECT_EQ(text, segment.at("text").get<std::string>());
  }
  for (const char* style : {"", "--highlight-words", "--max-words-per-line 2",
                            "--max-line-width 12 --max-line-count 2"}) {
    const Outcome srt = run(command + "-f srt " + style);
    EXPECT_EQ(srt.status, 0) << srt.err;
    std::istringstream lines(srt.out);
    std::string line;
    double last = 0;
    int cues = 0;
    while (std::getline(lines, line)) {
      const std::vector<double> times = cue_times(line);
      for (const double time : times) {
        EXPECT_GE(time, last) << style;
        last = time;
      }
      cues += times.empty() ? 0 : 1;
    }
    EXPECT_GT(cues, 0) << style;
    if (std::string(style) == "--highlight-words") {
      EXPECT_NE(srt.out.find("<u>"), std::string::npos);
    }
  }
}

TEST_F(Cli, ReadsStandardInput) {
  const Outcome piped = run("transcribe -m model - <speech.wav");
  EXPECT_EQ(piped.status, 0) << piped.err;
  EXPECT_EQ(piped.out, run("transcribe -m model speech.wav").out);
  EXPECT_EQ(run("transcribe -m model - < /dev/null").status, 4);
}

TEST_F(Cli, ABadFileDoesNotStopTheOthers) {
  write_file(path("text.wav"), "this is text");
  const Outcome outcome = run("transcribe -m model text.wav speech.wav -f json -o mixed");
  EXPECT_EQ(outcome.status, 4);
  EXPECT_NE(outcome.err.find("text.wav"), std::string::npos);
  EXPECT_TRUE(fs::exists(path("mixed/speech.json")));
  EXPECT_FALSE(fs::exists(path("mixed/text.json")));
}

TEST_F(Cli, TwoInputsOfOneNameAreRefusedBeforeAnythingRuns) {
  fs::create_directories(path("other"));
  fs::copy_file(path("speech.wav"), path("other/speech.wav"));
  expect_failure("transcribe -m model speech.wav other/speech.wav -o twice", 2, "speech");
  EXPECT_FALSE(fs::exists(path("twice")));
}

TEST_F(Cli, BadAudioIsASentence) {
  write_file(path("empty.wav"), "");
  write_file(path("cut.wav"), wav(16000, 1, sweep(1000), 100000));
  expect_failure("transcribe -m model empty.wav", 4, "empty.wav");
  expect_failure("transcribe -m model cut.wav", 4, "cut.wav");
  expect_failure("transcribe -m model missing.wav", 4, "missing.wav");
  expect_failure("transcribe -m model .", 4, ".");
  expect_failure("transcribe -m model speech.wav -o speech.wav/dir", 4, "speech.wav/dir");
}

TEST_F(Cli, OddAudioWorks) {
  for (const size_t samples : {0U, 1U, 399U}) {
    write_file(path("short.wav"), wav(16000, 1, sweep(samples)));
    EXPECT_EQ(run("transcribe -m model short.wav").status, 0) << samples;
  }
  for (const int rate : {8000, 11025, 44100, 192000}) {
    write_file(path("rate.wav"), wav(rate, 1, sweep(static_cast<size_t>(rate))));
    EXPECT_EQ(run("transcribe -m model rate.wav").status, 0) << rate;
  }
  write_file(path("six.wav"), wav(48000, 6, sweep(48000 * 6)));
  EXPECT_EQ(run("transcribe -m model six.wav").status, 0);
}

TEST_F(Cli, BadModelsAreSentences) {
  expect_failure("inspect -m nowhere", 4, "nowhere");
  const auto broken = [&](const std::string& name) {
    fs::copy(path("model"), path(name));
    return path(name);
  };
  const std::string weights = read_file(path("model/model.safetensors"));
  write_file(broken("cut") / "model.safetensors", weights.substr(0, weights.size() / 2));
  expect_failure("inspect -m cut", 4, "model.safetensors");
  fs::remove(broken("bare") / "model.safetensors");
  expect_failure("transcribe -m bare speech.wav", 4, "bare");
  write_file(broken("unknown") / "config.json", R"({"architectures": ["GptBigForCausalLM"]})");
  expect_failure("inspect -m unknown", 3, "GptBigForCausalLM");
  auto config = nlohmann::json::parse(read_file(path("model/config.json")));
  config["d_model"] = "wide";
  write_file(broken("typed") / "config.json", config.dump());
  expect_failure("inspect -m typed", 4, "d_model");
  fs::remove(broken("mute") / "tokenizer.json");
  expect_failure("transcribe -m mute speech.wav", 4, "tokenizer.json");
}

TEST_F(Cli, InspectPrintsThePlan) {
  const auto json = nlohmann::json::parse(run("inspect -m model --json").out);
  EXPECT_EQ(json.at("family"), "whisper");
  ASSERT_EQ(json.at("layers").size(), 4U);
  for (const auto& layer : json.at("layers")) {
    for (const char* field :
         {"layer", "attention", "kind", "row_type", "condition_k", "bytes_per_token",
          "kv_bytes_per_token", "predicted_error", "reason"}) {
      EXPECT_TRUE(layer.contains(field)) << field;
    }
  }
  const auto& context = json.at("context_bytes");
  EXPECT_NEAR(context.at("ratio").get<double>(),
              context.at("kv").get<double>() / context.at("slim").get<double>(), 1e-12);
  EXPECT_NE(run("inspect -m model").out.find("encoder"), std::string::npos);
  const auto alone = nlohmann::json::parse(run("inspect -m model/config.json --json").out);
  EXPECT_EQ(alone.at("layers").at(0).at("condition_k"), nullptr);
}

TEST_F(Cli, VerifyPrintsTheDivergence) {
  const auto json = nlohmann::json::parse(
      run("verify -m model speech.wav --cache x --cache-type f32 --json").out);
  for (const char* field :
       {"tokens", "logit_rel", "kl_mean", "kl_p99", "kl_max", "top1", "context_bytes"}) {
    EXPECT_TRUE(json.contains(field)) << field;
  }
  EXPECT_LT(json.at("kl_max").get<double>(), 1e-8);
  write_file(path("words.txt"), "only words");
  expect_failure("verify -m model words.txt", 4, "words.txt");
}

TEST_F(Cli, ComputeTypesAreSaid) {
  EXPECT_EQ(run("convert -m model -o bytes --weights i8").status, 0);
  const auto said = [&](const std::string& options, const std::string& what) {
    return run("inspect -m bytes" + options).out.find(what) != std::string::npos;
  };
  EXPECT_TRUE(said("", "products  int8_int16: "));
  EXPECT_TRUE(said("",
                   "is rounded to 8 bits, by 1/254 of its largest number at most; what "
                   "attention multiplies"));
  EXPECT_TRUE(said(" --compute-type int8", "products  int8: "));
  EXPECT_TRUE(said(" --compute-type float32", "products  float32\nweights"));
  EXPECT_NE(run("inspect -m model").out.find("products  float32_int16: what attention multiplies"),
            std::string::npos);
  const auto json =
      nlohmann::json::parse(run("verify -m bytes speech.wav --compute-type int16 --json").out);
  EXPECT_EQ(json.at("compute_type"), "int16");
  EXPECT_GT(json.at("logit_max").get<double>(), 0.0);
  expect_failure("inspect -m model --compute-type int8", 2, "weights of i8");
  expect_failure("inspect -m model --compute-type int4", 2, "int4");
}

TEST_F(Cli, BenchPrintsBothCaches) {
  const auto json = nlohmann::json::parse(
      run("bench -m model --batch 1,2 -n 2 --repeats 1 --read-bytes 65536 --json").out);
  EXPECT_EQ(json.size(), 8U);
  EXPECT_EQ(run("bench -m model --batch 1 -n 2 --repeats 1 --read-bytes 65536").status, 0);
  expect_failure("bench -m model --batch 0", 2, "0");
}

}  // namespace
}  // namespace slim
