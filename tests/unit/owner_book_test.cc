// SPDX-License-Identifier: Apache-2.0
#include "daemon/owner_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

OwnerReading Reading(uint32_t index, uint32_t pid, uint64_t calls = 1) {
  return {.index = index,
          .long_term = true,
          .pid = pid,
          .start_boottime_ns = pid * 1000,
          .door = "pin_user_pages",
          .calls = calls,
          .pages = 23 * calls,
          .first = {.realtime_ns = 7, .monotonic_ns = 7},
          .last = {.realtime_ns = 9, .monotonic_ns = 9}};
}

void AddNew(OwnerBook& book, const std::vector<OwnerReading>& readings) {
  for (const OwnerReading& reading : book.Update(readings))
    book.Add(reading, {.process = {.comm = "holder"}});
}

TEST(OwnerBook, AsksOnceWhoANewOwnerIs) {
  OwnerBook book;
  const std::vector<OwnerReading> unknown = book.Update({Reading(1, 42)});
  ASSERT_EQ(unknown.size(), 1u);
  book.Add(unknown[0], {.process = {.comm = "holder"}});
  EXPECT_THAT(book.Update({Reading(1, 42)}), IsEmpty());
  const PinOwner owner = *book.Find(1);
  EXPECT_EQ(owner.process.pid, 42u);
  EXPECT_EQ(owner.process.start_boottime_ns, 42'000u);
  EXPECT_EQ(owner.process.comm, "holder");
  EXPECT_TRUE(owner.long_term);
}

TEST(OwnerBook, BringsTheCountsOfAnOwnerUpToDate) {
  OwnerBook book;
  AddNew(book, {Reading(1, 42)});
  book.Update({Reading(1, 42, 7)});
  EXPECT_EQ(book.Find(1)->calls, 7u);
  EXPECT_EQ(book.Find(1)->pages, 161u);
  EXPECT_EQ(book.Find(1)->process.comm, "holder");
}

TEST(OwnerBook, AReadingChangesOnlyThoseThatAreInIt) {
  OwnerBook book;
  AddNew(book, {Reading(1, 42), Reading(2, 43), Reading(3000, 44)});
  const OwnerList before = book.owners();
  book.Update({Reading(3000, 44, 7)});
  EXPECT_EQ(before[2].calls, 1u);
  EXPECT_EQ(book.owners()[2].calls, 7u);
  // The others are the very same.
  EXPECT_NE(book.owners().pages()[0], nullptr);
  EXPECT_EQ(book.owners().pages()[0], before.pages()[0]);
  EXPECT_EQ(&book.owners().pages(), &book.owners().pages());
}

TEST(OwnerBook, OwnersWithTheSameStackShareIt) {
  OwnerBook book;
  for (uint32_t id = 1; id <= 3; ++id)
    book.Add(Reading(id, 42),
             {.kernel_stack = CallStack{id < 3 ? "io_pin_pages+0x42" : "b"}});
  EXPECT_EQ(&*book.Find(1)->kernel_stack, &*book.Find(2)->kernel_stack);
  book.Forget({1, 2});
  EXPECT_EQ(book.Find(3)->kernel_stack->at(0), "b");
  EXPECT_FALSE(book.Find(3)->user_stack);
}

TEST(OwnerBook, HoldingsAreNotedWhereTheyHaveChanged) {
  OwnerBook book;
  AddNew(book, {Reading(1, 42), Reading(2, 43), Reading(4, 44)});
  const std::vector<PinHolding> some = {{.zone = "Normal", .pins = {23, 23}}};
  EXPECT_THAT(book.SetHoldings({{2, some}, {3, some}, {4, some}}),
              ElementsAre(2, 4));
  EXPECT_THAT(book.SetHoldings({{2, some}}), ElementsAre(4));
  EXPECT_EQ(book.Find(2)->holdings, some);
  EXPECT_THAT(book.Find(4)->holdings, IsEmpty());
}

TEST(OwnerBook, ForgetsThoseThatTheSourceHasForgotten) {
  OwnerBook book;
  AddNew(book, {Reading(1, 42), Reading(2, 43)});
  book.SetEnded(1);
  book.Forget({1, 7});
  EXPECT_THAT(book.ended(), IsEmpty());
  EXPECT_EQ(book.owners().size(), 1u);
  EXPECT_EQ(book.StateOf(1), OwnerState::kUnknown);
  EXPECT_EQ(book.StateOf(2), OwnerState::kAlive);
}

TEST(OwnerBook, AnIndexUsedAgainIsAnotherOwner) {
  OwnerBook book;
  AddNew(book, {Reading(1, 42)});
  book.SetEnded(1);
  AddNew(book, {Reading(1, 43)});
  EXPECT_EQ(book.Find(1)->process.pid, 43u);
  EXPECT_EQ(book.StateOf(1), OwnerState::kAlive);
}

TEST(OwnerBook, TellsProcessesWithTheSamePidApart) {
  OwnerBook book;
  OwnerReading later = Reading(2, 42);
  later.start_boottime_ns = 43'000;
  AddNew(book, {Reading(1, 42), later});
  book.SetEnded(1);
  EXPECT_EQ(book.StateOf(1), OwnerState::kEnded);
  EXPECT_EQ(book.StateOf(2), OwnerState::kAlive);
  EXPECT_THAT(book.ended(), ElementsAre(1));
}

TEST(OwnerBook, NotesTheEndOfWhoAskedApartFromTheOwners) {
  OwnerBook book;
  book.Add(Reading(1, 42), {.via = Process{.pid = 99}});
  book.Add(Reading(2, 43), {});
  book.SetViaEnded(1);
  book.SetViaEnded(2);
  EXPECT_TRUE(book.Find(1)->via->ended);
  EXPECT_EQ(book.StateOf(1), OwnerState::kAlive);
  EXPECT_FALSE(book.Find(2)->via);
}

TEST(OwnerBook, TheEndOfAnOwnerThatIsNotKnownChangesNothing) {
  OwnerBook book;
  book.SetEnded(1);
  book.SetViaEnded(1);
  EXPECT_THAT(book.owners(), IsEmpty());
  EXPECT_EQ(book.StateOf(1), OwnerState::kUnknown);
}

}  // namespace
}  // namespace pinwatch
