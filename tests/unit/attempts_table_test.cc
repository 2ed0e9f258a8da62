// SPDX-License-Identifier: Apache-2.0
#include "cli/attempts_table.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>

namespace pinwatch {
namespace {

v1::ListAttemptsResponse Parse(const std::string& text) {
  v1::ListAttemptsResponse message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message;
}

const absl::Time kNow = absl::FromUnixSeconds(1000);

TEST(AttemptsTable, SaysWhenThereWereNone) {
  EXPECT_EQ(AttemptsTable({}, kNow),
            "no attempt to take memory offline or online since pinwatchd "
            "started\n");
}

TEST(AttemptsTable, ShowsWhoAskedForWhatAndHowItEnded) {
  EXPECT_EQ(
      AttemptsTable(
          Parse(R"pb(
            attempts {
              operation: "offline"
              block: 9
              running: true
              begin { seconds: 997 }
              duration { seconds: 3 }
              pid: 251
              comm: "memory-block"
              failed_pages: 1200
            }
            attempts {
              operation: "online"
              block: 14
              outcome: "ok"
              error: 0
              begin { seconds: 880 }
              duration { nanos: 200000000 }
              pid: 242
              comm: "sh"
            }
            counts { operation: "offline" outcome: "ok" attempts: 0 }
            counts { operation: "offline" outcome: "EBUSY" attempts: 7 }
            counts { operation: "offline" outcome: "EINTR" attempts: 1 }
            counts { operation: "online" outcome: "ok" attempts: 1 }
            stories_lost: 2
          )pb"),
          kNow),
      "   BEGAN  BLOCK        WANTED   RESULT       TOOK      FAILED  ASKER\n"
      "   3.0 s  memory9      offline  running     3.0 s       1,200  "
      "memory-block(251)\n"
      "   2 min  memory14     online   ok          0.2 s           0  sh(242)\n"
      "BEGAN: ago; FAILED: pages that did not move, in every round of "
      "migration\n"
      "\n"
      "offline: 7 EBUSY, 1 EINTR\n"
      "online: 1 ok\n"
      "of these, 2 without a story\n");
}

TEST(AttemptsTable, KeepsTo80ColumnsOfPrintableAsciiWhateverTheNames) {
  v1::ListAttemptsResponse attempts;
  for (const char* name :
       {"\xff\x1b[31m\n\t\"", "a very long name indeed", ""}) {
    v1::Attempt* attempt = attempts.add_attempts();
    attempt->set_operation("offline");
    attempt->set_block(UINT64_MAX);
    attempt->set_outcome("errno 4095");
    attempt->set_pid(UINT32_MAX);
    attempt->set_failed_pages(UINT64_MAX);
    // Not through the wire, so bytes that are no UTF-8 may stand here.
    attempt->set_comm(name);
  }
  std::istringstream lines(AttemptsTable(attempts, kNow));
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 80u) << line;
    EXPECT_TRUE(std::ranges::all_of(line, [](char c) {
      return c >= ' ' && c <= '~';
    })) << line;
  }
}

}  // namespace
}  // namespace pinwatch
