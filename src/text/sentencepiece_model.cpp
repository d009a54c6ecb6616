// ModelProto by its wire format: a field is a varint key (number * 8 + wire type) and a value. The
// numbers of the fields are those of sentencepiece_model.proto.
#include "text/sentencepiece_model.h"

#include <bit>
#include <cstdint>
#include <utility>

#include "base/function_ref.h"
#include "slim/error.h"

namespace slim {
namespace {

enum class Wire { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

struct Field {
  uint64_t number;
  Wire wire;
  uint64_t value;          // of varint and fixed
  std::string_view bytes;  // of bytes
};

class Message {
 public:
  Message(std::string_view bytes, const std::string& place) : bytes_(bytes), place_(place) {}

  void each(FunctionRef<void(const Field&)> visit) {
    while (at_ < bytes_.size()) {
      const uint64_t key = varint();
      Field field{key >> 3, static_cast<Wire>(key & 7), 0, {}};
      if (field.number == 0) fail("has a field without a number");
      switch (field.wire) {
        case Wire::varint:
          field.value = varint();
          break;
        case Wire::fixed64:
          field.value = fixed(8);
          break;
        case Wire::bytes:
          field.bytes = take(varint());
          break;
        case Wire::fixed32:
          field.value = fixed(4);
          break;
        default:
          fail("has a field of an unknown wire type");
      }
      visit(field);
    }
  }

  [[noreturn]] void fail(const std::string& why) const {
    throw Error(ErrorCode::bad_file, "The file is no sentencepiece model: it " + why + ".", place_);
  }

 private:
  std::string_view take(uint64_t size) {
    if (size > bytes_.size() - at_) fail("ends within a field");
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(take(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    fail("has a number of more than 64 bits");
  }
  uint64_t fixed(size_t size) {
    uint64_t value = 0;
    const std::string_view bytes = take(size);
    for (size_t i = size; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
    return value;
  }

  std::string_view bytes_;
  size_t at_ = 0;
  const std::string& place_;
};

Piece read_piece(std::string_view bytes, const std::string& place) {
  Piece piece;
  Message(bytes, place).each([&](const Field& field) {
    if (field.number == 1) piece.content = field.bytes;
    if (field.number == 2) {
      piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    }
    // What is no kind stays none: it must not wrap around to one.
    if (field.number == 3) {
      piece.kind = static_cast<PieceKind>(field.value > 6 ? 0 : static_cast<int>(field.value));
    }
  });
  return piece;
}

constexpr uint64_t kUnigram = 1;
constexpr uint64_t kBpe = 2;

struct Settings {
  uint64_t model_type = kUnigram;
  bool suffix_space = false;
  std::string bos = "<s>";
  std::string eos = "</s>";
  bool escape_spaces = true;
};

void read_trainer(std::string_view bytes, Settings& settings, const std::string& place) {
  Message(bytes, place).each([&](const Field& field) {
    if (field.number == 3) settings.model_type = field.value;
    if (field.number == 24) settings.suffix_space = field.value != 0;
    if (field.number == 46) settings.bos = field.bytes;
    if (field.number == 47) settings.eos = field.bytes;
  });
}

void read_normalizer(std::string_view bytes, Settings& settings, PieceModel& model,
                     const std::string& place) {
  Message(bytes, place).each([&](const Field& field) {
    if (field.number == 2 && !field.bytes.empty()) {
      model.characters = CharacterMap::read(field.bytes, place);
    }
    if (field.number == 3) model.prefix_space = field.value != 0;
    if (field.number == 4) model.remove_extra_spaces = field.value != 0;
    if (field.number == 5) settings.escape_spaces = field.value != 0;
  });
}

void check_settings(const Settings& settings, const std::string& place) {
  const auto refuse = [&](const std::string& text) {
    throw Error(ErrorCode::unsupported_model, text, place);
  };
  if (settings.model_type != kUnigram && settings.model_type != kBpe) {
    refuse("Only sentencepiece models of types unigram (1) and BPE (2) are supported, not type " +
           std::to_string(settings.model_type) + ".");
  }
  if (settings.suffix_space || !settings.escape_spaces) {
    refuse(
        "Sentencepiece models that treat spaces in another way than U+2581 in front of a word "
        "are not supported.");
  }
}

}  // namespace

PieceModel read_sentencepiece(std::string_view bytes, const std::string& place) {
  PieceModel model;
  model.remove_extra_spaces = true;  // the format's default
  Settings settings;
  Message message(bytes, place);
  message.each([&](const Field& field) {
    if (field.wire != Wire::bytes) return;
    if (field.number == 1) {
      if (model.pieces.size() == kMaximumTokens) message.fail("has more than 2^20 pieces");
      model.pieces.push_back(read_piece(field.bytes, place));
    }
    if (field.number == 2) read_trainer(field.bytes, settings, place);
    if (field.number == 3) read_normalizer(field.bytes, settings, model, place);
  });
  if (model.pieces.empty()) message.fail("has no pieces");
  check_settings(settings, place);
  model.unigram = settings.model_type == kUnigram;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    if (model.pieces[i].kind != PieceKind::control) continue;
    if (model.pieces[i].content == settings.bos) model.bos = static_cast<int32_t>(i);
    if (model.pieces[i].content == settings.eos) model.eos = static_cast<int32_t>(i);
  }
  return model;
}

}  // namespace slim
