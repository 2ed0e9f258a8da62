// SPDX-License-Identifier: Apache-2.0
#include "cli/offline.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <iterator>

#include "cli/follow_offline.h"
#include "tests/unit/cli_lines.h"
#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

constexpr char kState[] = "/sys/devices/system/memory/memory9/state";

bool TellNobody(absl::string_view) { return true; }

// A write to it does not end, as one to a block that does not go.
int FullPipe(int& reader) {
  int ends[2];
  if (pipe(ends)) return -1;
  reader = ends[0];
  fcntl(ends[1], F_SETFL, O_NONBLOCK);
  const char bytes[4096] = {};
  while (write(ends[1], bytes, sizeof(bytes)) > 0) continue;
  fcntl(ends[1], F_SETFL, 0);
  return ends[1];
}

TEST(Offline, IsWrittenToTheStateOfTheBlock) {
  const TempTree tree;
  tree.Write(kState, "online\n");
  const auto end = FollowOffline(tree.root(), 9, std::nullopt, TellNobody);
  ASSERT_TRUE(end.ok());
  EXPECT_EQ(end->error, 0);
  EXPECT_FALSE(end->was_offline);
  std::ifstream file(tree.root() + kState);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "offline");
}

TEST(Offline, OfABlockThatIsOfflineIsNoAttempt) {
  const TempTree tree;
  tree.Write(kState, "offline\n");
  const auto end = FollowOffline(tree.root(), 9, std::nullopt, TellNobody);
  ASSERT_TRUE(end.ok());
  EXPECT_TRUE(end->was_offline);
  EXPECT_EQ(OfflineEndText(9, *end), "memory9 is offline already\n");
}

TEST(Offline, OfABlockThatIsNotThereIsNotFound) {
  const TempTree tree;
  EXPECT_TRUE(absl::IsNotFound(
      FollowOffline(tree.root(), 9, std::nullopt, TellNobody).status()));
}

TEST(Offline, ThatDoesNotEndIsInterrupted) {
  int reader = -1;
  Offline offline(FullPipe(reader));
  EXPECT_EQ(offline.Wait(absl::Milliseconds(50)), std::nullopt);
  offline.Interrupt();
  EXPECT_EQ(offline.Wait(absl::Seconds(30)), EINTR);
  close(reader);
}

TEST(Offline, ThatDoesNotEndEndsWithItsObject) {
  int reader = -1;
  { const Offline offline(FullPipe(reader)); }
  close(reader);
}

TEST(OfflineEndText, SaysWhatWasMovedOrWhatStoodInTheWay) {
  OfflineEnd end{.took = absl::Seconds(4)};
  EXPECT_EQ(OfflineEndText(9, end), "memory9 is offline, after 4.0 s\n");
  end.story = Parse<v1::ListAttemptsResponse>(R"pb(
    attempts {
      operation: "offline"
      step: "migrating"
      reason: "interrupted"
      succeeded_pages: 4984
      blockers { pfn: 4660 why: "slab" refcount: 1 times_met: 23 }
    }
  )pb");
  EXPECT_EQ(OfflineEndText(9, end),
            "memory9 is offline, after 4.0 s: 4,984 pages moved out\n");
  end.error = EINTR;
  EXPECT_EQ(
      Checked(OfflineEndText(9, end)),
      "memory9 did not go offline: EINTR after 4.0 s\n"
      "          interrupted by a signal to the asker before all pages had "
      "moved\n"
      "          pfn 0x1234 slab, 1 reference, met 23 times\n");
}

}  // namespace
}  // namespace pinwatch
