// SPDX-License-Identifier: Apache-2.0
#include "cli/migrations_log.h"

#include <gtest/gtest.h>

#include "tests/unit/cli_lines.h"

namespace pinwatch {
namespace {

v1::ListMigrationsResponse Answer(uint64_t calls, uint64_t moved,
                                  uint64_t failed) {
  v1::ListMigrationsResponse answer;
  v1::Migrations& one = *answer.add_migrations();
  one.set_reason("longterm_pin");
  one.set_mode("sync");
  one.set_calls(calls);
  one.set_succeeded_pages(moved);
  one.set_failed_pages(failed);
  return answer;
}

v1::MigrationFailure& AddPage(uint32_t id, int64_t met,
                              v1::ListMigrationsResponse& answer) {
  v1::MigrationFailure& failure = *answer.add_failures();
  failure.set_id(id);
  failure.set_reason("longterm_pin");
  failure.mutable_process()->set_pid(77);
  failure.mutable_process()->set_comm("app");
  failure.mutable_page()->set_pfn(4660);
  failure.mutable_page()->set_why("plain_reference");
  failure.mutable_page()->set_times_met(1);
  failure.mutable_page()->mutable_last_met()->set_seconds(met);
  return failure;
}

void AddPipe(v1::MigrationFailure& failure) {
  v1::ReferenceHolder& holder =
      *failure.mutable_page()->add_reference_holders();
  holder.mutable_process()->set_pid(42);
  holder.mutable_process()->set_comm("splicer");
  holder.set_through("pipe");
}

class MigrationsLogTest : public testing::Test {
 protected:
  std::string Lines(const v1::ListMigrationsResponse& answer, int64_t seconds) {
    return log_.Lines(answer, absl::FromUnixSeconds(seconds));
  }

  MigrationsLog log_{absl::UTCTimeZone()};
};

TEST_F(MigrationsLogTest, BeginsWithASummaryAndTellsWhatChanges) {
  v1::ListMigrationsResponse first = Answer(2, 3, 1);
  AddPage(7, 0, first);
  EXPECT_EQ(Lines(first, 5),
            "00:00:05  3 pages moved, 1 failed since pinwatchd started\n");
  EXPECT_EQ(Lines(first, 6), "");
  EXPECT_EQ(Lines(Answer(3, 26, 1), 7),
            "00:00:07  longterm_pin, sync: 23 pages moved, 0 failed\n");
  EXPECT_EQ(
      Lines(Answer(5, 26, 8), 8),
      "00:00:08  longterm_pin, sync: 0 pages moved, 7 failed in 2 calls\n");
}

TEST_F(MigrationsLogTest, APageIsToldWithItsHolderAndAgainWhenItIsMetAgain) {
  Lines(Answer(2, 3, 0), 5);
  v1::ListMigrationsResponse met = Answer(2, 3, 0);
  v1::MigrationFailure& failure = AddPage(7, 6, met);
  EXPECT_EQ(Lines(met, 7), "");
  AddPipe(failure);
  EXPECT_EQ(Lines(met, 8),
            "00:00:08  longterm_pin: pfn 0x1234 in a pipe of splicer(42), for "
            "app(77)\n");
  EXPECT_EQ(Lines(met, 9), "");
  failure.mutable_page()->set_times_met(2);
  EXPECT_NE(Lines(met, 10), "");
}

TEST_F(MigrationsLogTest, APageOfNobodyKnownIsToldAllTheSame) {
  Lines(Answer(2, 3, 0), 5);
  v1::ListMigrationsResponse met = Answer(2, 3, 0);
  AddPage(7, 6, met);
  EXPECT_EQ(Lines(met, 8), "");
  EXPECT_NE(Lines(met, 9).find("pfn 0x1234"), std::string::npos);
}

TEST_F(MigrationsLogTest, AnotherDaemonBeginsAnew) {
  Lines(Answer(5, 6, 1), 5);
  EXPECT_EQ(Lines(Answer(1, 2, 0), 6),
            "00:00:06  2 pages moved, 0 failed since pinwatchd started\n");
}

}  // namespace
}  // namespace pinwatch
