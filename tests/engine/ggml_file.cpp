// Sizes by the model's spec, names by a table, filters by this engine's own.
#include "engine/ggml_file.h"

#include <cstdint>
#include <utility>

#include "audio/mel_filters.h"
#include "models/family.h"
#include "text/tokenizer.h"
#include "weights/weights_text.h"

namespace slim {
namespace {

std::string ggml_name(std::string name) {
  const std::pair<std::string_view, std::string_view> table[] = {
      {".layers.", ".blocks."},
      {".self.norm.", ".attn_ln."},
      {".self.", ".attn."},
      {".cross.norm.", ".cross_attn_ln."},
      {".cross.", ".cross_attn."},
      {".q.", ".query."},
      {".k.", ".key."},
      {".v.", ".value."},
      {".mlp.norm.", ".mlp_ln."},
      {".up.", ".0."},
      {".down.", ".2."},
      {"encoder.norm.", "encoder.ln_post."},
      {"decoder.norm.", "decoder.ln."},
      {".positions.weight", ".positional_embedding"},
      {".embed.", ".token_embedding."}};
  for (const auto& [from, to] : table) {
    if (const size_t at = name.find(from); at != std::string::npos) {
      name.replace(at, from.size(), to);
    }
  }
  return name;
}

void add_filters(GgmlText& text, int32_t bins) {
  text.bins = bins;
  text.frequencies = 201;
  text.filters.assign(static_cast<size_t>(bins) * 201, 0);
  const auto filters = mel_filters(bins);
  for (size_t bin = 0; bin < filters.size(); ++bin) {
    for (size_t i = 0; i < filters[bin].weights.size(); ++i) {
      text.filters[bin * 201 + filters[bin].first + i] = filters[bin].weights[i];
    }
  }
}

void add_tokens(GgmlText& text, const std::filesystem::path& directory) {
  if (!std::filesystem::exists(directory / "tokenizer.json")) {
    for (int byte = 0; byte < 256; ++byte) text.token(std::string(1, static_cast<char>(byte)));
    return;
  }
  const auto tokenizer = Tokenizer::load(directory);
  for (int32_t id = 0; id < *tokenizer->id("<|endoftext|>"); ++id) text.token(tokenizer->bytes(id));
}

}  // namespace

std::string ggml_of(const std::filesystem::path& directory) {
  const ModelFiles model = open_model(directory);
  const auto number = [](int64_t value) { return static_cast<int32_t>(value); };
  const StackSpec& encoder = model.spec.encoder;
  const StackSpec& decoder = model.spec.decoder;
  GgmlText text;
  text.sizes = {number(model.spec.vocabulary), number(encoder.positions), number(encoder.width),
                number(encoder.heads),         number(encoder.layers),    number(decoder.positions),
                number(decoder.width),         number(decoder.heads),     number(decoder.layers),
                number(model.spec.mel_bins)};
  text.type = 1;
  add_filters(text, number(model.spec.mel_bins));
  add_tokens(text, directory);
  for (const std::string& name : model.checkpoint->names()) {
    // A key has no bias; the head is the embedding.
    if (name.starts_with("head.") || name.ends_with(".k.bias")) continue;
    const Tensor& tensor = model.checkpoint->get(name);
    const bool half = tensor.type() == DType::f16 && tensor.shape().size() > 1;
    const Tensor floats = tensor.to_f32();
    const Tensor& written = half ? tensor : floats;
    std::vector<int32_t> sizes(tensor.shape().rbegin(), tensor.shape().rend());
    if (name.starts_with("encoder.conv") && sizes.size() == 1) sizes.insert(sizes.begin(), 1);
    text.tensor(
        ggml_name(name), sizes, half ? 1 : 0,
        {reinterpret_cast<const char*>(written.data()), static_cast<size_t>(written.bytes())});
  }
  return text.text();
}

}  // namespace slim
