// A session says what a fresh computation of the same conversation says, and computes little of it.
#include <gtest/gtest.h>

#include "engine/random_llama.h"
#include "engine/random_whisper.h"
#include "error_matchers.h"
#include "slim/slim.h"
#include "temporary_folder.h"

namespace slim {
namespace {

const char* const kTemplate =
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";

class ChatSessionTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    RandomLlama shape;
    shape.chat_template = kTemplate;
    shape.context = 1024;
    write_random_llama(folder->path() / "model", shape);
    shape.chat_template = "";
    write_random_llama(folder->path() / "plain", shape);
    write_random_whisper(folder->path() / "whisper", {});
  }
  static void TearDownTestSuite() { delete folder; }
  static std::string path(const std::string& name) { return (folder->path() / name).string(); }
  static EngineOptions cache(const std::string& kind, const std::string& type) {
    EngineOptions options;
    options.cache = kind;
    options.cache_type = type;
    options.force_cache = true;
    options.threads = 2;
    return options;
  }
  static GenerateOptions brief(int64_t tokens = 12) {
    GenerateOptions options;
    options.max_tokens = tokens;
    options.ignore_end = true;
    return options;
  }
  // What the template makes of a conversation.
  static std::string rendered(const std::vector<Message>& messages) {
    std::string text;
    for (const Message& one : messages) text += one.role + ": " + one.content + "\n";
    return text + "assistant: ";
  }

  static TemporaryFolder* folder;
};
TemporaryFolder* ChatSessionTest::folder = nullptr;

TEST_F(ChatSessionTest, TurnsEqualFreshComputations) {
  for (const auto& [kind, type] : {std::pair{"kv", "f32"}, {"k", "i16"}}) {
    Engine engine(path("model"), cache(kind, type));
    ChatSession session(engine, "Be brief.");
    std::vector<Message> messages = {{"system", "Be brief."}};
    for (int turn = 0; turn < 6; ++turn) {
      const std::string question = "Question number " + std::to_string(turn) + ", of many words?";
      messages.push_back({"user", question});
      GenerateRequest fresh;
      fresh.prompt = rendered(messages);
      fresh.options = brief();
      const Generation expected = engine.generate(fresh);
      const Generation answer = session.reply(question, brief());
      EXPECT_EQ(answer.samples[0].tokens, expected.samples[0].tokens) << kind << ' ' << turn;
      EXPECT_EQ(answer.stats.prompt_tokens, expected.stats.prompt_tokens);
      if (turn > 0) {
        EXPECT_GT(answer.stats.cached_tokens, answer.stats.prompt_tokens / 3) << turn;
      }
      messages.push_back({"assistant", answer.samples[0].text});
      ASSERT_EQ(session.messages().size(), messages.size());
      EXPECT_EQ(session.messages().back().content, messages.back().content);
    }
  }
}

TEST_F(ChatSessionTest, ResettingKeepsTheSystemMessage) {
  Engine engine(path("model"), cache("k", "i16"));
  ChatSession session(engine, "Be brief.");
  const auto first = session.reply("Hello there", brief()).samples[0].tokens;
  session.reply("And more", brief());
  session.reset();
  ASSERT_EQ(session.messages().size(), 1U);
  const Generation again = session.reply("Hello there", brief());
  EXPECT_EQ(again.samples[0].tokens, first);
}

TEST_F(ChatSessionTest, AMessageThatIsTooLongChangesNothing) {
  EngineOptions options = cache("k", "i16");
  options.context = 128;
  Engine engine(path("model"), options);
  ChatSession session(engine);
  session.reply("Hello", brief(4));
  const size_t before = session.messages().size();
  std::string text;
  for (int i = 0; i < 200; ++i) text += "word ";
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"128", "context"},
                         [&] { session.reply(text, brief()); }));
  EXPECT_EQ(session.messages().size(), before);
  ChatSession other(engine);
  other.reply("Hello", brief(4));
  EXPECT_EQ(session.reply("Short", brief(4)).samples[0].tokens,
            other.reply("Short", brief(4)).samples[0].tokens);
}

TEST_F(ChatSessionTest, CancellingBeforeTheAnswerChangesNothing) {
  Engine engine(path("model"), cache("k", "i16"));
  ChatSession session(engine);
  GenerateOptions options = brief();
  options.step_tokens = 2;
  options.on_prompt = [](int64_t, int64_t) { return false; };
  const Generation cancelled = session.reply("Hello", options);
  EXPECT_EQ(cancelled.samples[0].finish, Finish::cancelled);
  EXPECT_TRUE(session.messages().empty());
  ChatSession other(engine);
  EXPECT_EQ(session.reply("Hello", brief()).samples[0].tokens,
            other.reply("Hello", brief()).samples[0].tokens);
}

TEST_F(ChatSessionTest, SessionsDoNotDisturbEachOther) {
  Engine engine(path("model"), cache("k", "i16"));
  ChatSession one(engine);
  ChatSession two(engine);
  one.reply("First", brief());
  const auto alone = one.reply("Second", brief()).samples[0].tokens;
  ChatSession three(engine);
  three.reply("First", brief());
  two.reply("Else", brief());
  EXPECT_EQ(three.reply("Second", brief()).samples[0].tokens, alone);
}

TEST_F(ChatSessionTest, ModelsWithoutATemplateAreRefused) {
  Engine plain(path("plain"), cache("kv", "f32"));
  EXPECT_TRUE(
      fails_with(ErrorCode::bad_request, {"chat template"}, [&] { ChatSession session(plain); }));
  Engine whisper(path("whisper"), {});
  EXPECT_TRUE(
      fails_with(ErrorCode::bad_request, {"speech"}, [&] { ChatSession session(whisper); }));
}

}  // namespace
}  // namespace slim
