// The whole file is read and checked before a tensor is taken out of it.
#include "weights/ggml.h"

#include <optional>
#include <string>
#include <utility>

#include "slim/error.h"
#include "weights/byte_cursor.h"
#include "weights/ggml_blocks.h"

namespace slim {
namespace {

constexpr uint32_t kMagic = 0x67676d6c;
constexpr int32_t kBlockVersion = 2;  // before it, scales of blocks were f32
constexpr size_t kMaxTokens = 1 << 20;
constexpr uint32_t kLargestSize = 1 << 20;

struct Header {
  int64_t vocabulary = 0;
  struct Side {
    int64_t positions = 0, width = 0, heads = 0, layers = 0;
  };
  Side encoder, decoder;
  int64_t mel_bins = 0;
};

int64_t read_size(const WeightsFile& file, ByteCursor& cursor, const std::string& what) {
  const auto value = cursor.number<uint32_t>();
  if (value < 1 || value > kLargestSize) {
    fail_file(file.path, "The file says that there are " +
                             std::to_string(static_cast<int32_t>(value)) + " " + what + ".");
  }
  return value;
}

Header::Side read_side(const WeightsFile& file, ByteCursor& cursor, const std::string& side) {
  Header::Side sizes;
  sizes.positions = read_size(file, cursor, side + " positions");
  sizes.width = read_size(file, cursor, side + " columns");
  sizes.heads = read_size(file, cursor, side + " heads");
  sizes.layers = read_size(file, cursor, side + " layers");
  return sizes;
}

Header read_header(const WeightsFile& file, ByteCursor& cursor) {
  if (cursor.number<uint32_t>() != kMagic) {
    fail_file(file.path,
              "The file does not begin as a ggml model does. (A model.bin of "
              "CTranslate2 is opened by its directory.)");
  }
  Header header;
  header.vocabulary = read_size(file, cursor, "tokens");
  header.encoder = read_side(file, cursor, "encoder");
  header.decoder = read_side(file, cursor, "decoder");
  header.mel_bins = read_size(file, cursor, "mel bins");
  const auto type = cursor.number<int32_t>();
  const int32_t version = type / 1000;
  const bool plain = type == 0 || type == 1;  // f32, f16
  if (!plain && version != kBlockVersion) {
    throw Error(ErrorCode::unsupported_model,
                "The file's blocks are of version " + std::to_string(version) +
                    ", but only version 2 can be read.",
                file.path.string());
  }
  return header;
}

std::shared_ptr<const GgmlExtras> read_extras(const WeightsFile& file, ByteCursor& cursor,
                                              const Header& header) {
  auto extras = std::make_shared<GgmlExtras>();
  extras->mapping = file.mapping;
  const int64_t bins = read_size(file, cursor, "mel filters");
  const int64_t frequencies = read_size(file, cursor, "frequencies");
  if (bins != header.mel_bins) {
    fail_file(file.path, "The file has " + std::to_string(bins) + " mel filters for " +
                             std::to_string(header.mel_bins) + " mel bins.");
  }
  TensorEntry filters{DType::f32, {bins, frequencies}, {}};
  const int64_t bytes = checked_bytes(file.path, "mel filters", filters.type, filters.shape);
  filters.bytes = cursor.take(static_cast<uint64_t>(bytes));
  extras->mel_filters = take_tensor(file, filters);

  const auto tokens = cursor.count<uint32_t>(sizeof(uint32_t), kMaxTokens, "tokens");
  if (static_cast<int64_t>(tokens) > header.vocabulary) {
    fail_file(file.path, "The file lists " + std::to_string(tokens) + " tokens, but says it has " +
                             std::to_string(header.vocabulary) + ".");
  }
  extras->tokens.reserve(tokens);
  for (size_t i = 0; i < tokens; ++i) extras->tokens.push_back(cursor.text<uint32_t>());
  return extras;
}

// A tensor as the file has it; `blocks` where kernels have no such type.
struct Stored {
  std::string name;
  TensorEntry entry;
  std::optional<GgmlBlocks> blocks;
};

void read_type(const WeightsFile& file, Stored& stored, uint32_t number) {
  switch (number) {
    case 0:
      stored.entry.type = DType::f32;
      break;
    case 1:
      stored.entry.type = DType::f16;
      break;
    case 2:
      stored.entry.type = DType::q4_0;
      break;
    case 3:
      stored.blocks = GgmlBlocks::q4_1;
      break;
    case 6:
      stored.blocks = GgmlBlocks::q5_0;
      break;
    case 7:
      stored.blocks = GgmlBlocks::q5_1;
      break;
    case 8:
      stored.entry.type = DType::q8_0;
      break;
    default:
      throw Error(ErrorCode::unsupported_model,
                  "Tensor '" + stored.name + "' is of type " + std::to_string(number) +
                      ", but only f32, f16, q4_0, q4_1, q5_0, q5_1, q8_0 can be read.",
                  file.path.string());
  }
}

Stored read_tensor(const WeightsFile& file, ByteCursor& cursor) {
  const auto rank = cursor.number<uint32_t>();
  const auto length = cursor.number<uint32_t>();
  const auto type = cursor.number<uint32_t>();
  if (rank > kMaxRank) {
    fail_file(file.path, "A tensor that ends before byte " + std::to_string(cursor.at()) +
                             " has more than " + std::to_string(kMaxRank) + " axes.");
  }
  Stored stored;
  std::vector<int64_t>& shape = stored.entry.shape;
  shape.resize(rank);
  for (auto size = shape.rbegin(); size != shape.rend(); ++size) *size = cursor.number<int32_t>();
  const auto name = cursor.take(length);
  stored.name = std::string_view(reinterpret_cast<const char*>(name.data()), name.size());
  check_name(file.path, stored.name);
  read_type(file, stored, type);
  // The biases of convolutions are columns.
  if (shape.size() == 2 && shape[1] == 1 && stored.name.ends_with(".bias")) shape.pop_back();
  const int64_t bytes = stored.blocks
                            ? checked_block_bytes(file, stored.name, *stored.blocks, shape)
                            : checked_bytes(file.path, stored.name, stored.entry.type, shape);
  stored.entry.bytes = cursor.take(static_cast<uint64_t>(bytes));
  return stored;
}

using Part = std::pair<std::string_view, std::string_view>;  // stored, canonical

constexpr Part kSideParts[] = {{"positional_embedding", "positions.weight"},
                               {"token_embedding.", "embed."},
                               {"conv1.", "conv1."},
                               {"conv2.", "conv2."},
                               {"ln_post.", "norm."},
                               {"ln.", "norm."}};

constexpr Part kBlockParts[] = {{"attn_ln.", "self.norm."},
                                {"attn.query.", "self.q."},
                                {"attn.key.", "self.k."},
                                {"attn.value.", "self.v."},
                                {"attn.out.", "self.out."},
                                {"cross_attn_ln.", "cross.norm."},
                                {"cross_attn.query.", "cross.q."},
                                {"cross_attn.key.", "cross.k."},
                                {"cross_attn.value.", "cross.v."},
                                {"cross_attn.out.", "cross.out."},
                                {"mlp_ln.", "mlp.norm."},
                                {"mlp.0.", "mlp.up."},
                                {"mlp.2.", "mlp.down."}};

// "decoder.blocks.3.attn.key.weight" is "decoder.layers.3.self.k.weight".
std::string canonical_name(const std::string& name) {
  std::string_view rest = name;
  constexpr size_t kSide = 8;
  if (!rest.starts_with("encoder.") && !rest.starts_with("decoder.")) return name;
  std::string prefix = name.substr(0, kSide);
  rest.remove_prefix(kSide);
  std::span<const Part> parts = kSideParts;
  if (constexpr std::string_view kBlocks = "blocks."; rest.starts_with(kBlocks)) {
    const size_t end = rest.find_first_not_of("0123456789", kBlocks.size());
    if (end == std::string_view::npos || end == kBlocks.size() || rest[end] != '.') return name;
    prefix += "layers." + std::string(rest.substr(kBlocks.size(), end + 1 - kBlocks.size()));
    rest.remove_prefix(end + 1);
    parts = kBlockParts;
  }
  for (const auto& [stored, canonical] : parts) {
    if (rest.starts_with(stored)) {
      return prefix + std::string(canonical) + std::string(rest.substr(stored.size()));
    }
  }
  return name;
}

void check_side(const WeightsFile& file, const Checkpoint& checkpoint, const std::string& side,
                const Header::Side& sizes) {
  checkpoint.get(side + ".positions.weight", {sizes.positions, sizes.width});
  const auto layer = [&](int64_t n) {
    return side + ".layers." + std::to_string(n) + ".mlp.up.weight";
  };
  checkpoint.get(layer(sizes.layers - 1), {-1, sizes.width});
  if (checkpoint.has(layer(sizes.layers))) {
    fail_file(file.path, "The file has more than the " + std::to_string(sizes.layers) + " " + side +
                             " layers that it says it has.");
  }
}

// The head of the file says what its tensors show.
void check_sizes(const WeightsFile& file, const Checkpoint& checkpoint, const Header& header) {
  checkpoint.get("decoder.embed.weight", {header.vocabulary, header.decoder.width});
  checkpoint.get("encoder.conv1.weight", {header.encoder.width, header.mel_bins, 3});
  check_side(file, checkpoint, "encoder", header.encoder);
  check_side(file, checkpoint, "decoder", header.decoder);
}

}  // namespace

std::shared_ptr<const Checkpoint> read_ggml(const WeightsFile& file) {
  ByteCursor cursor(file);
  const Header header = read_header(file, cursor);
  const auto extras = read_extras(file, cursor, header);
  std::vector<Stored> tensors;
  while (cursor.left() > 0) {
    if (tensors.size() == kMaxTensors) fail_file(file.path, "The file has too many tensors.");
    tensors.push_back(read_tensor(file, cursor));
  }

  CheckpointBuilder builder("ggml", file.path, "WhisperSpec");
  builder.set_extras(extras);
  builder.add_scalar(file, "encoder.heads", header.encoder.heads);
  builder.add_scalar(file, "decoder.heads", header.decoder.heads);
  int64_t unpacked = 0;
  for (const auto& [name, entry, blocks] : tensors) {
    unpacked += blocks ? 1 : 0;
    builder.add(
        file, canonical_name(name),
        blocks ? unpack_blocks(*blocks, entry.bytes, entry.shape) : take_tensor(file, entry));
  }
  builder.add_scalar(file, "unpacked tensors", unpacked);
  auto checkpoint = builder.finish();
  check_sizes(file, *checkpoint, header);
  return checkpoint;
}

std::shared_ptr<const Checkpoint> open_ggml(const std::filesystem::path& path) {
  return read_ggml(WeightsFile::open(path));
}

}  // namespace slim
