// What is no speech, or hardly any, under every option that changes how sound is read; and an hour.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/shell.h"
#include "cli/wav.h"
#include "engine/random_whisper.h"
#include "temporary_folder.h"

namespace slim {
namespace {

namespace fs = std::filesystem;

class OddAudio : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    write_random_whisper(folder->path() / "model", {});
  }
  static void TearDownTestSuite() { delete folder; }
  static fs::path path(const std::string& name) { return folder->path() / name; }
  static Outcome run(const std::string& arguments) {
    return Shell(folder->path()).run("transcribe -m model --temperature 0 " + arguments);
  }

  static TemporaryFolder* folder;
};
TemporaryFolder* OddAudio::folder = nullptr;

TEST_F(OddAudio, EveryOptionHasASentenceForIt) {
  write_file(path("speech.wav"), wav(16000, 1, sweep(40000)));
  write_file(path("empty.wav"), "");
  write_file(path("header.wav"), wav(16000, 1, {}).substr(0, 20));
  write_file(path("cut.wav"), wav(16000, 1, sweep(1000), 100000));
  write_file(path("noise.wav"), std::string(5000, '\x5a'));
  write_file(path("text.mp3"), "no audio at all");
  std::vector<float> values(40000, 0.25F);
  values[30000] = std::numeric_limits<float>::quiet_NaN();
  write_file(path("nan.wav"), float_wav(16000, values));
  fs::create_directories(path("folder.wav"));
  const std::vector<std::string> options = {
      "--batched",
      "--channels split",
      "--resume -o out",
      "--live",
      "--vad-filter --vad-model energy",
      "--word-timestamps",
      "--batched -b 3 --vad-filter --vad-model energy --word-timestamps --channels split"};
  for (const std::string& option : options) {
    const bool live = option == "--live";
    for (const char* file : {"empty.wav", "header.wav", "cut.wav", "noise.wav", "text.mp3",
                             "nan.wav", "folder.wav", "missing.wav", "/dev/null"}) {
      const Outcome alone = run(std::string(file) + " " + option);
      if (live && std::string(file) == "cut.wav") {
        EXPECT_EQ(alone.status, 0) << "a pipe may end whenever it likes";
        continue;
      }
      EXPECT_EQ(alone.status, 4) << file << " " << option << ": " << alone.err;
      EXPECT_NE(alone.err.find(file), std::string::npos) << option << ": " << alone.err;
      const int lines = option.starts_with("--resume") ? 2 : 1;  // how many were done before
      EXPECT_EQ(std::count(alone.err.begin(), alone.err.end(), '\n'), lines) << alone.err;
      if (live) continue;
      EXPECT_EQ(alone.out, "") << file << " " << option;
      // Beside a good one, which is heard all the same.
      const bool written = option.find(" -o ") != option.npos;
      const Outcome both =
          run(std::string(file) + " speech.wav " + option + (written ? "" : " -o out"));
      EXPECT_EQ(both.status, 4) << file << " " << option << ": " << both.err;
      EXPECT_TRUE(fs::exists(path("out/speech.txt"))) << file << " " << option;
      fs::remove_all(path("out"));
    }
  }
}

TEST_F(OddAudio, HardlyAnySoundIsNoError) {
  write_file(path("one.wav"), wav(16000, 1, sweep(1)));
  write_file(path("silent.wav"), wav(16000, 1, std::vector<int16_t>(50000)));
  write_file(path("loud.wav"), wav(16000, 2, std::vector<int16_t>(50000, INT16_MIN)));
  write_file(path("none.wav"), wav(16000, 1, {}));
  for (const char* option : {"--batched", "--channels split", "--resume -o out -f all", "--live",
                             "--vad-filter", "--word-timestamps -f json"}) {
    for (const char* file : {"one.wav", "silent.wav", "loud.wav", "none.wav"}) {
      const Outcome outcome = run(std::string(file) + " " + option);
      EXPECT_EQ(outcome.status, 0) << file << " " << option << ": " << outcome.err;
    }
    fs::remove_all(path("out"));
  }
}

// "01:02:03.004" or "01:02:03,004", or with two numbers alone; in seconds.
double clock_seconds(const std::string& text) {
  double seconds = 0;
  double part = 0;
  std::string plain = text;
  std::replace(plain.begin(), plain.end(), ',', '.');
  std::istringstream stream(plain);
  for (std::string field; std::getline(stream, field, ':');) {
    std::sscanf(field.c_str(), "%lf", &part);
    seconds = seconds * 60 + part;
  }
  return seconds;
}

// Starts and ends of all cues.
std::vector<double> cue_times(const std::string& file) {
  std::vector<double> times;
  std::istringstream lines(read_file(file));
  for (std::string line; std::getline(lines, line);) {
    const size_t arrow = line.find(" --> ");
    if (arrow == std::string::npos) continue;
    times.push_back(clock_seconds(line.substr(0, arrow)));
    times.push_back(clock_seconds(line.substr(arrow + 5)));
  }
  return times;
}

// An hour and a bit, mostly silence, at the lowest rate there is.
TEST_F(OddAudio, TimesOfAnHourAreInOrderInEveryForm) {
  constexpr size_t kRate = 1000;
  constexpr size_t kSeconds = 3700;
  std::vector<int16_t> samples(kSeconds * kRate);
  for (const size_t begin : {size_t{5}, size_t{59}, size_t{1800}, size_t{3598}, size_t{3690}}) {
    const std::vector<int16_t> sound = sweep(4 * kRate);
    std::copy(sound.begin(), sound.end(), samples.begin() + static_cast<ptrdiff_t>(begin * kRate));
  }
  write_file(path("hour.wav"), wav(kRate, 1, samples));
  for (const std::string batched : {"", " --batched"}) {
    const Outcome outcome = run("hour.wav --beam-size 1 -f all -o hour" + batched);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const auto json = nlohmann::json::parse(read_file(path("hour/hour.json")));
    EXPECT_NEAR(json.at("duration").get<double>(), kSeconds, 0.01);
    std::vector<double> times;
    std::string text;
    for (const auto& segment : json.at("segments")) {
      times.push_back(segment.at("start").get<double>());
      times.push_back(segment.at("end").get<double>());
    }
    EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
    EXPECT_GE(times.size(), 10U);
    EXPECT_GT(times.back(), 3690);
    EXPECT_LE(times.back(), kSeconds);
    std::vector<double> listed;
    std::istringstream table(read_file(path("hour/hour.tsv")));
    std::string line;
    std::getline(table, line);
    while (std::getline(table, line)) {
      double start = 0;
      double end = 0;
      ASSERT_EQ(std::sscanf(line.c_str(), "%lf\t%lf", &start, &end), 2) << line;
      listed.push_back(start / 1000);
      listed.push_back(end / 1000);
    }
    for (const auto& form :
         {listed, cue_times(path("hour/hour.srt")), cue_times(path("hour/hour.vtt"))}) {
      ASSERT_EQ(form.size(), times.size());
      for (size_t i = 0; i < form.size(); ++i) EXPECT_NEAR(form[i], times[i], 0.0011) << i;
    }
    const std::string lines = read_file(path("hour/hour.txt"));
    EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), std::ssize(times) / 2);
  }
}

}  // namespace
}  // namespace slim
