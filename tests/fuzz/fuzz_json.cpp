// JSON: every field is read as every type.
#include "base/json.h"

#include <string>

#include "fuzz/fuzz_target.h"

namespace {

void read_everything(const slim::JsonObject& json) {
  for (const std::string& field : json.fields()) {
    slim::accept_refusal([&] { json.integer(field, INT64_MIN, INT64_MAX); });
    slim::accept_refusal([&] { json.real(field); });
    slim::accept_refusal([&] { json.boolean(field); });
    slim::accept_refusal([&] { json.string(field); });
    slim::accept_refusal([&] { json.integers(field, -5, 1000); });
    slim::accept_refusal([&] { json.strings(field); });
    slim::accept_refusal([&] { json.integer_lists(field, 0, INT64_MAX); });
    slim::accept_refusal([&] {
      for (const slim::JsonObject& child : json.objects(field)) read_everything(child);
    });
    if (json.is_object(field)) read_everything(json.object(field));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  slim::accept_refusal([&] {
    read_everything(slim::JsonObject::parse({reinterpret_cast<const char*>(data), size}, "input"));
  });
  return 0;
}
