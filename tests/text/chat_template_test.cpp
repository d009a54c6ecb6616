// ChatTemplate against Transformers' apply_chat_template, and what it refuses.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "error_matchers.h"
#include "golden_texts.h"

namespace slim {
namespace {

using nlohmann::json;

const json& golden() {
  static const json data = [] {
    std::ifstream file(golden_folder() / "chat.json");
    return json::parse(file);
  }();
  return data;
}

std::vector<ChatMessage> conversation(size_t index) {
  std::vector<ChatMessage> messages;
  for (const json& turn : golden()["conversations"][index]) {
    messages.push_back({turn[0].get<std::string>(), turn[1].get<std::string>()});
  }
  return messages;
}

ChatTemplate::Options options(bool prompt = true) { return {prompt, "<s>", "</s>", {}}; }

std::string render(const std::string& source) {
  return ChatTemplate::parse(source).render(conversation(1), options());
}

// The text, or null where Transformers raises an error, for then this must throw one.
void expect_text(const json& expected, const std::string& what,
                 const std::function<std::string()>& action) {
  if (expected.is_null()) {
    EXPECT_THROW(action(), Error) << what;
    return;
  }
  try {
    EXPECT_EQ(action(), expected.get<std::string>()) << what;
  } catch (const Error& error) {
    ADD_FAILURE() << what << "\n" << error.what();
  }
}

TEST(ChatTemplate, RendersWhatTransformersDoes) {
  ASSERT_EQ(golden()["templates"].size(), 15u);
  for (const json& model : golden()["templates"]) {
    const auto chat = ChatTemplate::parse(model["source"].get<std::string>());
    for (size_t i = 0; i < golden()["conversations"].size(); ++i) {
      for (const bool prompt : {false, true}) {
        expect_text(model["texts"][i][prompt ? 1 : 0],
                    model["name"].get<std::string>() + " " + std::to_string(i),
                    [&] { return chat.render(conversation(i), options(prompt)); });
      }
    }
  }
}

TEST(ChatTemplate, HasJinjasConstructs) {
  for (const json& snippet : golden()["snippets"]) {
    const auto source = snippet[0].get<std::string>();
    expect_text(snippet[1], source, [&] { return render(source); });
  }
}

// A template that must be refused with these words.
testing::AssertionResult refuses(const std::string& source,
                                 std::initializer_list<std::string_view> parts) {
  return fails_with(ErrorCode::unsupported_model, parts, [&] { render(source); });
}

TEST(ChatTemplate, NamesLineAndConstructOfWhatItHasNot) {
  EXPECT_TRUE(refuses("\n\n{% include 'x' %}", {"chat template, line 3", "'include'"}));
  EXPECT_TRUE(refuses("{% raw %}{% endraw %}", {"line 1", "'raw'"}));
  EXPECT_TRUE(refuses("{% call x() %}{% endcall %}", {"'call'"}));
  EXPECT_TRUE(refuses("{% filter upper %}{% endfilter %}", {"'filter'"}));
  EXPECT_TRUE(refuses("a\n{{ x | nosuch }}", {"line 2", "the filter 'nosuch'"}));
  EXPECT_TRUE(refuses("{{ x is nosuch }}", {"the test 'nosuch'"}));
  EXPECT_TRUE(refuses("{{ 2 ** 3 }}", {"'**'"}));
  EXPECT_TRUE(refuses("{{ f(*x) }}", {"arguments from a list"}));
  EXPECT_TRUE(refuses("{% for x in [1] recursive %}{% endfor %}", {"'recursive'"}));
  EXPECT_TRUE(refuses("{% set x | upper %}a{% endset %}", {"a filter on a block"}));
  EXPECT_TRUE(refuses("{{ 'a'.encode() }}", {"the method 'encode' of a string"}));
  EXPECT_TRUE(refuses("{{ {'a': 1}.pop('a') }}", {"the method 'pop' of a dict"}));
  EXPECT_TRUE(refuses("{{ [1].append(2) }}", {"the method 'append' of a list"}));
  EXPECT_TRUE(refuses("{{ x @ y }}", {"the character '@'"}));
  EXPECT_TRUE(refuses("{{ \xC3\xA9 }}", {"the character '\xC3\xA9'"}));
}

TEST(ChatTemplate, RefusesWhatIsMalformed) {
  for (const char* source :
       {"{{",
        "{%",
        "{#",
        "{{ 1",
        "{% if",
        "{% if 1 %}",
        "{% if 1 %}{% endfor %}",
        "{% endif %}",
        "{% else %}",
        "{{ }}",
        "{% %}",
        "{{ 'a }}",
        "{{ ( }}",
        "{{ [1, }}",
        "{{ {1} }}",
        "{{ a b }}",
        "{{ a. }}",
        "{{ a.1 }}",
        "{{ 1x }}",
        "{{ '\\u12' }}",
        "{{ '\\ud800' }}",
        "{% set = 1 %}",
        "{% set a %}",
        "{% set a, b %}{% endset %}",
        "{% for in x %}{% endfor %}",
        "{% for x y %}{% endfor %}",
        "{% macro %}{% endmacro %}",
        "{% macro m(a=1, b) %}{% endmacro %}",
        "{% break %}",
        "{% for x in [1] %}{% macro m() %}{% continue %}{% endmacro %}{% endfor %}",
        "{{ 99999999999999999999 }}",
        "{{ a[1 }}",
        "{{ a[1:2:3:4] }}",
        "{% if 1 %}{% else %}{% else %}{% endif %}",
        "{{ not }}",
        "{{ x is }}",
        "{{ x | }}",
        "{{ f(a=) }}",
        "{% set a.b.c = 1 %}"}) {
    EXPECT_TRUE(refuses(source, {"chat template, line 1"})) << source;
  }
}

TEST(ChatTemplate, PassesOnWhatTheTemplateSays) {
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"line 2", "Roles must take turns"},
                         [] { render("\n{{ raise_exception('Roles must take turns') }}"); }));
}

TEST(ChatTemplate, TellsTheTimeOnlyIfItIsGiven) {
  const auto chat = ChatTemplate::parse(
      "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% else %}no{% endif %}");
  ChatTemplate::Options given = options();
  EXPECT_EQ(chat.render({}, given), "no");
  given.now = 1721952000;
  EXPECT_EQ(chat.render({}, given), "26 Jul 2024");
}

TEST(ChatTemplate, EndsWhatWouldNotEnd) {
  const std::string doubling =
      "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(99) %}";
  for (const std::string& source :
       {std::string("{% for i in range(999999999) %}x{% endfor %}"),
        std::string(
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
        std::string("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
        std::string("{{ 'a' * 999999999999 }}"),
        doubling + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        doubling + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        doubling + "{% set ns.x = [ns.x, ns.x] %}{% if i == 50 %}{{ ns.x }}{% endif %}{% endfor %}",
        doubling + "{% set ns.x = [ns.x, ns.x] %}{% if i == 50 %}{{ ns.x | tojson(indent=64) }}{% "
                   "endif %}{% endfor %}",
        doubling + "{% set ns.x = [ns.x, ns.x] %}{% if i == 50 %}{{ ns.x == ns.x }}{% endif %}{% "
                   "endfor %}",
        doubling + "{% set ns.x = ns.x | replace('a', 'aaaa') %}{% endfor %}",
        doubling + "{% set ns.x = ns.x.replace('a', ns.x) %}{% endfor %}",
        doubling + "{% set ns.x = ns.x | join(ns.x) %}{% endfor %}",
        doubling + "{% set ns.x = ns.x.join(ns.x | list) %}{% endfor %}",
        std::string("{% set ns = namespace() %}{% set ns.x = ns %}"),
        std::string("{% set ns = namespace() %}{% set ns.x = [ns] %}"),
        "{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}",
        "{{ " + std::string(5000, '-') + "1 }}",
        "{{ 1" +
            [] {
              std::string sum;
              for (int i = 0; i < 5000; ++i) sum += " + 1";
              return sum;
            }() +
            " }}",
        [] {
          std::string nested;
          for (int i = 0; i < 5000; ++i) nested += "{% if 1 %}";
          return nested;
        }()}) {
    EXPECT_TRUE(refuses(source, {"chat template"})) << source.substr(0, 200);
  }
}

// Long conversations are no attack.
TEST(ChatTemplate, RendersLongConversations) {
  std::vector<ChatMessage> messages;
  for (int i = 0; i < 2000; ++i) {
    messages.push_back({i % 2 == 0 ? "user" : "assistant", std::string(2000, 'x')});
  }
  for (const json& model : golden()["templates"]) {
    const auto chat = ChatTemplate::parse(model["source"].get<std::string>());
    EXPECT_GT(chat.render(messages, options()).size(), 2000u * 2000u) << model["name"];
  }
}

// A template with a byte changed must render or throw an Error, and never more.
TEST(ChatTemplate, SurvivesDamage) {
  for (const json& model : golden()["templates"]) {
    const auto whole = model["source"].get<std::string>();
    for (size_t at = 0; at < whole.size(); at += 7) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ 0x13);
      try {
        render(damaged);
        render(whole.substr(0, at));
      } catch (const Error& error) {
        EXPECT_FALSE(error.text().empty());
        EXPECT_NE(error.code(), ErrorCode::internal);
      }
    }
  }
}

}  // namespace
}  // namespace slim
