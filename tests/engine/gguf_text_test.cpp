// Texts of models in GGUF files: their tokenizers, what ends them, and generation through the
// public interface from the file alone. Vocabularies: tools/make_golden_gguf_lm.py.
#include "engine/gguf_text.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "error_matchers.h"
#include "slim/slim.h"
#include "temporary_folder.h"
#include "weights/checkpoint.h"
#include "weights/gguf.h"
#include "weights/weights_text.h"

namespace slim {
namespace {

namespace fs = std::filesystem;

fs::path golden(const std::string& model) {
  return fs::path(SLIM_TEST_DATA) / "golden" / "lm_gguf" / (model + ".gguf");
}

TEST(GgufTokenizer, IsOfPiecesOrOfBytes) {
  const auto llama = Checkpoint::open(golden("llama"));
  const auto pieces = read_gguf_tokenizer(*llama->metadata());
  EXPECT_EQ(pieces->encode("ABC", false, true), (std::vector<int32_t>{1, 63, 6}));
  EXPECT_EQ(pieces->eos(), 2);
  ASSERT_TRUE(pieces->chat_template().has_value());
  EXPECT_NE(pieces->chat_template()->find("message['content']"), std::string::npos);
  EXPECT_TRUE(read_gguf_ends(*llama->metadata(), *pieces).empty());

  const auto gpt2 = Checkpoint::open(golden("gpt2"));
  const auto bytes = read_gguf_tokenizer(*gpt2->metadata());
  EXPECT_EQ(bytes->encode("ABC<|end|>", true, true), (std::vector<int32_t>{62, 3, 63}));
  EXPECT_FALSE(bytes->chat_template().has_value());
  EXPECT_EQ(read_gguf_ends(*gpt2->metadata(), *bytes), std::vector<int32_t>{63});
}

// Two tokens, and an end of turn by its key.
std::string vocabulary(uint32_t end) {
  GgufText text;
  const auto list = [](std::initializer_list<std::string_view> strings) {
    std::string bytes;
    for (const auto string : strings) bytes += GgufText::string(string);
    return bytes;
  };
  text.key("tokenizer.ggml.model", GgufText::text, GgufText::string("gpt2"));
  text.list_key("tokenizer.ggml.tokens", GgufText::text, 2, list({"a", "<|im_end|>"}));
  text.list_key("tokenizer.ggml.token_type", GgufText::i32, 2, bytes_of<int32_t>({1, 1}));
  text.list_key("tokenizer.ggml.merges", GgufText::text, 0, "");
  text.key("tokenizer.ggml.eot_token_id", GgufText::u32, bytes_of(end));
  return text.with();
}

TEST(GgufTokenizer, EndsTurnsByKeyAndOnlyBySpecialNames) {
  const MemoryFile memory(vocabulary(0));
  const auto file = read_gguf(memory.file());
  const auto tokenizer = read_gguf_tokenizer(*file->metadata());
  EXPECT_EQ(read_gguf_ends(*file->metadata(), *tokenizer), std::vector<int32_t>{0});
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"no token for byte 98"},
                         [&] { tokenizer->encode("ab"); }));
}

TEST(GgufTokenizer, RefusesWhatIsNoVocabulary) {
  const MemoryFile beyond(vocabulary(2));
  const auto file = read_gguf(beyond.file());
  const auto tokenizer = read_gguf_tokenizer(*file->metadata());
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"memory", "tokenizer.ggml.eot_token_id"},
                         [&] { read_gguf_ends(*file->metadata(), *tokenizer); }));
  const MemoryFile none(GgufText().with());
  const auto empty = read_gguf(none.file());
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"memory", "tokenizer.ggml.model"},
                         [&] { read_gguf_tokenizer(*empty->metadata()); }));
}

TEST(GgufGeneration, NeedsNothingButTheFile) {
  const TemporaryFolder folder;
  fs::copy(golden("llama"), folder.path() / "a.gguf");
  EngineOptions options;
  options.cache = "kv";
  options.threads = 2;
  GenerateRequest request;
  request.prompt = "ABBA";
  request.options.max_tokens = 8;
  request.options.ignore_end = true;
  Engine by_file((folder.path() / "a.gguf").string(), options);
  Engine by_folder(folder.path().string(), options);
  const Generation generation = by_file.generate(request);
  EXPECT_EQ(generation.samples.at(0).tokens.size(), 8U);
  EXPECT_EQ(by_folder.generate(request).samples.at(0).tokens, generation.samples.at(0).tokens);
}

}  // namespace
}  // namespace slim
