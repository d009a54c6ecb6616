// Fuzzes chat templates: any input is a template that renders a conversation or is refused.
#include <array>
#include <string>

#include "fuzz_target.h"
#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slim;
  accept_refusal([&] {
    const auto chat = ChatTemplate::parse({reinterpret_cast<const char*>(data), size});
    const std::array<ChatMessage, 3> messages{{{"system", " Be brief.\n"},
                                               {"user", "a<b>\xE4\xB8\x96 '\""},
                                               {"assistant", "<think>x</think>y"}}};
    for (const bool prompt : {false, true})
      chat.render(messages, {prompt, "<s>", "</s>", 1721952000});
  });
  return 0;
}
