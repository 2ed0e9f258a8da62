// SPDX-License-Identifier: Apache-2.0
#include "cli/migrations_log.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "cli/proto_time.h"
#include "cli/text.h"
#include "cli/words.h"

namespace pinwatch {
namespace {

constexpr size_t kWidth = 80;
constexpr size_t kAskerWidth = 25;
constexpr absl::Duration kHoldersKnown = absl::Seconds(3);

bool HolderIsKnown(const v1::BlockingPage& page) {
  return page.owners_size() || page.reference_holders_size();
}

std::string Pages(uint64_t moved, uint64_t failed) {
  return absl::StrCat(Count(moved), " pages moved, ", Count(failed), " failed");
}

}  // namespace

std::string MigrationsLog::Lines(const v1::ListMigrationsResponse& migrations,
                                 absl::Time now) {
  text_.clear();
  time_ = now;
  // Counts only go back where another daemon began anew.
  for (const v1::Migrations& one : migrations.migrations())
    if (one.calls() < counts_[{one.reason(), one.mode()}].calls())
      begun_ = false;
  if (!begun_) {
    AddSummary(migrations);
    return text_;
  }
  for (const v1::Migrations& one : migrations.migrations()) AddCounts(one);
  for (const v1::MigrationFailure& failure : migrations.failures())
    AddFailure(failure, migrations);
  return text_;
}

void MigrationsLog::AddLine(absl::string_view line) {
  const std::string whole =
      absl::StrCat(absl::FormatTime("%H:%M:%S", time_, time_zone_), "  ", line);
  absl::StrAppend(&text_,
                  absl::StripTrailingAsciiWhitespace(Fit(whole, kWidth)), "\n");
}

void MigrationsLog::AddSummary(const v1::ListMigrationsResponse& migrations) {
  uint64_t moved = 0, failed = 0;
  counts_.clear();
  times_met_.clear();
  for (const v1::Migrations& one : migrations.migrations()) {
    moved += one.succeeded_pages();
    failed += one.failed_pages();
    counts_[{one.reason(), one.mode()}] = one;
  }
  for (const v1::MigrationFailure& failure : migrations.failures())
    times_met_[failure.id()] = failure.page().times_met();
  begun_ = true;
  AddLine(absl::StrCat(Pages(moved, failed), " since pinwatchd started"));
}

void MigrationsLog::AddCounts(const v1::Migrations& migrations) {
  v1::Migrations& told = counts_[{migrations.reason(), migrations.mode()}];
  const uint64_t calls = migrations.calls() - told.calls();
  if (calls)
    AddLine(absl::StrCat(
        migrations.reason(), ", ", migrations.mode(), ": ",
        Pages(migrations.succeeded_pages() - told.succeeded_pages(),
              migrations.failed_pages() - told.failed_pages()),
        calls == 1 ? "" : absl::StrCat(" in ", Count(calls), " calls")));
  told = migrations;
}

void MigrationsLog::AddFailure(const v1::MigrationFailure& failure,
                               const v1::ListMigrationsResponse& migrations) {
  const v1::BlockingPage& page = failure.page();
  uint64_t& told = times_met_[failure.id()];
  if (page.times_met() <= told) return;
  if (!HolderIsKnown(page) && time_ - ToTime(page.last_met()) < kHoldersKnown)
    return;
  AddLine(absl::StrCat(failure.reason(), ": ",
                       BlockerText(page, ById(migrations.owners())), ", for ",
                       NameWithPid(failure.process().comm(),
                                   failure.process().pid(), kAskerWidth)));
  told = page.times_met();
}

}  // namespace pinwatch
