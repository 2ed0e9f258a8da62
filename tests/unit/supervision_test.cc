// SPDX-License-Identifier: Apache-2.0
#include "daemon/supervision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kWatchdog = 30 * kSecond;

Timestamp At(int64_t seconds) { return {.monotonic_ns = seconds * kSecond}; }

// A host with 23 pinned pages, of which two processes claim some.
Snapshot Pinned() {
  Snapshot snapshot;
  snapshot.facts = {{.name = "census", .observable = true},
                    {.name = "claims", .observable = true}};
  snapshot.zones = {{.name = "Normal",
                     .migratetypes = {{.confirmed = {.pages = 20}},
                                      {.confirmed = {.pages = 3}}},
                     .oldest_look = At(90)},
                    {.name = "Movable", .oldest_look = At(95)}};
  snapshot.claiming_processes = 2;
  return snapshot;
}

TEST(StatusText, TellsHowFarTheFirstLookIs) {
  EXPECT_EQ(StatusText({.blocks_looked = 3, .blocks_to_look = 24}),
            "looks at all memory for the first time: 3 of 24 blocks");
}

TEST(StatusText, TellsPinsProcessesAndTheAgeOfTheOldestLook) {
  const Snapshot snapshot = Pinned();
  EXPECT_EQ(StatusText({.now = At(100), .published = &snapshot}),
            "23 pages pinned; processes that claim some: 2; all memory looked "
            "at within 11 s");
}

TEST(StatusText, TellsPossiblePinsApart) {
  Snapshot snapshot = Pinned();
  snapshot.zones[0].migratetypes[0].possible.pages = 5;
  EXPECT_THAT(StatusText({.now = At(100), .published = &snapshot}),
              HasSubstr("23 pages pinned, 5 more possibly;"));
}

TEST(StatusText, TellsOfAPauseAndNoFigures) {
  Snapshot snapshot = Pinned();
  snapshot.paused_since = At(90);
  EXPECT_EQ(StatusText({.now = At(100), .published = &snapshot}),
            "paused: no hook is attached; pinwatch resume ends that");
}

TEST(StatusText, NamesWhatIsNotObservableAndNoFigureOfIt) {
  Snapshot snapshot = Pinned();
  snapshot.zones.clear();
  for (Fact& fact : snapshot.facts) fact.observable = false;
  EXPECT_EQ(StatusText({.now = At(100), .published = &snapshot}),
            "pins are not observable; not observable: census, claims");
}

class SupervisionTest : public testing::Test {
 protected:
  // The lines that a turn at this second sends.
  std::vector<std::string> Turn(int64_t seconds, const Snapshot* published) {
    sent_.clear();
    supervision_.OnTurn({.now = At(seconds), .published = published});
    return sent_;
  }

  std::vector<std::string> sent_;
  Supervision supervision_{
      kWatchdog, [this](const std::string& state) { sent_.push_back(state); }};
  const Snapshot snapshot_ = Pinned();
};

TEST_F(SupervisionTest, IsReadyOnceWithTheFirstSnapshot) {
  EXPECT_THAT(Turn(100, nullptr), ElementsAre(Not(HasSubstr("READY"))));
  EXPECT_THAT(Turn(101, &snapshot_),
              ElementsAre(AllOf(HasSubstr("READY=1"),
                                HasSubstr("STATUS=23 pages pinned"))));
  for (int64_t second = 102; second < 200; ++second)
    for (const std::string& lines : Turn(second, &snapshot_))
      EXPECT_THAT(lines, Not(HasSubstr("READY")));
}

TEST_F(SupervisionTest, ShowsASignOfLifeFourTimesAsOftenAsItIsWaitedFor) {
  int feeds = 0;
  for (int64_t second = 100; second < 160; ++second)
    for (const std::string& lines : Turn(second, &snapshot_))
      feeds += lines.find("WATCHDOG=1") != std::string::npos;
  EXPECT_EQ(feeds, 8);
}

TEST_F(SupervisionTest, TellsAnUnchangedStatusOnce) {
  const Snapshot nothing;
  Turn(100, &nothing);
  for (int64_t second = 101; second < 120; ++second)
    for (const std::string& lines : Turn(second, &nothing))
      EXPECT_THAT(lines, Not(HasSubstr("STATUS")));
}

TEST_F(SupervisionTest, TellsAChangedStatusWithinFiveSeconds) {
  Turn(100, &snapshot_);
  Snapshot more = snapshot_;
  more.zones[0].migratetypes[0].confirmed.pages = 4097;
  EXPECT_THAT(Turn(101, &more), IsEmpty());
  EXPECT_THAT(Turn(105, &more),
              ElementsAre(HasSubstr("STATUS=4100 pages pinned")));
}

TEST(Supervision, ShowsNoSignOfLifeWhereNobodyWaitsForOne) {
  std::string sent;
  Supervision supervision(0, [&](const std::string& state) { sent += state; });
  supervision.OnTurn({.now = At(1)});
  EXPECT_THAT(sent, Not(HasSubstr("WATCHDOG")));
}

}  // namespace
}  // namespace pinwatch
