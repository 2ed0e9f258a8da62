// SPDX-License-Identifier: Apache-2.0
#include "daemon/migration_book.h"

#include <gmock/gmock.h>

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

MigrationFailure Failure(uint64_t pfn, int64_t first_met) {
  return {.reason = "longterm_pin",
          .mode = "sync",
          .page = {.pfn = pfn,
                   .refcount = 1026,
                   .pins = 1,
                   .why = "pinned",
                   .times_met = 1,
                   .first_met = {.monotonic_ns = first_met}}};
}

void Set(MigrationBook& book, std::vector<MigrationFailure> failures) {
  book.Set({.failures = std::move(failures)},
           [](MigrationFailure& failure) { failure.zone = "Movable"; });
}

TEST(MigrationBook, APageIsListedOnceHoweverOftenItIsTold) {
  MigrationBook book;
  Set(book, {Failure(7, 100)});
  MigrationFailure again = Failure(7, 100);
  again.page.times_met = 23;
  Set(book, {again, Failure(3, 90)});
  ASSERT_EQ(book.failures().size(), 2u);
  EXPECT_EQ(book.failures()[0].id, 1u);
  EXPECT_EQ(book.failures()[0].zone, "Movable");
  EXPECT_EQ(book.failures()[0].page.times_met, 23u);
  EXPECT_EQ(book.failures()[1].id, 2u);
}

TEST(MigrationBook, WhoHoldsAPageIsKeptWhileItSaysTheSame) {
  MigrationBook book;
  Set(book, {Failure(7, 100)});
  EXPECT_THAT(book.Unlooked(5), ElementsAre(7u));
  book.Look(7, [](BlockingPage& page) { page.why = "pinned_long_term"; });
  EXPECT_THAT(book.Unlooked(5), IsEmpty());
  MigrationFailure again = Failure(7, 100);
  again.page.times_met = 2;
  Set(book, {again});
  EXPECT_EQ(book.failures()[0].page.why, "pinned_long_term");
  EXPECT_EQ(book.failures()[0].page.times_met, 2u);

  again.page.pins = 2;
  again.page.refcount = 2050;
  Set(book, {again});
  EXPECT_EQ(book.failures()[0].page.why, "pinned");
  EXPECT_EQ(book.failures()[0].id, 1u);
  EXPECT_THAT(book.Unlooked(5), ElementsAre(7u));
}

TEST(MigrationBook, KeepsTheLastOnesAndListsNoneOfTheOthersAgain) {
  MigrationBook book;
  std::vector<MigrationFailure> many;
  for (int i = 0; i < 131; ++i) many.push_back(Failure(1000 + i, i));
  Set(book, many);
  Set(book, many);
  ASSERT_EQ(book.failures().size(), 128u);
  EXPECT_EQ(book.failures().front().id, 4u);
  EXPECT_EQ(book.failures().back().id, 131u);
}

TEST(MigrationBook, EveryZoneIsToldAndLastWhatIsNotKnownWhere) {
  MigrationBook book;
  EXPECT_THAT(book.Places({{.nid = 0, .name = "Normal"}}), IsEmpty())
      << "not observable";
  book.Set(
      {.places = {{.nid = 0, .zone = "Movable", .calls = 7}, {.calls = 3}}},
      [](MigrationFailure&) {});
  EXPECT_THAT(
      book.Places(
          {{.nid = 0, .name = "Normal"}, {.nid = 0, .name = "Movable"}}),
      ElementsAre(MigrationPlace{.nid = 0, .zone = "Normal"},
                  MigrationPlace{.nid = 0, .zone = "Movable", .calls = 7},
                  MigrationPlace{.calls = 3}));
}

}  // namespace
}  // namespace pinwatch
