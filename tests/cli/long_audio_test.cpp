// Long files, channels, runs over many files that are killed, and sound that is still coming in.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/shell.h"
#include "cli/wav.h"
#include "engine/random_whisper.h"
#include "temporary_folder.h"

namespace slim {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class LongAudio : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    write_random_whisper(folder->path() / "model", {});
    write_file(path("long.wav"), wav(16000, 1, sweep(160000)));
    write_file(path("stereo.wav"), wav(16000, 2, stereo(80000)));
    write_file(path("empty.wav"), "");
    write_file(path("one.wav"), wav(16000, 1, sweep(1)));
    write_file(path("cut.wav"), wav(16000, 1, sweep(1000), 100000));
  }
  static void TearDownTestSuite() { delete folder; }

  // The right one is the sweep backwards.
  static std::vector<int16_t> stereo(size_t frames) {
    const std::vector<int16_t> left = sweep(frames);
    std::vector<int16_t> both;
    for (size_t i = 0; i < frames; ++i) {
      both.push_back(left[i]);
      both.push_back(left[frames - 1 - i]);
    }
    return both;
  }
  static fs::path path(const std::string& name) { return folder->path() / name; }
  static Outcome run(const std::string& arguments) { return Shell(folder->path()).run(arguments); }
  static void expect_failure(const std::string& arguments, int status, const std::string& about) {
    Shell(folder->path()).expect_failure(arguments, status, about);
  }
  static std::vector<json> lines_of(const std::string& text) {
    std::vector<json> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
    return lines;
  }

  static TemporaryFolder* folder;
};
TemporaryFolder* LongAudio::folder = nullptr;

TEST_F(LongAudio, BatchedWritesEveryForm) {
  const std::string batched = "transcribe -m model --batched --temperature 0 ";
  const Outcome all = run(batched + "long.wav one.wav -f all -o forms");
  EXPECT_EQ(all.status, 0) << all.err;
  for (const char* form : {"txt", "srt", "vtt", "tsv", "json"}) {
    EXPECT_TRUE(fs::exists(path("forms/long." + std::string(form)))) << form;
    EXPECT_TRUE(fs::exists(path("forms/one." + std::string(form)))) << form;
  }
  const json written = json::parse(read_file(path("forms/long.json")));
  double last = 0;
  for (const json& segment : written["segments"]) {
    EXPECT_GE(segment["start"], last);
    last = segment["end"];
  }
  EXPECT_GE(written["segments"].size(), 4U);  // windows are 2 s
  EXPECT_LE(last, 10);
  const Outcome failing = run(batched + "-b 3 empty.wav cut.wav long.wav -o some");
  EXPECT_EQ(failing.status, 4);
  EXPECT_NE(failing.err.find("empty.wav"), std::string::npos);
  EXPECT_NE(failing.err.find("cut.wav"), std::string::npos);
  EXPECT_EQ(read_file(path("some/long.txt")), read_file(path("forms/long.txt")));
}

TEST_F(LongAudio, ChannelsAreTranscribedEachByItself) {
  const std::string split = "transcribe -m model --temperature 0 --channels split ";
  const Outcome both = run(split + "stereo.wav -f json");
  ASSERT_EQ(both.status, 0) << both.err;
  const json all = json::parse(both.out);
  std::vector<json> of_channel[2];
  double last = 0;
  for (const json& segment : all["segments"]) {
    EXPECT_GE(segment["start"], last);
    last = segment["start"];
    of_channel[segment["channel"].get<int>()].push_back(segment["tokens"]);
  }
  write_file(path("left.wav"), wav(16000, 1, sweep(80000)));
  const json left = json::parse(run(split + "left.wav -f json").out);
  ASSERT_EQ(of_channel[0].size(), left["segments"].size());
  for (size_t i = 0; i < of_channel[0].size(); ++i) {
    EXPECT_EQ(of_channel[0][i], left["segments"][i]["tokens"]);
  }
  EXPECT_FALSE(of_channel[1].empty());
  EXPECT_NE(run(split + "stereo.wav").out.find("[channel 1] "), std::string::npos);
  EXPECT_NE(run(split + "stereo.wav -f srt").out.find("[channel 0] "), std::string::npos);
  EXPECT_NE(run(split + "stereo.wav -f vtt --word-timestamps").out.find("<v channel 1>"),
            std::string::npos);
  EXPECT_EQ(run(split + "stereo.wav -f tsv").out.rfind("start\tend\tchannel\ttext\n", 0), 0U);
  EXPECT_EQ(run(split + "- -f json < stereo.wav").out, both.out);
  EXPECT_EQ(run(split + "--batched - -f json < one.wav").status, 0);
  EXPECT_EQ(json::parse(run("transcribe -m model stereo.wav -f json").out)["segments"][0].count(
                "channel"),
            0U);
  expect_failure(split + "empty.wav", 4, "empty.wav");
  expect_failure(split + "cut.wav", 4, "cut.wav");
  expect_failure("transcribe -m model --channels left stereo.wav", 2, "--channels");
}

TEST_F(LongAudio, AKilledRunGoesOnWhereItWas) {
  std::string files;
  for (int i = 0; i < 8; ++i) {
    const std::string name = "part" + std::to_string(i) + ".wav";
    write_file(path(name), wav(16000, 1, sweep(160000 + 16000 * static_cast<size_t>(i))));
    files += " " + name;
  }
  const std::string all =
      "transcribe -m model --temperature 0 -f all -o parts" + files + " empty.wav";
  run(all + " & p=$!; while [ ! -e parts/part1.json ]; do sleep 0.01; done; kill -9 $p; wait $p");
  std::vector<std::pair<fs::path, fs::file_time_type>> before;
  for (const auto& entry : fs::directory_iterator(path("parts"))) {
    if (entry.path().extension() == ".json") {
      before.emplace_back(entry.path(), fs::last_write_time(entry.path()));
      EXPECT_TRUE(json::accept(read_file(entry.path())));
    }
  }
  ASSERT_GE(before.size(), 2U);
  ASSERT_LT(before.size(), 8U) << "it was not killed in time";
  const Outcome rest = run(all + " --resume");
  EXPECT_EQ(rest.status, 4) << "a file is empty";
  EXPECT_NE(rest.err.find(std::to_string(before.size()) + " of 9"), std::string::npos) << rest.err;
  for (const auto& [file, time] : before) EXPECT_EQ(fs::last_write_time(file), time);
  for (int i = 0; i < 8; ++i) {
    for (const char* form : {"txt", "srt", "vtt", "tsv", "json"}) {
      EXPECT_TRUE(fs::exists(path("parts/part" + std::to_string(i) + "." + form)));
    }
  }
  EXPECT_FALSE(fs::exists(path("parts/empty.txt")));
  const Outcome nothing = run("transcribe -m nowhere -o parts --resume" + files);
  EXPECT_EQ(nothing.status, 0) << "there is nothing to load a model for";
  expect_failure("transcribe -m model --resume long.wav", 2, "--resume");
  expect_failure("transcribe -m model --resume -o parts --detect-language long.wav", 2, "--resume");
}

TEST_F(LongAudio, LiveTextComesInLines) {
  const std::string live = "transcribe -m model --temperature 0 --live --live-step 0.5 ";
  const Outcome piped = run(live + "-f json - < long.wav");
  ASSERT_EQ(piped.status, 0) << piped.err;
  double last = 0;
  int64_t final = 0;
  for (const json& line : lines_of(piped.out)) {
    if (line["partial"]) {
      EXPECT_FALSE(line["text"].get<std::string>().empty());
      continue;
    }
    EXPECT_EQ(line["id"], ++final);
    EXPECT_GE(line["start"], last);
    last = line["end"];
  }
  EXPECT_GE(final, 3);
  write_file(path("samples"), read_file(path("long.wav")).substr(44));
  EXPECT_EQ(run(live + "--raw -f json - < samples").out, piped.out);
  EXPECT_EQ(run(live + "long.wav -f json").out, piped.out);
  EXPECT_EQ(run(live + "stereo.wav").status, 0);
  EXPECT_EQ(run(live + "one.wav").out, "");
  EXPECT_EQ(run(live + "cut.wav").status, 0) << "a pipe may end whenever it likes";
  EXPECT_EQ(run(live + "--raw - < empty.wav").status, 0);
}

TEST_F(LongAudio, LiveRefusesWithASentence) {
  const std::string live = "transcribe -m model --live ";
  expect_failure(live + "empty.wav", 4, "empty.wav");
  expect_failure(live + "missing.wav", 4, "missing.wav");
  expect_failure(live + "model/config.json", 4, "--raw");
  write_file(path("rate.wav"), wav(8000, 1, sweep(100)));
  expect_failure(live + "rate.wav", 4, "16 kHz");
  write_file(path("head.wav"), wav(16000, 1, sweep(100)).substr(0, 30));
  expect_failure(live + "head.wav", 4, "head.wav");
  expect_failure(live + "long.wav stereo.wav", 2, "--live");
  expect_failure(live + "long.wav -f srt", 2, "--output-format");
  expect_failure(live + "long.wav -o out", 2, "--output-dir");
  expect_failure(live + "long.wav --batched", 2, "batched");
  expect_failure(live + "long.wav --vad-filter", 2, "vad_filter");
  expect_failure(live + "long.wav --live-step 0", 2, "step");
  expect_failure("transcribe -m model --raw long.wav", 2, "--raw");
}

}  // namespace
}  // namespace slim
