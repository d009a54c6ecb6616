// The commands of language models as a user meets them.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/shell.h"
#include "engine/random_llama.h"
#include "temporary_folder.h"

namespace slim {
namespace {

namespace fs = std::filesystem;

class TextCommands : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    RandomLlama shape;
    shape.chat_template =
        "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";
    write_random_llama(folder->path() / "model", shape);
    write_random_llama(folder->path() / "plain", {});
    std::string text;
    for (int i = 0; i < 30; ++i) text += "Line " + std::to_string(i * i) + " of the text.\n";
    folder->write("text.txt", text);
    folder->write("question", "Hello there\n");
    folder->write("questions", "Hello there\n\nAnd more\n/reset\nHello there\n/exit\nNever\n");
    folder->write("prompt.txt", "Once upon a time\n");
  }
  static void TearDownTestSuite() { delete folder; }

  static fs::path path(const std::string& name) { return folder->path() / name; }
  static Outcome run(const std::string& arguments) { return Shell(folder->path()).run(arguments); }
  static nlohmann::json json(const std::string& arguments) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 0) << arguments << ": " << outcome.err;
    return nlohmann::json::parse(outcome.out);
  }
  static void expect_failure(const std::string& arguments, int status, const std::string& about) {
    Shell(folder->path()).expect_failure(arguments, status, about);
  }

  static TemporaryFolder* folder;
};
TemporaryFolder* TextCommands::folder = nullptr;

TEST_F(TextCommands, GenerateStreamsTheTextOfItsJson) {
  const std::string arguments = "generate -m model -p 'Once upon a time' -n 12 --ignore-eos";
  const Outcome text = run(arguments + " --stats");
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_NE(text.err.find("context"), std::string::npos);
  const auto all = json(arguments + " --json --logprobs 2");
  const auto& sample = all.at("samples").at(0);
  EXPECT_EQ(text.out, sample.at("text").get<std::string>() + "\n");
  EXPECT_EQ(sample.at("tokens").size(), 12U);
  EXPECT_EQ(sample.at("finish"), "length");
  EXPECT_EQ(sample.at("logprobs").size(), 12U);
  EXPECT_EQ(sample.at("logprobs").at(0).at("top").size(), 2U);
  for (const char* field : {"seed", "prompt_tokens", "generated_tokens", "context_bytes",
                            "context_kv_bytes", "prompt_tokens_per_second"}) {
    EXPECT_TRUE(all.contains(field)) << field;
  }
}

TEST_F(TextCommands, GenerateReadsPromptsFromFiles) {
  const std::string rest = " -m model -n 5 --ignore-eos";
  const std::string expected = run("generate -p 'Once upon a time'" + rest).out;
  EXPECT_EQ(run("generate -f prompt.txt" + rest).out, expected);
  EXPECT_EQ(run("generate -f -" + rest + " <prompt.txt").out, expected);
  expect_failure("generate -f nowhere.txt" + rest, 4, "nowhere.txt");
  expect_failure("generate" + rest, 2, "prompt");
  expect_failure("generate -p a -f prompt.txt" + rest, 2, "prompt");
}

TEST_F(TextCommands, SeedsRepeatAndSamplesDiffer) {
  const std::string arguments =
      "generate -m model -p 'Once upon' -n 8 --ignore-eos --temp 1.5 --top-k 50 --top-p 0.99 "
      "--min-p 0.001 --num-samples 2 --seed 5 --json";
  const auto once = json(arguments);
  EXPECT_EQ(once.at("samples"), json(arguments).at("samples"));
  EXPECT_EQ(once.at("seed"), 5);
  EXPECT_NE(once.at("samples").at(0), once.at("samples").at(1));
}

TEST_F(TextCommands, ChatAnswersLines) {
  const std::string chat = "chat -m model -n 6 --ignore-eos";
  const Outcome answered = run(chat + " <questions");
  EXPECT_EQ(answered.status, 0) << answered.err;
  const Outcome first = run(chat + " --stats <question");
  EXPECT_EQ(first.status, 0) << first.err;
  EXPECT_NE(first.err.find("cached"), std::string::npos);
  ASSERT_FALSE(first.out.empty());
  // The third answer is the first again, after /reset; nothing is read after /exit.
  EXPECT_EQ(answered.out.substr(0, first.out.size()), first.out);
  EXPECT_TRUE(answered.out.ends_with(first.out));
  EXPECT_GT(answered.out.size(), 2 * first.out.size());
  EXPECT_EQ(run(chat + " </dev/null").status, 0);
  expect_failure("chat -m plain </dev/null", 2, "chat template");
}

TEST_F(TextCommands, AClosedPipeIsNoFailure) {
  const Outcome outcome = run("generate -m model -p a -n 200 --ignore-eos; echo $? >status");
  EXPECT_EQ(outcome.status, 0);
  // The reader goes away at once; `pipefail` would show a death by SIGPIPE.
  const Outcome closed =
      run("--version >version; { sleep 0.2; " + std::string(SLIM_BINARY) +
          " generate -m model -p a -n 200 --ignore-eos; echo $? >status; } | true");
  EXPECT_EQ(closed.err, "");
  EXPECT_EQ(read_file(path("status")), "0\n");
}

TEST_F(TextCommands, CtrlCEndsTheTextCleanly) {
  // Interrupted once there is text, however long loading takes. (set -m: else a shell's background
  // commands ignore interrupts.)
  const Outcome outcome =
      run("--version; set -m; " + std::string(SLIM_BINARY) +
          " generate -m model -p a -n 0 -c 100000 --device reference --ignore-eos --force-cache "
          "--stats >written & while kill -0 $! 2>/dev/null && [ ! -s written ]; do sleep 0.05; "
          "done; kill -INT $!; wait $!; echo status $?");
  EXPECT_NE(outcome.out.find("status 130"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.err.find("context"), std::string::npos) << outcome.err;
}

TEST_F(TextCommands, BadRequestsAreSentences) {
  expect_failure("generate -m model -p ''", 2, "empty");
  expect_failure("generate -m model -p a --temp -1", 2, "temperature");
  expect_failure("generate -m model -p a --top-p 2", 2, "top_p");
  expect_failure("generate -m model -p a -n -1", 2, "--tokens");
  expect_failure("generate -m model -p a --logprobs 3", 2, "--json");
  expect_failure("generate -m model -p a --cache-type i7", 2, "--cache-type");
  expect_failure("generate -m model -p a --cache-budget -1", 2, "budget");
  expect_failure("generate -m model -f text.txt -c 20", 2, "20");
  expect_failure("transcribe -m model text.txt", 2, "model of text");
  expect_failure("perplexity -m model -f nowhere.txt", 4, "nowhere.txt");
  expect_failure("perplexity -m model", 2, "--file");
  write_file(path("broken.gguf"), "GGUF");
  expect_failure("inspect -m broken.gguf", 4, "broken.gguf");
}

TEST_F(TextCommands, PerplexityAndVerifyScoreATextFile) {
  const auto perplexity = json("perplexity -m model -f text.txt -c 128 --json");
  EXPECT_GT(perplexity.at("perplexity").get<double>(), 1);
  EXPECT_NE(run("perplexity -m model -f text.txt").out.find("perplexity"), std::string::npos);
  const auto exact = json("verify -m model text.txt --cache kv --cache-type f32 --json");
  EXPECT_EQ(exact.at("kl_max"), 0);
  const auto rounded = json("verify -m model text.txt --cache kv --cache-type i8 -n 100 --json");
  EXPECT_GT(rounded.at("kl_mean"), 0);
  EXPECT_EQ(rounded.at("tokens"), 100);
  for (const char* field : {"logit_max", "kl_p99", "top1", "context_bytes", "context_bf16_bytes",
                            "bytes_per_token", "bf16_bytes_per_token"}) {
    EXPECT_TRUE(rounded.contains(field)) << field;
  }
  EXPECT_NE(run("verify -m model text.txt --cache kv").out.find("top-1"), std::string::npos);
}

TEST_F(TextCommands, InspectPrintsThePlan) {
  const auto all = json("inspect -m model --json --cache k --cache-type i12 --force-cache");
  EXPECT_EQ(all.at("family"), "llama");
  const auto& layer = all.at("layers").at(0);
  for (const char* field : {"kind", "row_type", "spill", "rank", "predicted_error",
                            "bytes_per_token", "hot_bytes_per_token", "reason"}) {
    EXPECT_TRUE(layer.contains(field)) << field;
  }
  EXPECT_EQ(layer.at("row_type"), "i12");
  EXPECT_NE(run("inspect -m model/config.json").out.find("context"), std::string::npos);
}

TEST_F(TextCommands, APlanCanBeMeasured) {
  const std::string trained = std::string(SLIM_TEST_DATA) + "/golden/trained";
  const std::string measured = " --calibration " + trained + "/heldout.txt";
  const auto all = json("inspect --json -m " + trained + measured);
  const auto& calibration = all.at("calibration");
  EXPECT_EQ(calibration.at("tokens"), 1024);
  EXPECT_GT(calibration.at("kl"), 0);
  EXPECT_LE(calibration.at("kl").get<double>(), calibration.at("kv_kl").get<double>());
  EXPECT_GT(calibration.at("predicted_budget"), 0);
  EXPECT_TRUE(json("inspect --json -m " + trained).at("calibration").is_null());
  const Outcome made = run("convert -o measured -m " + trained + measured);
  EXPECT_EQ(made.status, 0) << made.err;
  EXPECT_NE(made.out.find("measured on 1024 tokens"), std::string::npos) << made.out;
  EXPECT_EQ(json("inspect --json -m measured").at("layers").at(0).at("row_type"),
            all.at("layers").at(0).at("row_type"));
  expect_failure("inspect -m model --calibration nowhere.txt", 4, "nowhere.txt");
  expect_failure("generate -m model -p a --cache kv --calibration text.txt", 2, "calibration");
}

TEST_F(TextCommands, ConvertStoresWhatGenerateThenUses) {
  const std::string keys = " --cache k --cache-type i16 --force-cache";
  const Outcome made = run("convert -m model -o stored" + keys);
  EXPECT_EQ(made.status, 0) << made.err;
  EXPECT_NE(made.out.find("written"), std::string::npos);
  const std::string rest = " -p 'Once upon a time' -n 20 --ignore-eos";
  EXPECT_EQ(run("generate -m stored" + rest).out, run("generate -m model" + rest + keys).out);
  expect_failure("convert -m model -o stored" + keys, 2, "not empty");
}

TEST_F(TextCommands, BenchPrintsBothCaches) {
  const auto rows = json("bench -m model -p 20,40 -n 2 --repeats 1 --read-bytes 65536 --json");
  ASSERT_EQ(rows.size(), 4U);
  for (const auto& row : rows) {
    const double bytes =
        row.at("step_weight_bytes").get<double>() + row.at("step_row_bytes").get<double>();
    const double rate = row.at("read_bytes_per_second").get<double>();
    EXPECT_NEAR(rate * row.at("step_seconds").get<double>() / bytes, 1, 1e-9);
    const double limit = row.at("read_limit_bytes_per_second").get<double>();
    EXPECT_NEAR(rate / limit / row.at("read_share").get<double>(), 1, 1e-9);
  }
  EXPECT_EQ(rows.at(0).at("cache"), "kv");
  EXPECT_EQ(rows.at(1).at("cache"), "slim");
  EXPECT_EQ(run("bench -m model -p 20 -n 2 --repeats 1 --read-bytes 65536").status, 0);
}

}  // namespace
}  // namespace slim
