// Times back in the recording: exact within a stretch, monotone across them.
#include "audio/time_map.h"

#include <gtest/gtest.h>

#include <random>

namespace slim {
namespace {

// Kept: 0 to 3 s of the recording's 1 to 4, 3 to 5 of its 10 to 12, 5 to 9 of its 20 to 24; speech
// begins and ends 0.4 s inside.
TimeMap three() {
  return TimeMap({{100, 400, 140, 360}, {1000, 1200, 1040, 1160}, {2000, 2400, 2040, 2360}});
}

TEST(TimeMap, FramesGoBothWays) {
  const TimeMap map = three();
  EXPECT_EQ(map.frames(), 900);
  for (const auto& [kept, frame] : {std::pair{0, 100},
                                    {299, 399},
                                    {300, 1000},
                                    {499, 1199},
                                    {500, 2000},
                                    {899, 2399},
                                    {900, 2400}}) {
    EXPECT_EQ(map.recording_frame(kept), frame);
  }
  for (int64_t kept = 0; kept < map.frames(); ++kept) {
    EXPECT_EQ(map.kept_before(map.recording_frame(kept)), kept);
  }
  EXPECT_EQ(map.kept_before(0), 0);
  EXPECT_EQ(map.kept_before(700), 300);
  EXPECT_EQ(map.kept_before(100000), 900);
}

TEST(TimeMap, AWholeRecordingKeepsItsTimesToTheBit) {
  const TimeMap map({{0, 500, 0, 500}});
  EXPECT_EQ(map.times(0.1 + 0.2, 5.3).start, 0.1 + 0.2);
  EXPECT_EQ(map.times(0.1, 5.3).end, 5.3);  // the model may hear beyond the end
  EXPECT_EQ(map.times_in_one(4.9999, 5.1).start, 4.9999);
}

TEST(TimeMap, ASegmentIsWhereItsSpeechIs) {
  const TimeMap map = three();
  const TimeMap::Times inside = map.times(3.5, 4.5);
  EXPECT_DOUBLE_EQ(inside.start, 10.5);
  EXPECT_DOUBLE_EQ(inside.end, 11.5);
  // From the silence behind the first stretch, to a little into the third.
  const TimeMap::Times second = map.times(2.7, 5.6);
  EXPECT_DOUBLE_EQ(second.start, 10);
  EXPECT_DOUBLE_EQ(second.end, 12);
  const TimeMap::Times across = map.times(1, 6);
  EXPECT_DOUBLE_EQ(across.start, 2);
  EXPECT_DOUBLE_EQ(across.end, 21);
  EXPECT_DOUBLE_EQ(map.times(8, 12).end, 24);
}

TEST(TimeMap, AWordLiesInOneStretch) {
  const TimeMap map = three();
  // It began where the word before ended, says the alignment.
  const TimeMap::Times late = map.times_in_one(2.4, 3.9);
  EXPECT_DOUBLE_EQ(late.start, 10);
  EXPECT_DOUBLE_EQ(late.end, 10.9);
  const TimeMap::Times early = map.times_in_one(2.2, 3.5);
  EXPECT_DOUBLE_EQ(early.start, 3.2);
  EXPECT_DOUBLE_EQ(early.end, 4);
  // In the silence between: the stretch of its middle.
  EXPECT_DOUBLE_EQ(map.times_in_one(2.8, 3.3).start, 10);
  EXPECT_DOUBLE_EQ(map.times_in_one(2.65, 3.1).end, 4);
}

TEST(TimeMap, NothingKeptIsNothingMoved) {
  const TimeMap map({});
  EXPECT_EQ(map.frames(), 0);
  EXPECT_EQ(map.kept_before(50), 0);
  EXPECT_EQ(map.recording_frame(3), 3);
  EXPECT_EQ(map.times(1, 2).end, 2);
}

TEST(TimeMap, NothingLaterBecomesEarlier) {
  std::mt19937 random(7);
  const auto draw = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<Stretch> stretches;
    int64_t end = draw(0, 100);
    for (int64_t count = draw(1, 6); count > 0; --count) {
      const int64_t begin = end + draw(0, 500);
      end = begin + draw(1, 300);
      const int64_t padding = draw(0, (end - begin) / 2);
      stretches.push_back({begin, end, begin + padding, end - padding});
    }
    const TimeMap map(stretches);
    double word = 0;
    double segment = 0;
    for (int64_t at = 0; at <= map.frames() + 50;) {
      const int64_t next = at + draw(0, 120);
      const auto [start, stop] =
          std::pair{static_cast<double>(at) / 100, static_cast<double>(next) / 100};
      for (auto [times, last] : {std::pair{map.times_in_one(start, stop), &word},
                                 std::pair{map.times(start, stop), &segment}}) {
        EXPECT_GE(times.start, *last);
        EXPECT_GE(times.end, times.start);
        *last = times.end;
      }
      at = next + draw(0, 3);
    }
  }
}

}  // namespace
}  // namespace slim
