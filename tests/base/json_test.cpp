// JsonObject: typed reading, and the sentence for each way a field can be wrong.
#include "base/json.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "error_matchers.h"
#include "temporary_folder.h"

namespace slim {
namespace {

JsonObject parse(std::string_view text) { return JsonObject::parse(text, "x.json"); }

// What reading one field does, as something to fail.
template <typename Read>
testing::AssertionResult rejects(std::string_view text, std::string_view why, Read read) {
  return fails_with(ErrorCode::bad_file, {"x.json, field '", why}, [&] { read(parse(text)); });
}

TEST(Json, ReadsEveryType) {
  const JsonObject json = parse(
      R"({"i": -3, "u": 7, "r": 1.5, "b": true, "s": "caf\u00e9", "n": null, "o": {"x": {"y": 1}},
          "is": [1, 2, 3], "ss": ["a", ""], "os": [{"k": 1}, {"k": 2}], "ls": [[3, 1], []],
          "ms": ["a b", ["a", "b"]]})");
  EXPECT_EQ(json.integer("i", -3, 0), -3);
  EXPECT_EQ(json.integer("u", 0, INT64_MAX), 7);
  EXPECT_EQ(json.real("r"), 1.5);
  EXPECT_EQ(json.real("i"), -3.0);
  EXPECT_TRUE(json.boolean("b"));
  EXPECT_EQ(json.string("s"), "caf\xc3\xa9");
  EXPECT_FALSE(json.has("n"));
  EXPECT_FALSE(json.has("absent"));
  EXPECT_EQ(json.object("o").object("x").integer("y", 0, 9), 1);
  EXPECT_EQ(json.integers("is", 0, 3), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(json.reals("is"), (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(json.strings("ss"), (std::vector<std::string>{"a", ""}));
  EXPECT_EQ(json.objects("os").at(1).integer("k", 0, 9), 2);
  EXPECT_EQ(json.integer_lists("ls", 0, 9), (std::vector<std::vector<int64_t>>{{3, 1}, {}}));
  EXPECT_EQ(json.string_lists("ms"), (std::vector<std::vector<std::string>>{{"a b"}, {"a", "b"}}));
  EXPECT_TRUE(json.is_string("s"));
  EXPECT_TRUE(json.is_list("is"));
  EXPECT_TRUE(json.is_object("o"));
  EXPECT_FALSE(json.is_string("n") || json.is_list("o") || json.is_object("absent"));
}

TEST(Json, KeepsTheOrderOfFields) {
  EXPECT_EQ(parse(R"({"z": 1, "a": 2, "m": 3})").fields(),
            (std::vector<std::string>{"z", "a", "m"}));
  EXPECT_TRUE(parse("{}").fields().empty());
}

TEST(Json, AChildOutlivesItsParent) {
  const JsonObject child = parse(R"({"a": {"b": "text"}})").object("a");
  EXPECT_EQ(child.string("b"), "text");
}

TEST(Json, FindsFieldsOfALargeObject) {
  std::string text = "{";
  for (int i = 0; i < 50000; ++i) {
    text += "\"token" + std::to_string(i) + "\": " + std::to_string(i) + ", ";
  }
  const JsonObject json = parse(text + "\"last\": 0}");
  for (int i = 0; i < 50000; i += 997) {
    EXPECT_EQ(json.integer("token" + std::to_string(i), 0, 50000), i);
  }
}

TEST(Json, IntegersMayBeWrittenAsFloats) {
  EXPECT_EQ(parse(R"({"a": 512.0})").integer("a", 0, 1000), 512);
  EXPECT_EQ(parse(R"({"a": 1e3})").integer("a", 0, 1000), 1000);
}

TEST(Json, RejectsNamingTheFieldAndTheReason) {
  const auto integer = [](const JsonObject& json) { json.integer("a", -5, 5); };
  EXPECT_TRUE(rejects("{}", "'a': The field is missing", integer));
  EXPECT_TRUE(rejects(R"({"a": null})", "missing", integer));
  EXPECT_TRUE(rejects(R"({"a": "1"})", "must be an integer, but is a string", integer));
  EXPECT_TRUE(rejects(R"({"a": 1.5})", "fraction", integer));
  EXPECT_TRUE(rejects(R"({"a": 6})", "between -5 and 5", integer));
  EXPECT_TRUE(rejects(R"({"a": -6})", "between", integer));
  EXPECT_TRUE(rejects(R"({"a": 18446744073709551615})", "between", integer));
  EXPECT_TRUE(rejects(R"({"a": 1e300})", "between", integer));
  EXPECT_TRUE(rejects(R"({"a": 123456789012345678901234567890})", "between", integer));
  EXPECT_TRUE(rejects(R"({"a": []})", "must be a number, but is a list",
                      [](const JsonObject& json) { json.real("a"); }));
  EXPECT_TRUE(rejects(R"({"a": 1})", "must be a boolean",
                      [](const JsonObject& json) { json.boolean("a"); }));
  EXPECT_TRUE(rejects(R"({"a": {}})", "must be a string, but is an object",
                      [](const JsonObject& json) { json.string("a"); }));
  EXPECT_TRUE(rejects(R"({"a": true})", "must be an object, but is a boolean",
                      [](const JsonObject& json) { json.object("a"); }));
  EXPECT_TRUE(rejects(R"({"a": [1, 2, 9]})", "'a[2]'",
                      [](const JsonObject& json) { json.integers("a", 0, 5); }));
  EXPECT_TRUE(
      rejects(R"({"a": ["", 1]})", "'a[1]'", [](const JsonObject& json) { json.strings("a"); }));
  EXPECT_TRUE(
      rejects(R"({"a": [{}, 1]})", "'a[1]'", [](const JsonObject& json) { json.objects("a"); }));
  EXPECT_TRUE(rejects(R"({"a": [[1], [1, "x"]]})", "'a[1][1]'",
                      [](const JsonObject& json) { json.integer_lists("a", 0, 5); }));
}

TEST(Json, NamesTheWholePathOfANestedField) {
  const auto read = [](const JsonObject& json) {
    json.object("rope").objects("steps").at(1).real("scale");
  };
  EXPECT_TRUE(
      rejects(R"({"rope": {"steps": [{}, {"scale": "x"}]}})", "'rope.steps[1].scale'", read));
  EXPECT_TRUE(rejects(R"({"a": {"b": 1}})", "'a.b': The field is odd",
                      [](const JsonObject& json) { json.object("a").reject("b", "is odd"); }));
}

TEST(Json, RefusesWhatIsNoJsonObject) {
  for (const std::string text :
       {"", " ", "nonsense", "{", "{\"a\"", "{\"a\": 1", "{\"a\": 1}}", "{\"a\": 01}", "{'a': 1}",
        "{\"a\": 1,}", "{\"a\": NaN}", "{\"a\": \"\xff\"}", "{\"a\": 1e999}", "{\"a\": \"\n\"}"}) {
    EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"x.json", "not valid JSON"}, [&] { parse(text); }))
        << text;
  }
  EXPECT_TRUE(
      fails_with(ErrorCode::bad_file, {"must be an object, but is a list"}, [] { parse("[1]"); }));
}

TEST(Json, RefusesAFieldGivenTwice) {
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"'a' is given twice"},
                         [] { parse(R"({"b": {"a": 1, "c": 2, "a": 3}})"); }));
  EXPECT_NO_THROW(parse(R"({"a": {"a": 1}, "b": {"a": 1}})"));
}

TEST(Json, LimitsTheDepth) {
  const auto nested = [](size_t depth) {
    return "{\"a\": " + std::string(depth, '[') + std::string(depth, ']') + "}";
  };
  EXPECT_NO_THROW(parse(nested(63)));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"more than 64 deep"}, [&] { parse(nested(64)); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"more than 64 deep"},
                         [&] { parse("{\"a\": " + std::string(1000000, '[')); }));
}

TEST(Json, ReadsAFileAndNamesIt) {
  const TemporaryFolder folder;
  const auto path = folder.write("config.json", R"({"a": 1})");
  const JsonObject json = JsonObject::read(path);
  EXPECT_EQ(json.integer("a", 0, 1), 1);
  EXPECT_EQ(json.place(), path.string());
  EXPECT_TRUE(
      fails_with(ErrorCode::bad_file, {path.string() + ", field 'b'"}, [&] { json.string("b"); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"absent.json"},
                         [&] { JsonObject::read(folder.path() / "absent.json"); }));
}

}  // namespace
}  // namespace slim
