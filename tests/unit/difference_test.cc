// SPDX-License-Identifier: Apache-2.0
#include "daemon/difference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// One of everything.
Snapshot Some() {
  return {
      .generation = 1,
      .time = {.realtime_ns = 10, .monotonic_ns = 10},
      .nodes = {{.nid = 0, .acquired = 5, .drift_time = Timestamp{7, 7}}},
      .zones = {{.nid = 0,
                 .name = "Normal",
                 .migratetypes = {{.migratetype = "movable"}},
                 .oldest_look = Timestamp{8, 8}}},
      .blocks = {{.nid = 0, .zone = "Normal", .state = "online", .blocks = 3}},
      .migrations = {{"compaction", "sync", {.calls = 1}}},
      .attempts = {{.operation = "offline",
                    .block_id = 9,
                    .begin = {5, 5},
                    .duration_ns = 5,
                    .running = true,
                    .tid = 42}},
      .owners = {{.id = 3, .calls = 1}, {.id = 5, .calls = 1}},
      .attributions = {{.nid = 0, .zone = "Normal", .pins = {23, 23}}},
  };
}

TEST(Difference, ThereIsNoneToItself) {
  const Difference difference = Diff(Some(), Some());
  EXPECT_TRUE(difference.empty());
  EXPECT_EQ(difference.generation, 1u);
}

TEST(Difference, TheTimeAloneIsNone) {
  Snapshot to = Some();
  to.generation = 4;
  to.time = {.realtime_ns = 20, .monotonic_ns = 20};
  to.nodes[0].drift_time = Timestamp{17, 17};
  to.zones[0].oldest_look = Timestamp{18, 18};
  to.attempts[0].duration_ns = 15;
  to.attempts[0].begin.realtime_ns = 6;  // read anew from another clock
  const Difference difference = Diff(Some(), to);
  EXPECT_TRUE(difference.empty());
  EXPECT_EQ(difference.generation, 4u);
  EXPECT_EQ(difference.time.realtime_ns, 20);
}

TEST(Difference, NodesZonesAndMigrationsThatChangedAreTold) {
  Snapshot to = Some();
  to.nodes[0].acquired = 6;
  to.zones[0].migratetypes[0].confirmed.pages = 23;
  to.zones.push_back({.nid = 0, .name = "Movable"});
  to.migrations[0].counters.thp_split = 1;
  to.migrations.push_back({"longterm_pin", "sync", {}});
  const Difference difference = Diff(Some(), to);
  EXPECT_THAT(difference.nodes, ElementsAre(to.nodes[0]));
  EXPECT_THAT(difference.zones, ElementsAre(to.zones[0], to.zones[1]));
  ASSERT_EQ(difference.migrations.size(), 2u);
  EXPECT_EQ(difference.migrations[0].counters.thp_split, 1u);
  EXPECT_THAT(difference.owners, IsEmpty());
}

TEST(Difference, ABeginAndAnEndOfAPauseAreTold) {
  Snapshot paused = Some();
  paused.paused_since = Timestamp{23, 23};
  const Difference begin = Diff(Some(), paused);
  EXPECT_FALSE(begin.empty());
  EXPECT_TRUE(begin.pause_changed);
  EXPECT_EQ(begin.paused_since, (Timestamp{23, 23}));
  EXPECT_TRUE(Diff(paused, paused).empty());
  const Difference end = Diff(paused, Some());
  EXPECT_TRUE(end.pause_changed);
  EXPECT_FALSE(end.paused_since.has_value());
}

TEST(Difference, ANodeThatIsGoneIsTold) {
  Snapshot to = Some();
  to.nodes.clear();
  to.zones.clear();
  const Difference difference = Diff(Some(), to);
  EXPECT_THAT(difference.nodes_gone, ElementsAre(0));
  EXPECT_THAT(difference.zones, IsEmpty());
}

TEST(Difference, OwnersAreNewChangedOrGone) {
  Snapshot to = Some();
  to.owners = {{.id = 4}, {.id = 5, .calls = 2}, {.id = 9}};
  const Difference difference = Diff(Some(), to);
  EXPECT_THAT(difference.owners,
              ElementsAre(to.owners[0], to.owners[1], to.owners[2]));
  EXPECT_THAT(difference.owners_gone, ElementsAre(3));
}

TEST(Difference, AnOwnerWhoseHoldingsChangedIsTold) {
  Snapshot to = Some();
  to.owners = {
      {.id = 3, .calls = 1, .holdings = {{.zone = "Normal", .pins = {23, 23}}}},
      {.id = 5, .calls = 1}};
  EXPECT_THAT(Diff(Some(), to).owners, ElementsAre(to.owners[0]));
}

TEST(Difference, WhatIsLeftOfAnAttributionThatIsGoneIsZero) {
  Snapshot to = Some();
  to.attributions = {
      {.nid = 0, .zone = "Normal", .certainty = Certainty::kHeld}};
  EXPECT_THAT(Diff(Some(), to).attributions,
              ElementsAre(to.attributions[0],
                          PinAttribution{.nid = 0, .zone = "Normal"}));
}

TEST(Difference, KindsOfPinsAreToldUnlessTheyOnlyAged) {
  Snapshot from = Some();
  from.pin_kinds = {{.zone = "Normal", .long_term = 23},
                    {.zone = "Movable", .short_term = 7}};
  Snapshot to = from;
  to.pin_kinds[0].long_term_older = {23, 23};
  EXPECT_TRUE(Diff(from, to).empty());
  to.pin_kinds = {{.zone = "Normal", .long_term = 24}};
  EXPECT_THAT(Diff(from, to).pin_kinds,
              ElementsAre(to.pin_kinds[0], PinKinds{.zone = "Movable"}));
}

TEST(Difference, CallsThatComeRoundAreToldWhenTheyBeginMeetAnotherPageAndEnd) {
  Snapshot from = Some();
  from.pin_retries = {{.process = {.pid = 7}, .begin = {3, 3}, .rounds = 200}};
  EXPECT_THAT(Diff(Some(), from).pin_retries, ElementsAre(from.pin_retries[0]));
  Snapshot to = from;
  to.pin_retries[0].rounds = 300;
  EXPECT_TRUE(Diff(from, to).empty()) << "rounds alone are no news";
  to.pin_retries[0].page = BlockingPage{.pfn = 23};
  EXPECT_THAT(Diff(from, to).pin_retries, ElementsAre(to.pin_retries[0]));
  from = to;
  to.pin_retries[0].page->last_met = {9, 9};
  EXPECT_TRUE(Diff(from, to).empty()) << "nor is when it was met";
  to.pin_retries[0].page->owners = {5};
  EXPECT_THAT(Diff(from, to).pin_retries, ElementsAre(to.pin_retries[0]));
  const Difference end = Diff(to, Some());
  EXPECT_FALSE(end.empty());
  EXPECT_THAT(end.pin_retries_ended, ElementsAre(to.pin_retries[0]));
}

TEST(Difference, BlocksThatAreInAStateNoMoreAreZero) {
  Snapshot to = Some();
  to.blocks = {{.nid = 0, .zone = "Normal", .state = "offline", .blocks = 3}};
  EXPECT_THAT(
      Diff(Some(), to).blocks,
      ElementsAre(to.blocks[0],
                  BlockCount{.nid = 0, .zone = "Normal", .state = "online"}));
}

TEST(Difference, AttemptsBeginProgressAndEnd) {
  Snapshot to = Some();
  to.attempts[0].failed_pages = 7;
  EXPECT_THAT(Diff(Some(), to).attempts, ElementsAre(to.attempts[0]));
  to = Some();
  to.attempts[0].running = false;
  to.attempts[0].error = 4;
  EXPECT_THAT(Diff(Some(), to).attempts, ElementsAre(to.attempts[0]));
  to = Some();
  to.attempts.insert(to.attempts.begin(),
                     {.operation = "offline", .begin = {9, 9}, .tid = 42});
  EXPECT_THAT(Diff(Some(), to).attempts, ElementsAre(to.attempts[0]));
  to = Some();
  to.attempts[0].blockers = {{.pfn = 23}};
  EXPECT_THAT(Diff(Some(), to).attempts, ElementsAre(to.attempts[0]));
}

TEST(Difference, AttemptsThatAreNoLongerKeptAreNotTold) {
  Snapshot to = Some();
  to.attempts.clear();
  EXPECT_TRUE(Diff(Some(), to).empty());
}

}  // namespace
}  // namespace pinwatch
