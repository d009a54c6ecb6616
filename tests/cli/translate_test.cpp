// slim translate, and the other commands on models of text for text, as a user meets them.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "cli/shell.h"
#include "temporary_folder.h"

namespace slim {
namespace {

class TranslateCommand : public testing::Test {
 protected:
  static std::string model(const std::string& name) {
    return "-m " +
           (std::filesystem::path(SLIM_TEST_DATA) / "golden" / "translation" / name).string();
  }
  Outcome run(const std::string& arguments) { return Shell(folder_.path()).run(arguments); }
  void expect_failure(const std::string& arguments, int status, const std::string& about) {
    Shell(folder_.path()).expect_failure(arguments, status, about);
  }
  static std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }

  TemporaryFolder folder_;
};

TEST_F(TranslateCommand, GivesALineForALine) {
  folder_.write("in.txt", "Hello world\n\nthe words\r\nx");
  const std::string arguments = "translate " + model("t5_json") + " in.txt --max-length 8";
  const Outcome text = run(arguments + " --stats");
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_NE(text.err.find("sources"), std::string::npos) << text.err;
  const auto lines = lines_of(text.out);
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_EQ(lines[1], "");
  const Outcome json = run(arguments + " --json --num-hypotheses 3 --batch-size 2");
  const auto objects = lines_of(json.out);
  ASSERT_EQ(objects.size(), 4U);
  for (size_t i = 0; i < objects.size(); ++i) {
    const auto one = nlohmann::json::parse(objects[i]);
    EXPECT_EQ(one.at("hypotheses").at(0).at("text"), lines[i]);
    EXPECT_EQ(one.at("hypotheses").size(), i == 1 ? 1U : 3U);
  }
  EXPECT_EQ(nlohmann::json::parse(objects[2]).at("source"), "the words");
}

// But for what was asked for.
TEST_F(TranslateCommand, SaysHowManyLinesItCut) {
  folder_.write("in.txt", "Hello world\n\nthe words\n");
  const Outcome cut = run("translate " + model("t5_json") + " in.txt");
  EXPECT_NE(cut.err.find("2 of 3 lines have translations that were cut"), std::string::npos)
      << cut.err;
  EXPECT_EQ(run("translate " + model("t5_json") + " in.txt --max-length 8").err, "");
  const Outcome full = run("translate " + model("bart_json") + " in.txt --max-length 500 --json");
  EXPECT_NE(full.err.find("the context is full"), std::string::npos) << full.err;
}

TEST_F(TranslateCommand, ReadsStandardInput) {
  folder_.write("in.txt", "Hello world\n");
  const std::string arguments = "translate " + model("m2m_bpe") + " --source fr --target en ";
  EXPECT_EQ(run(arguments + "--max-length 6 in.txt").out,
            run(arguments + "--max-length 6 - < in.txt").out);
  EXPECT_EQ(run(arguments + " < /dev/null").out, "");
}

// A pipe is read once, so its lines are not counted first.
TEST_F(TranslateCommand, ReadsPipesByName) {
  const std::string text = "Hello world\n\nHello\n";
  folder_.write("in.txt", text);
  const std::string command = "translate " + model("t5_json") + " ";
  const std::string expected = run(command + "in.txt").out;
  EXPECT_EQ(lines_of(expected).size(), 3U);
  const std::filesystem::path pipe = folder_.path() / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(pipe) << text; });
  EXPECT_EQ(run(command + "pipe").out, expected);
  writer.join();
}

TEST_F(TranslateCommand, DrawsTexts) {
  folder_.write("in.txt", "Hello world\n");
  const std::string translate = "translate " + model("t5_json") + " in.txt --max-length 12 ";
  const std::string draws = translate + "--temperature 1.5 --top-k 50 --top-p 0.95 ";
  const Outcome drawn = run(draws + "--seed 4 --num-hypotheses 3");
  EXPECT_EQ(drawn.status, 0) << drawn.err;
  EXPECT_EQ(lines_of(drawn.out).size(), 3U);
  EXPECT_EQ(run(draws + "--seed 4 --num-hypotheses 3").out, drawn.out);
  EXPECT_EQ(run(translate + "--temperature 1.5 --top-k 1").out,
            run(translate + "--beam-size 1").out);
  const std::string generate = "generate " + model("t5_json") + " -p 'Hello world' -n 12 ";
  EXPECT_EQ(run(generate + "--temp 1.5 --top-k 1").out, run(generate).out);
  EXPECT_NE(run(generate + "--temp 1.5 --seed 4").out, run(generate).out);
}

TEST_F(TranslateCommand, SaysWhatIsWrong) {
  folder_.write("in.txt", "Hello world\n\xFF\n");
  folder_.write("good.txt", "Hello\n");
  expect_failure("translate " + model("m2m_bpe") + " good.txt", 2, "source language is missing");
  expect_failure("translate " + model("m2m_bpe") + " --source fr --target xx good.txt", 2,
                 "af, am");
  expect_failure("translate " + model("t5_json") + " in.txt", 2, "text 2");
  folder_.write("special.txt", "Hello\n\n<pad> </s>\nHello\n");
  expect_failure("translate " + model("t5_json") + " special.txt", 2,
                 "text 3: The text has nothing");
  expect_failure("translate " + model("t5_json") + " no.txt", 4, "no.txt");
  expect_failure("translate " + model("t5_json") + " good.txt --patience 0", 2, "patience");
  expect_failure("translate " + model("t5_json") + " .", 4, "directory");
  expect_failure("translate " + model("t5_json") + " good.txt --batch-size 0", 2, "batch");
  expect_failure("translate " + model("t5_json") + " good.txt --batch-size -1", 2, "batch");
  for (const char* option : {"--batch-size", "--beam-size", "--length-penalty", "--max-length"}) {
    expect_failure("translate " + model("t5_json") + " good.txt " + option + " ''", 2, option);
  }
  expect_failure("translate " + model("m2m_bpe") + " --source fr < /dev/null", 2,
                 "target language is missing");
  expect_failure("generate " + model("m2m_bpe") + " -p Hello", 2, "translate with it");
  expect_failure("generate " + model("t5_json") + " -p '</s> <extra_id_0>'", 2, "special tokens");
  expect_failure("perplexity " + model("t5_json") + " -f good.txt", 2, "encoder");
}

TEST_F(TranslateCommand, OtherCommandsKnowTheseModels) {
  folder_.write("in.txt", "Hello world\n");
  const Outcome verified = run("verify " + model("t5_json") + " in.txt --json");
  EXPECT_EQ(verified.status, 0) << verified.err;
  EXPECT_GT(nlohmann::json::parse(verified.out).at("tokens"), 0);
  const Outcome timed = run("bench " + model("t5_json") +
                            " -b 2 -n 3 --repeats 1 --source-tokens 5 --read-bytes 4096 --json");
  EXPECT_EQ(timed.status, 0) << timed.err;
  EXPECT_EQ(nlohmann::json::parse(timed.out).at(0).at("prompt_tokens"), 5);
  EXPECT_EQ(run("inspect " + model("t5_json")).status, 0);
  const Outcome prompted = run("generate " + model("t5_json") + " -p 'Hello <extra_id_0>' -n 5");
  EXPECT_EQ(prompted.status, 0) << prompted.err;
}

}  // namespace
}  // namespace slim
