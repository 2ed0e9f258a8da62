// SPDX-License-Identifier: Apache-2.0
#include "daemon/owner_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// With something in every field, by the number.
PinOwner Owner(uint32_t id, uint64_t number = 23) {
  const std::string text = std::to_string(number);
  const auto at = static_cast<int64_t>(number);
  return {.id = id,
          .long_term = true,
          .process = {.pid = id + 1000,
                      .start_boottime_ns = 1000 * number,
                      .comm = "comm" + text,
                      .exe = "exe" + text,
                      .cgroup = "cgroup" + text,
                      .unit = "unit" + text,
                      .ended = true},
          .via = Process{.pid = id + 2000, .comm = "via" + text},
          .door = "door" + text,
          .subsystem = "subsystem" + text,
          .call_site = "call_site" + text,
          .devices = std::vector<std::string>{"device" + text},
          .kernel_stack = CallStack{"kernel" + text},
          .user_stack = CallStack{"user" + text},
          .calls = number,
          .pages = 2 * number,
          .outcomes = {.asked_pages = 3 * number,
                       .partial_calls = 4 * number,
                       .failed_calls = 5 * number,
                       .errors = {{12, number}, {14, 7}},
                       .measured_calls = 6 * number,
                       .measured_ns = 7 * number,
                       .minor_faults = 8 * number,
                       .major_faults = 9 * number},
          .first = {at, 2 * at},
          .last = {3 * at, 4 * at},
          .holdings = {{.nid = 1,
                        .zone = "zone" + text,
                        .cma = true,
                        .certainty = Certainty::kOneOf,
                        .pins = {number, 11},
                        .since = {5 * at, 6 * at},
                        .since_exact = false,
                        .overdue_pages = 10 * number}},
          .growth = PinGrowth{{7 * at, 8 * at}, 11 * number, 5}};
}

void Set(OwnerPage& page, const PinOwner& owner) {
  page.Set(owner, NamesOf(owner), OriginOf(owner));
}

TEST(OwnerPage, GivesBackAllThatWasKnownOfAnOwner) {
  OwnerPage page(0);
  Set(page, Owner(5));
  const PinOwner owner = page.Get(5);
  EXPECT_EQ(owner, Owner(5));
  // Which of a time are not compared.
  EXPECT_EQ(owner.first.realtime_ns, 23);
  EXPECT_EQ(owner.last.realtime_ns, 69);
  EXPECT_EQ(owner.holdings[0].since.realtime_ns, 115);
  EXPECT_EQ(owner.growth->since.realtime_ns, 161);
  Set(page, PinOwner{.id = 6});
  EXPECT_EQ(page.Get(6), PinOwner{.id = 6});
  EXPECT_EQ(page.Get(5), Owner(5));
}

TEST(OwnerPage, TellsWhatIsAskedForOftenWithoutTheRest) {
  OwnerPage page(0);
  Set(page, Owner(5));
  Set(page, {.id = 6, .process = {.pid = 42}});
  EXPECT_TRUE(page.Has(5));
  EXPECT_FALSE(page.Has(7));
  EXPECT_TRUE(page.IsLongTerm(5));
  EXPECT_FALSE(page.IsLongTerm(6));
  EXPECT_TRUE(page.HasEnded(5));
  EXPECT_FALSE(page.HasEnded(6));
  EXPECT_TRUE(page.Holds(5));
  EXPECT_FALSE(page.Holds(6));
  EXPECT_EQ(page.size(), 2u);
  EXPECT_EQ(page.nr_suspects(), 1u);
  EXPECT_EQ(page.SpanOf(5).pid, 1005u);
  EXPECT_EQ(page.SpanOf(5).last.monotonic_ns, 92);
  EXPECT_EQ(page.SpanOf(6).pid, 42u);
}

TEST(OwnerPage, AChangedOwnerLeavesTheOthersAsTheyAre) {
  OwnerPage page(1);
  for (uint32_t id = 64; id < 128; ++id) Set(page, Owner(id, id));
  PinOwner changed = Owner(70, 70);
  changed.pages = UINT64_MAX;
  changed.holdings.clear();
  changed.via = Process{.pid = 7, .ended = true};
  page.Change(changed);
  EXPECT_EQ(page.Get(70), changed);
  EXPECT_FALSE(page.Holds(70));
  page.Erase(70);
  for (uint32_t id = 64; id < 128; ++id) {
    if (id == 70) continue;
    EXPECT_EQ(page.Get(id), Owner(id, id));
  }
}

TEST(OwnerPage, AnotherTakesThePlaceOfOneThatWentOrHasItsId) {
  OwnerPage page(0);
  for (uint32_t round = 0; round < 300; ++round) {
    Set(page, Owner(5, round));
    Set(page, Owner(6, round + 1));
    EXPECT_EQ(page.Get(5), Owner(5, round));
    EXPECT_EQ(page.Get(6), Owner(6, round + 1));
    if (round % 2) page.Erase(5);
  }
  EXPECT_FALSE(page.Has(5));
  EXPECT_EQ(page.size(), 1u);
  EXPECT_EQ(page.Get(6), Owner(6, 300));
}

TEST(OwnerPage, WhatOwnersHaveInCommonIsThereOnce) {
  OwnerPage page(0);
  Set(page, Owner(5));
  Set(page, Owner(6));
  EXPECT_EQ(&*page.Get(5).kernel_stack, &*page.Get(6).kernel_stack);
}

TEST(OwnerList, GoesThroughItsOwnersById) {
  const OwnerList list = {
      {.id = 3}, {.id = 63}, {.id = 64}, {.id = UINT32_MAX}};
  std::vector<uint32_t> ids;
  for (const PinOwner& owner : list) ids.push_back(owner.id);
  EXPECT_THAT(ids, ElementsAre(3, 63, 64, UINT32_MAX));
  EXPECT_EQ(list.size(), 4u);
  EXPECT_EQ(list[2].id, 64u);
  EXPECT_EQ(list.From(4).id(), 63u);
  EXPECT_EQ((*list.From(65)).id, UINT32_MAX);
  EXPECT_TRUE(list.From(uint64_t{UINT32_MAX} + 1) == list.end());
  EXPECT_TRUE(list.From(UINT64_MAX) == list.end());
  EXPECT_EQ(list.Find(64)->id, 64u);
  EXPECT_FALSE(list.Find(65));
  EXPECT_FALSE(list.Find(5000));
  EXPECT_THAT(OwnerList(), IsEmpty());
  EXPECT_TRUE(OwnerList().begin() == OwnerList().end());
}

TEST(OwnerList, CountsThoseThatAreToldToGrow) {
  const OwnerList list = {{.id = 3}, Owner(4), Owner(70)};
  EXPECT_EQ(list.nr_suspects(), 2u);
}

}  // namespace
}  // namespace pinwatch
