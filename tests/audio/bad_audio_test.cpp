// AudioReader on bad files: each gets a sentence that names the file, and nothing crashes.
#include <gtest/gtest.h>

#include <limits>

#include "audio/sounds.h"
#include "slim/error.h"

namespace slim {
namespace {

// The text of the Error that reading the whole file throws; "" if it throws none.
std::string error_of(const std::string& path) {
  try {
    read_all(*AudioReader::open(path));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_file);
    EXPECT_EQ(error.place(), path);
    return error.text();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(BadAudio, GetsASentence) {
  const TemporaryFolder folder;
  const std::string path = folder.file("bad.wav");
  EXPECT_EQ(error_of(path), "It cannot be opened: No such file or directory.");
  EXPECT_EQ(error_of(folder.file("")), "It is a directory.");
  EXPECT_EQ(error_of("/dev/null"), "It is empty: 0 bytes, not even a header.");
  write_bytes(path, "");
  EXPECT_EQ(error_of(path), "It is empty: 0 bytes, not even a header.");
  write_bytes(path, "What was said, in writing.\n");
  EXPECT_TRUE(contains(error_of(path), "It is not audio that can be read")) << error_of(path);
  write_bytes(path, "\xFF\xFB\x90" + std::string(2000, '\1'));
  EXPECT_TRUE(contains(error_of(path), "It begins like mp3 but is not")) << error_of(path);
}

TEST(BadAudio, AtARateOutOfRangeIsRefused) {
  const TemporaryFolder folder;
  for (const int rate : {1, 999, 768001, 2000000000}) {
    const SoundFormat format = {SF_FORMAT_WAV | SF_FORMAT_PCM_16, rate, 1};
    ASSERT_TRUE(write_sound(folder.file("rate.wav"), format, tone(100, rate, 1)));
    EXPECT_EQ(error_of(folder.file("rate.wav")),
              "Its rate is " + std::to_string(rate) + " Hz; 1000 to 768000 Hz can be read.");
  }
}

TEST(BadAudio, ThatEndsEarlySaysWhere) {
  const TemporaryFolder folder;
  const std::string path = folder.file("cut");
  struct Case {
    int format;
    std::string text;
  };
  const Case cases[] = {
      {SF_FORMAT_WAV | SF_FORMAT_PCM_16, "It ends early, at 2.499 s of 5 s."},
      {SF_FORMAT_WAVEX | SF_FORMAT_PCM_24, "It ends early, at 2.499 s of 5 s."},
      {SF_FORMAT_WAV | SF_FORMAT_PCM_16 | SF_ENDIAN_BIG, "It ends early, at 2.499 s of 5 s."},
      {SF_FORMAT_RF64 | SF_FORMAT_PCM_16, "It ends early, at 2.498 s of 5 s."},
      {SF_FORMAT_AIFF | SF_FORMAT_PCM_16, "It ends early, at 2.499 s of 5 s."},
      // The decoder finds half a block; it cannot tell that from damage.
      {SF_FORMAT_FLAC | SF_FORMAT_PCM_16, "It cannot be decoded at "},
      {SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, "It ends early, at "},
  };
  for (const auto& [format, text] : cases) {
    ASSERT_TRUE(write_sound(path, {format}, synthetic_signal(80000)));
    EXPECT_EQ(error_of(path), "") << std::hex << format;
    const std::string bytes = file_bytes(path);
    write_bytes(path, bytes.substr(0, bytes.size() / 2));
    EXPECT_TRUE(contains(error_of(path), text)) << std::hex << format << ": " << error_of(path);
  }
  // The header alone, and one sample missing.
  ASSERT_TRUE(write_sound(path, {}, synthetic_signal(80000)));
  const std::string bytes = file_bytes(path);
  write_bytes(path, bytes.substr(0, 44));
  EXPECT_EQ(error_of(path), "It ends before its first sample.");
  write_bytes(path, bytes.substr(0, bytes.size() - 2));
  EXPECT_EQ(error_of(path), "It ends early, at 5 s of 5 s.");
}

TEST(BadAudio, WithASampleThatIsNoSoundSaysWhen) {
  const TemporaryFolder folder;
  const std::string path = folder.file("nan.wav");
  const float infinity = std::numeric_limits<float>::infinity();
  struct Case {
    float value;
    std::string text;
  };
  const Case cases[] = {{std::numeric_limits<float>::quiet_NaN(), "The sample at 3 s is nan,"},
                        {infinity, "The sample at 3 s is inf,"},
                        {-infinity, "The sample at 3 s is -inf,"},
                        {3e38F, "The sample at 3 s is 1.5e+38,"}};  // averaged with 0
  for (const auto& [value, text] : cases) {
    std::vector<float> samples(8000 * 4 * 2);
    samples[8000 * 3 * 2 + 1] = value;
    ASSERT_TRUE(write_sound(path, {SF_FORMAT_WAV | SF_FORMAT_FLOAT, 8000, 2}, samples));
    EXPECT_EQ(error_of(path), text + " which is not sound.");
  }
  std::vector<float> samples(16000);
  samples[8000] = infinity;
  EXPECT_THROW(read_all(*AudioReader::from_samples(samples, "memory")), Error);
}

// Cut anywhere, or with any one byte changed, a file is read or refused.
TEST(BadAudio, NeverCrashes) {
  const TemporaryFolder folder;
  const std::string path = folder.file("damaged");
  int refused = 0;
  for (const int format :
       {SF_FORMAT_WAV | SF_FORMAT_PCM_16, SF_FORMAT_AIFF | SF_FORMAT_PCM_16,
        SF_FORMAT_FLAC | SF_FORMAT_PCM_16, SF_FORMAT_OGG | SF_FORMAT_VORBIS,
        SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, SF_FORMAT_RF64 | SF_FORMAT_PCM_16}) {
    ASSERT_TRUE(write_sound(path, {format}, tone(2000, 16000, 1)));
    const std::string bytes = file_bytes(path);
    for (size_t i = 0; i < bytes.size(); i += i < 64 ? 1 : 499) {
      write_bytes(path, bytes.substr(0, i));
      refused += error_of(path).empty() ? 0 : 1;
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ 0xFF);
      write_bytes(path, changed);
      refused += error_of(path).empty() ? 0 : 1;
    }
  }
  EXPECT_GT(refused, 6 * 20);  // at least where the header is cut
}

}  // namespace
}  // namespace slim
