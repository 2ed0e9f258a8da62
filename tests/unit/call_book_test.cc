// SPDX-License-Identifier: Apache-2.0
#include "daemon/call_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

OwnerCalls Calls(uint32_t owner, bool long_term, uint64_t calls) {
  return {owner,
          long_term,
          {.calls = calls,
           .pages = 23 * calls,
           .outcomes = {.asked_pages = 37 * calls,
                        .failed_calls = 1,
                        .errors = {{ENOMEM, 1}},
                        .measured_calls = calls},
           .latencies = {calls}}};
}

// A book with one owner for each subsystem, numbered from 1.
OwnerBook Owners(const std::vector<std::string>& subsystems) {
  OwnerBook book;
  for (uint32_t i = 0; i < subsystems.size(); ++i)
    book.Add({.index = i + 1}, {.subsystem = subsystems[i]});
  return book;
}

TEST(CallBook, BeginsEmpty) {
  EXPECT_THAT(CallBook().AddUp(Owners({"vfio"})), IsEmpty());
}

TEST(CallBook, AddsUpOwnersOfOneSubsystemByKind) {
  CallBook book;
  book.Add({Calls(1, true, 3), Calls(2, true, 4), Calls(2, false, 5),
            Calls(3, true, 6)});
  EXPECT_THAT(
      book.AddUp(Owners({"vfio", "vfio", "rdma"})),
      ElementsAre(SubsystemCalls{"rdma", true, Calls(3, true, 6).calls},
                  SubsystemCalls{"vfio", false, Calls(2, false, 5).calls},
                  SubsystemCalls{"vfio",
                                 true,
                                 {.calls = 7,
                                  .pages = 161,
                                  .outcomes = {.asked_pages = 259,
                                               .failed_calls = 2,
                                               .errors = {{ENOMEM, 2}},
                                               .measured_calls = 7},
                                  .latencies = {7}}}));
}

TEST(CallBook, GoesOnWhenTheOwnerIsForgotten) {
  CallBook book;
  book.Add({Calls(1, true, 3)});
  book.AddUp(Owners({"vfio"}));
  book.Add({Calls(1, true, 4)});
  const std::vector<SubsystemCalls> calls = book.AddUp(Owners({"rdma"}));
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0].calls.calls, 4u);
  EXPECT_EQ(calls[1].calls.calls, 3u);
}

TEST(CallBook, WhoIsNotKnownCallsFromNowhereKnown) {
  CallBook book;
  book.Add({Calls(7, true, 3)});
  EXPECT_THAT(
      book.AddUp(Owners({})),
      ElementsAre(SubsystemCalls{"unknown", true, Calls(7, true, 3).calls}));
}

}  // namespace
}  // namespace pinwatch
