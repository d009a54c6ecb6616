// slim forecast, and the other commands on models of series, as a user meets them.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/shell.h"
#include "temporary_folder.h"

namespace slim {
namespace {

class ForecastCommand : public testing::Test {
 protected:
  static std::filesystem::path model_path(const std::string& name) {
    return std::filesystem::path(SLIM_TEST_DATA) / "golden" / "forecast" / name;
  }
  static std::string model(const std::string& name) { return "-m " + model_path(name).string(); }
  Outcome run(const std::string& arguments) { return Shell(folder_.path()).run(arguments); }
  void expect_failure(const std::string& arguments, int status, const std::string& about) {
    Shell(folder_.path()).expect_failure(arguments, status, about);
  }
  // `bytes` as a file that is to be forecast.
  Outcome forecast(const std::string& bytes, const std::string& more = "") {
    folder_.write("in", bytes);
    return run("forecast " + model("bolt") + " in " + more);
  }
  void expect_bad_file(const std::string& bytes, const std::string& about) {
    folder_.write("in", bytes);
    expect_failure("forecast " + model("bolt") + " in", 4, about);
  }
  // The second column of the output's rows on.
  static std::vector<std::vector<std::string>> table_of(const std::string& text) {
    std::vector<std::vector<std::string>> rows;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
      std::istringstream fields(line);
      rows.emplace_back();
      for (std::string field; std::getline(fields, field, ',');) rows.back().push_back(field);
    }
    return rows;
  }

  TemporaryFolder folder_;
};

const char* const kSeries = "1\n2\n3\n4\n5\n4\n3\n2\n1\n";

TEST_F(ForecastCommand, GivesARowForEachStep) {
  const Outcome found = forecast(kSeries, "--horizon 8 --quantiles 0.2,0.9");
  EXPECT_EQ(found.status, 0) << found.err;
  const auto rows = table_of(found.out);
  ASSERT_EQ(rows.size(), 9U);
  EXPECT_EQ(rows[0], (std::vector<std::string>{"series", "step", "median", "q0.2", "q0.9"}));
  EXPECT_EQ(rows[8][0], "series 1");
  EXPECT_EQ(rows[8][1], "8");
  EXPECT_NE(found.err.find("6 steps at once"), std::string::npos) << found.err;
  const Outcome usual = forecast(kSeries);
  EXPECT_EQ(table_of(usual.out).size(), 7U);
  EXPECT_EQ(usual.err, "");
}

TEST_F(ForecastCommand, ReadsTheSameFromEveryForm) {
  const std::string expected = forecast(kSeries).out;
  EXPECT_EQ(forecast("[1, 2, 3, 4, 5, 4, 3, 2, 1]").out, expected);
  EXPECT_EQ(forecast(" [[1, 2, 3, 4, 5, 4, 3, 2, 1]]\n").out, expected);
  EXPECT_EQ(forecast("1\r\n2\r\n3\r\n4\r\n5\r\n4\r\n3\r\n2\r\n1\r\n\r\n").out, expected);
  EXPECT_EQ(forecast("\xEF\xBB\xBF+1\n2.0\n 3\n\"4\"\n5e0\n4\n3\n2\n1").out, expected);
  folder_.write("in", kSeries);
  EXPECT_EQ(run("forecast " + model("bolt") + " - < in").out, expected);
  const Outcome json = forecast(R"({"a, \"b\"": [1, 2, 3, 4, 5, 4, 3, 2, 1]})");
  EXPECT_NE(json.out.find("\"a, \"\"b\"\"\",1,"), std::string::npos) << json.out;
}

TEST_F(ForecastCommand, PassesTimesOver) {
  const std::string table =
      "date;load;place;wind\n2024-01-01;1;a;7\n2024-01-02;2;b;\n2024-01-03;3;c;8\n";
  const Outcome found = forecast(table);
  EXPECT_EQ(found.status, 0) << found.err;
  EXPECT_NE(found.err.find("'date', 'place'"), std::string::npos) << found.err;
  EXPECT_NE(found.err.find("'load', 'wind'"), std::string::npos) << found.err;
  const auto rows = table_of(found.out);
  ASSERT_EQ(rows.size(), 13U);
  EXPECT_EQ(rows[1][0], "load");
  EXPECT_EQ(rows[7][0], "wind");
  for (const char* columns : {"wind", "4"}) {
    const auto some = table_of(forecast(table, std::string("--columns ") + columns).out);
    ASSERT_EQ(some.size(), 7U);
    EXPECT_EQ(some[3], rows[9]);
  }
  expect_failure("forecast " + model("bolt") + " in --columns rain", 2, "'rain'");
  expect_failure("forecast " + model("bolt") + " in --columns 5", 2, "'5'");
  expect_failure("forecast " + model("bolt") + " in --columns date", 4, "2024-01-01");
  // Times without a header, and numbers that a header calls times.
  EXPECT_EQ(table_of(forecast("2024-01-01,1\n2024-01-02,2\n").out)[1][0], "series 2");
  EXPECT_EQ(table_of(forecast("year,index\n1990,1\n1991,2\n").out)[1][0], "year");
}

TEST_F(ForecastCommand, TakesSeriesBelowOneAnother) {
  const std::string rows =
      "item_id,timestamp,target\nb,2024-01-30 23:00,1\na,2024-01-01 00:00,5\n"
      "b,2024-01-31 00:00,2\na,2024-01-01 06:00,4\nb,2024-01-31 01:00,\na,2024-01-01 12:00,3\n"
      "b,2024-01-31 02:00,4\n";
  const Outcome found = forecast(rows, "--horizon 2");
  EXPECT_EQ(found.status, 0) << found.err;
  EXPECT_EQ(found.err, "");
  const auto table = table_of(found.out);
  ASSERT_EQ(table.size(), 5U);
  EXPECT_EQ(table[0][0] + table[0][1] + table[0][2], "item_idtimestampmedian");
  EXPECT_EQ(table[1][0] + table[1][1], "b2024-01-31 03:00");
  EXPECT_EQ(table[4][0] + table[4][1], "a2024-01-02 00:00");
  const auto wide =
      table_of(forecast(R"({"b": [1, 2, null, 4], "a": [5, 4, 3]})", "--horizon 2").out);
  for (size_t row = 1; row < 5; ++row) EXPECT_EQ(table[row][2], wide[row][2]);
  const auto json = nlohmann::json::parse(forecast(rows, "--horizon 2 --json").out);
  EXPECT_EQ(json[1]["times"][0], "2024-01-01 18:00");
}

TEST_F(ForecastCommand, GoesOnWithTimes) {
  const auto after = [&](const std::vector<std::string>& times) {
    std::string rows = "unique_id,ds,y\n";
    for (const std::string& time : times) rows += "x," + time + ",1\n";
    const auto table = table_of(forecast(rows, "--horizon 2").out);
    return table.at(1).at(1) + " " + table.at(2).at(1);
  };
  EXPECT_EQ(after({"2024-02-27", "2024-02-28"}), "2024-02-29 2024-03-01");
  EXPECT_EQ(after({"2023-12-31", "2024-01-31"}), "2024-02-29 2024-03-31");
  EXPECT_EQ(after({"2023-06-30", "2023-09-30"}), "2023-12-31 2024-03-31");
  EXPECT_EQ(after({"2023-11-30", "2023-12-30"}), "2024-01-30 2024-02-29");
  EXPECT_EQ(after({"2023-01-01", "2024-01-01"}), "2025-01-01 2026-01-01");
  EXPECT_EQ(after({"2024-01-01T22:00:00Z", "2024-01-01T23:30:00Z"}),
            "2024-01-02T01:00:00Z 2024-01-02T02:30:00Z");
  EXPECT_EQ(after({"1990", "1992", "1994"}), "1996 1998");
  // No rule, or no time.
  EXPECT_EQ(after({"2024-01-01", "2024-01-02", "2024-01-04"}), "1 2");
  EXPECT_EQ(after({"2024-01-01"}), "1 2");
  EXPECT_EQ(after({"2024-02-30", "2024-03-01"}), "1 2");
  EXPECT_EQ(after({"2024-01-02", "2024-01-01"}), "1 2");
  EXPECT_EQ(after({"9999-12-30", "9999-12-31"}), "1 2");
  EXPECT_EQ(after({"-9007199254740991", "9007199254740991"}), "1 2");
  EXPECT_NE(forecast("item_id,ds,y\nx,1,1\nx,2,1\nx,4,1\n").err.find("'x'"), std::string::npos);
}

TEST_F(ForecastCommand, AsksWhichColumnOfSeriesBelowOneAnother) {
  const std::string rows = "item_id,load,wind\na,1,2\na,2,3\n";
  const Outcome wind = forecast(rows, "--columns wind --horizon 1");
  EXPECT_EQ(table_of(wind.out)[0][1], "step");
  EXPECT_NE(wind.err.find("Not looked at: 'load'"), std::string::npos) << wind.err;
  expect_failure("forecast " + model("bolt") + " in", 2, "'load', 'wind'");
  expect_failure("forecast " + model("bolt") + " in --columns load,wind", 2, "one column");
  expect_bad_file("item_id,y\na,1\n,2\n", "Row 3 has no 'item_id'");
  expect_bad_file("item_id,y\na,1\na,x\n", "'x' in row 3");
}

TEST_F(ForecastCommand, TakesMissingValues) {
  const Outcome gap = forecast("x,y\n1,1\n,2\n3,3\nNaN,4\n5,5\n");
  EXPECT_EQ(gap.status, 0) << gap.err;
  EXPECT_EQ(forecast(R"({"x": [1, null, 3, null, 5], "y": [1, 2, 3, 4, 5]})").out, gap.out);
  EXPECT_EQ(forecast("1\n\n3\nNA\n5\n").out, forecast("[1, null, 3, null, 5]").out);
  expect_failure("forecast " + model("bolt") + " in --horizon 3 --quantiles 2", 2, "quantiles");
}

TEST_F(ForecastCommand, GivesJson) {
  const Outcome found = forecast(R"({"a": [1, 2, 3], "b": [5, 4]})", "--json --horizon 2");
  const auto all = nlohmann::json::parse(found.out);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[1]["series"], "b");
  EXPECT_EQ(all[1]["values"], 2);
  EXPECT_EQ(all[0]["quantiles"]["0.1"].size(), 2U);
  EXPECT_EQ(all[0]["median"], all[0]["quantiles"]["0.5"]);
  EXPECT_EQ(all[0]["median"], all[0]["mean"]);
}

TEST_F(ForecastCommand, DrawsPathsBySeed) {
  folder_.write("in", kSeries);
  const std::string command = "forecast " + model("chronos") + " in --num-samples 7 ";
  const Outcome first = run(command + "--seed 5 --stats");
  EXPECT_EQ(first.status, 0) << first.err;
  EXPECT_NE(first.err.find("seed 5"), std::string::npos) << first.err;
  EXPECT_NE(first.err.find("42 tokens"), std::string::npos) << first.err;
  EXPECT_EQ(run(command + "--seed 5").out, first.out);
  EXPECT_NE(run(command + "--seed 6").out, first.out);
  EXPECT_EQ(run(command + "--temp 0 --seed 5").out, run(command + "--top-k 1 --seed 6").out);
  expect_failure(command + "--top-p 3", 2, "top_p");
  expect_failure(command + "--num-samples 0", 2, "samples");
  expect_failure("forecast " + model("bolt") + " in --seed 1", 2, "seed");
}

TEST_F(ForecastCommand, Plots) {
  const Outcome found = forecast("a<b,c\n1,2\n2,\n3,4\n4,5\n", "--plot out.svg");
  EXPECT_EQ(found.status, 0) << found.err;
  const std::string picture = read_file(folder_.path() / "out.svg");
  EXPECT_TRUE(picture.starts_with("<svg"));
  EXPECT_TRUE(picture.ends_with("</svg>\n"));
  EXPECT_NE(picture.find("a&lt;b"), std::string::npos);
  const auto count = [&](const std::string& what) {
    size_t times = 0;
    for (size_t at = picture.find(what); at != std::string::npos; at = picture.find(what, at + 1)) {
      ++times;
    }
    return times;
  };
  EXPECT_EQ(count("<polygon"), 2U);
  EXPECT_EQ(count("<polyline"), 2U + 3U);  // the second series is in two parts
  EXPECT_EQ(count("nan"), 0U);
  EXPECT_EQ(forecast("5\n5\n", "--plot one.svg --quantiles 0.5").status, 0);
  expect_failure("forecast " + model("bolt") + " in --plot out.png", 2, ".svg");
  expect_failure("forecast " + model("bolt") + " in --plot no/out.svg", 4, "no/out.svg");
}

TEST_F(ForecastCommand, SaysWhatIsWrongWithAFile) {
  expect_bad_file("", "no numbers");
  expect_bad_file(" \n\n", "no numbers");
  expect_bad_file("load\n1\ntwo\n3\n", "'two' in row 3 of the column 'load'");
  expect_bad_file("1,2\n3\n", "Row 2 has 1 fields");
  expect_bad_file("a,b\nx,y\n", "No column");
  expect_bad_file("hello\n", "No column");
  expect_bad_file("a,b\n1,\"2\n", "no end");
  expect_bad_file("a,b\n1,\"2\"3\n", "follows");
  expect_bad_file("1\ninf\n", "'inf'");
  expect_bad_file("1\n1e999\n", "'1e999'");
  expect_bad_file("[1, 2", "JSON");
  expect_bad_file("[1, \"2\"]", "Element 2");
  expect_bad_file("[[1], 2]", "'series 2'");
  expect_bad_file("[[1], [2, [3]]]", "Element 2 of 'series 2'");
  expect_bad_file("{\"a\": 3}", "'a'");
  expect_bad_file("{}", "no series");
  expect_bad_file("[[1], [2], NaN]", "JSON");
  expect_failure("forecast " + model("bolt") + " none.csv", 4, "none.csv");
}

TEST_F(ForecastCommand, SaysWhatIsWrongWithASeriesOrOption) {
  folder_.write("in", R"({"good": [1, 2], "bad": [null, null], "none": []})");
  expect_failure("forecast " + model("bolt") + " in", 2, "bad");
  expect_failure("forecast " + model("bolt") + " in --columns none", 2, "none");
  expect_failure("forecast " + model("bolt") + " in --columns good,other", 2, "columns");
  expect_failure("forecast " + model("bolt") + " in --horizon 0", 2, "horizon");
  expect_failure("forecast " + model("bolt") + " in --columns good --quantiles ''", 2, "quantiles");
  expect_failure("forecast " + model("bolt") + " in --horizon 10000000", 2, "horizon");
  folder_.write("missing", "load\nNaN\n\nNA\n");
  expect_failure("forecast " + model("bolt") + " missing", 2, "load: None of the last 3 values");
  folder_.write("list", "[1, 1e300]");
  expect_failure("forecast " + model("bolt") + " list", 2, "Value 2");
  expect_failure("forecast " + model("bolt") + " list --columns a", 2, "names");
}

TEST_F(ForecastCommand, SaysWhatIsWrongWithAModel) {
  folder_.write("in", kSeries);
  const std::string weights = read_file(model_path("bolt") / "model.safetensors");
  const std::string config = read_file(model_path("bolt") / "config.json");
  folder_.write("cut/config.json", config);
  folder_.write("cut/model.safetensors", weights.substr(0, weights.size() / 2));
  expect_failure("forecast -m cut in", 4, "model.safetensors");
  folder_.write("bare/config.json", config);
  expect_failure("forecast -m bare/config.json in", 4, "no weights");
  const auto text = std::filesystem::path(SLIM_TEST_DATA) / "golden" / "translation" / "t5_json";
  expect_failure("forecast -m " + text.string() + " in", 2, "series of numbers");
  expect_failure("translate " + model("bolt") + " in", 2, "series of numbers");
  expect_failure("generate " + model("chronos") + " -p Hello", 2, "series of numbers");
}

TEST_F(ForecastCommand, OtherCommandsKnowTheseModels) {
  folder_.write("in", kSeries);
  for (const std::string name : {"bolt", "chronos"}) {
    const Outcome verified = run("verify " + model(name) + " in --json");
    EXPECT_EQ(verified.status, 0) << verified.err;
    const auto report = nlohmann::json::parse(verified.out);
    EXPECT_EQ(report.at("sequences"), 1);
    EXPECT_EQ(report.at("kl_mean").is_null(), name == "bolt");
    EXPECT_EQ(run("verify " + model(name) + " in").status, 0);
    const Outcome timed =
        run("bench " + model(name) + " -b 1 --repeats 1 --read-bytes 4096 --json");
    EXPECT_EQ(timed.status, 0) << timed.err;
    EXPECT_EQ(run("bench " + model(name) + " -b 1 --repeats 1 --read-bytes 4096").status, 0);
    const Outcome inspected = run("inspect " + model(name) + " --json");
    EXPECT_EQ(nlohmann::json::parse(inspected.out).at("series_horizon"), 6) << inspected.err;
    const Outcome converted = run("convert " + model(name) + " -o converted_" + name);
    EXPECT_EQ(converted.status, 0) << converted.err;
    const std::string options = name == "bolt" ? "" : " --seed 1";
    EXPECT_EQ(run("forecast -m converted_" + name + " in" + options).out,
              run("forecast " + model(name) + " in --cache-type f16" + options).out);
  }
}

}  // namespace
}  // namespace slim
