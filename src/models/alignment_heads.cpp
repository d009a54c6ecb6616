// The table is openai-whisper's. Of the two published models of 32 layers and 51865 tokens, large
// and large-v2, it has the second.
#include "models/alignment_heads.h"

#include <sstream>
#include <string>
#include <string_view>

#include "models/config_fields.h"

namespace slim {
namespace {

struct PublishedHeads {
  int64_t layers;  // of the decoder
  int64_t heads;
  int64_t vocabulary;      // 51864: English only
  std::string_view pairs;  // "layer.head layer.head ..."
};

constexpr PublishedHeads kPublished[] = {
    {4, 6, 51864, "1.0 2.0 2.5 3.0 3.1 3.2 3.3 3.4"},
    {4, 6, 51865, "2.2 3.0 3.2 3.3 3.4 3.5"},
    {6, 8, 51864, "3.3 4.7 5.1 5.5 5.7"},
    {6, 8, 51865, "3.1 4.2 4.3 4.7 5.1 5.2 5.4 5.6"},
    {12, 12, 51864,
     "6.6 7.0 7.3 7.8 8.2 8.5 8.7 9.0 9.4 9.8 9.10 10.0 10.1 10.2 10.3 10.6 10.11 "
     "11.2 11.4"},
    {12, 12, 51865, "5.3 5.9 8.0 8.4 8.7 8.8 9.0 9.7 9.9 10.5"},
    {24, 16, 51864,
     "11.4 14.1 14.12 14.14 15.4 16.0 16.4 16.9 17.12 17.14 18.7 18.10 18.15 20.0 "
     "20.3 20.9 20.14 21.12"},
    {24, 16, 51865, "13.15 15.4 15.15 16.1 20.0 23.4"},
    {32, 20, 51865,
     "10.12 13.17 16.11 16.12 16.13 17.15 17.16 18.4 18.11 18.19 19.11 21.2 21.3 "
     "22.3 22.9 22.12 23.5 23.7 23.13 25.5 26.1 26.12 27.15"},
    {32, 20, 51866, "7.0 10.17 12.18 13.12 16.1 17.14 19.11 21.4 24.1 25.6"},
    {4, 20, 51866, "2.4 2.11 3.3 3.6 3.11 3.14"},
};

AlignmentHeads parse(std::string_view pairs) {
  AlignmentHeads heads;
  std::istringstream stream{std::string(pairs)};
  int64_t layer = 0;
  int64_t head = 0;
  char point = 0;
  while (stream >> layer >> point >> head) heads.push_back({layer, head});
  return heads;
}

AlignmentHeads upper_half(const StackSpec& decoder) {
  AlignmentHeads pairs;
  for (int64_t layer = decoder.layers / 2; layer < decoder.layers; ++layer) {
    for (int64_t head = 0; head < decoder.heads; ++head) pairs.push_back({layer, head});
  }
  return pairs;
}

}  // namespace

AlignmentHeads read_alignment_heads(const JsonObject& config, const StackSpec& decoder) {
  constexpr std::string_view field = "alignment_heads";
  if (!config.has(field)) return {};
  AlignmentHeads heads = config.integer_lists(field, 0, kLargestSize);
  for (const std::vector<int64_t>& pair : heads) {
    if (pair.size() != 2 || pair[0] >= decoder.layers || pair[1] >= decoder.heads) {
      config.reject(field, "must hold pairs of a decoder layer and one of its heads");
    }
  }
  return heads;
}

AlignmentHeads usual_alignment_heads(const ModelSpec& spec) {
  for (const PublishedHeads& model : kPublished) {
    if (model.layers == spec.decoder.layers && model.heads == spec.decoder.heads &&
        model.vocabulary == spec.vocabulary) {
      return parse(model.pairs);
    }
  }
  return upper_half(spec.decoder);
}

AlignmentHeads find_alignment_heads(const std::filesystem::path& directory, const ModelSpec& spec) {
  const std::filesystem::path path = directory / "generation_config.json";
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) {
    AlignmentHeads listed = read_alignment_heads(JsonObject::read(path), spec.decoder);
    if (!listed.empty()) return listed;
  }
  return usual_alignment_heads(spec);
}

}  // namespace slim
