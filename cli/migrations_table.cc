// SPDX-License-Identifier: Apache-2.0
#include "cli/migrations_table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "cli/proto_time.h"
#include "cli/text.h"
#include "cli/words.h"

namespace pinwatch {
namespace {

constexpr size_t kWidth = 80;
constexpr size_t kReasonWidth = 17;
constexpr size_t kZoneWidth = 10;
constexpr size_t kAskerWidth = 25;
constexpr int kMaxFailures = 10;

struct Row {
  uint64_t calls = 0;
  uint64_t moved = 0;
  uint64_t failed = 0;
  uint64_t split = 0;
};

Row SumOf(const v1::ListMigrationsResponse& migrations,
          const std::string& reason) {
  Row row;
  for (const v1::Migrations& one : migrations.migrations()) {
    if (one.reason() != reason) continue;
    row.calls += one.calls();
    row.moved += one.succeeded_pages();
    row.failed += one.failed_pages();
    row.split += one.has_large_split() ? one.large_split() : one.thp_split();
  }
  return row;
}

void AddRow(std::string& text, absl::string_view reason,
            absl::string_view calls, absl::string_view moved,
            absl::string_view failed, absl::string_view split,
            absl::string_view mean) {
  absl::StrAppendFormat(&text, "%-17s %11s %11s %11s %9s %9s\n", reason, calls,
                        moved, failed, split, mean);
}

// "0.8 ms"; nothing is known without a measured call.
std::string Mean(const v1::MigrationDetails& details) {
  if (!details.measured_calls()) return "-";
  const double us =
      absl::ToDoubleMicroseconds(ToDuration(details.measured_time())) /
      static_cast<double>(details.measured_calls());
  if (us < 1e3) return absl::StrFormat("%.0f us", us);
  return us < 1e6 ? absl::StrFormat("%.1f ms", us / 1e3)
                  : absl::StrFormat("%.1f s", us / 1e6);
}

std::string Words(absl::string_view code) {
  return absl::StrReplaceAll(Printable(code), {{"_", " "}});
}

// "stayed: 3 pinned, 1 writeback", below the row of the reason.
std::string WhyTheyStayed(const v1::MigrationDetails& details) {
  std::string line;
  const auto add = [&](uint64_t pages, const std::string& why) {
    if (pages)
      absl::StrAppend(&line, line.empty() ? "stayed: " : ", ", Count(pages),
                      " ", why);
  };
  for (const v1::MigrationFailures& failed : details.failed())
    add(failed.pages(), Words(failed.why()));
  add(details.unclassified_pages(), "not classified");
  return line.empty() ? line : Detail(line, kWidth, 4);
}

const v1::MigrationDetails& DetailsOf(
    const v1::ListMigrationsResponse& migrations, const std::string& reason) {
  const auto found = std::ranges::find_if(
      migrations.details(),
      [&](const auto& details) { return details.reason() == reason; });
  return found == migrations.details().end()
             ? v1::MigrationDetails::default_instance()
             : *found;
}

void AddReasons(const v1::ListMigrationsResponse& migrations,
                std::string& text) {
  std::vector<std::string> reasons;
  for (const v1::Migrations& one : migrations.migrations())
    if (one.calls() &&
        std::ranges::find(reasons, one.reason()) == reasons.end())
      reasons.push_back(one.reason());
  if (reasons.empty()) {
    absl::StrAppend(&text, "no page was to move since pinwatchd started\n");
    return;
  }
  AddRow(text, "REASON", "CALLS", "MOVED", "FAILED", "SPLIT", "MEAN");
  for (const std::string& reason : reasons) {
    const Row row = SumOf(migrations, reason);
    const v1::MigrationDetails& details = DetailsOf(migrations, reason);
    AddRow(text, Fit(reason, kReasonWidth), Count(row.calls), Count(row.moved),
           Count(row.failed), ShortCount(row.split), Mean(details));
    absl::StrAppend(&text, WhyTheyStayed(details));
  }
  absl::StrAppend(&text,
                  "MOVED, FAILED: pages; SPLIT: huge pages; MEAN: time of a "
                  "call\n");
}

// Those where calls began.
void AddPlaces(const v1::ListMigrationsResponse& migrations,
               std::string& text) {
  std::string rows;
  for (const v1::MigrationPlace& place : migrations.places()) {
    if (!place.calls()) continue;
    const std::string zone = place.has_nid()
                                 ? absl::StrCat(place.nid(), "/", place.zone())
                                 : "not known";
    absl::StrAppendFormat(&rows, "%-17s %11s %11s %11s\n",
                          Fit(zone, kReasonWidth), Count(place.calls()),
                          Count(place.succeeded_pages()),
                          Count(place.failed_pages()));
  }
  if (rows.empty()) return;
  absl::StrAppendFormat(&text, "\n%-17s %11s %11s %11s\n%s", "FIRST FOLIO IN",
                        "CALLS", "MOVED", "FAILED", rows);
}

const char* HighOrderWords(const std::string& what) {
  if (what == "compaction") return "compaction, by who wants memory";
  if (what == "hugetlb") return "a huge page for hugetlbfs";
  if (what == "thp_fault") return "a huge page at a page fault";
  if (what == "cma") return "memory of CMA";
  return "other";
}

void AddHighOrder(const v1::ListMigrationsResponse& migrations,
                  std::string& text) {
  std::string rows;
  for (const v1::HighOrderCount& count : migrations.high_order())
    if (count.succeeded() || count.failed())
      absl::StrAppendFormat(&rows, "%-33s %11s %11s\n",
                            HighOrderWords(count.what()),
                            Count(count.succeeded()), Count(count.failed()));
  if (!rows.empty())
    absl::StrAppendFormat(&text, "\n%-33s %11s %11s\n%s",
                          "IN ONE PIECE, since boot", "HAD", "FAILED", rows);
}

// Where there are some: by zone, then who holds pages in most.
void AddHugeRanges(const v1::ListMigrationsResponse& migrations,
                   std::string& text) {
  std::string rows;
  for (const v1::HugeRanges& ranges : migrations.huge_ranges())
    if (ranges.pinned_ranges())
      absl::StrAppendFormat(
          &rows, "%-33s %11s\n",
          Fit(absl::StrCat("in ", ranges.nid(), "/", ranges.zone()), 33),
          Count(ranges.pinned_ranges()));
  if (rows.empty()) return;
  absl::StrAppendFormat(&text, "\n%-33s %11s %11s\n%s",
                        "PINS KEEP FROM BEING HUGE PAGES", "RANGES", "HOLDS",
                        rows);
  const OwnersById owners = ById(migrations.owners());
  for (const uint32_t id : migrations.huge_range_owners()) {
    const auto owner = owners.find(id);
    if (owner == owners.end()) continue;
    uint64_t ranges = 0;
    for (const v1::PinHolding& holding : owner->second->holdings())
      ranges += holding.huge_ranges();
    const v1::Process& process = owner->second->process();
    absl::StrAppendFormat(
        &text, "%-33s %11s %11s  %s\n",
        Fit(absl::StrCat("by ", NameWithPid(process.comm(), process.pid(), 30)),
            33),
        Count(ranges), Count(PagesHeld(*owner->second)),
        Fit(owner->second->subsystem(), 20));
  }
  absl::StrAppend(&text,
                  "RANGES: of 2 MiB, counted with each who has pages in them; "
                  "HOLDS: pages in all\n");
}

void AddPinMoves(const v1::ListMigrationsResponse& migrations,
                 std::string& text) {
  std::string rows;
  for (const v1::SubsystemMoves& some : migrations.pin_moves()) {
    uint64_t moved = 0, copied = 0;
    for (const v1::PinMovedPages& pages : some.moves().pages()) {
      moved += pages.moved_pages();
      copied += pages.copied_bytes();
    }
    absl::StrAppendFormat(&rows, "%-17s %11s %11s %11s %9s\n",
                          Fit(some.subsystem(), kReasonWidth),
                          Count(some.moves().calls()), Count(moved),
                          Count(some.moves().failed_pages()),
                          Bytes(static_cast<double>(copied)));
  }
  if (!rows.empty())
    absl::StrAppendFormat(
        &text, "\n%-17s %11s %11s %11s %9s\n%s%s", "LONG-TERM PINS OF", "CALLS",
        "MOVED", "FAILED", "COPIED", rows,
        "COPIED: what it would save to discard what need not be kept\n");
}

void AddCma(const v1::ListMigrationsResponse& migrations, std::string& text) {
  std::string rows;
  for (const v1::CmaArea& area : migrations.contig_ranges().cma())
    if (area.succeeded() || area.failed())
      absl::StrAppendFormat(
          &rows, "%-17s %11s %11s %11s %11s %11s\n",
          Fit(area.name(), kReasonWidth), Count(area.succeeded()),
          ShortCount(area.succeeded_pages()), Count(area.failed()),
          ShortCount(area.failed_pages()), Count(area.busy()));
  if (!rows.empty())
    absl::StrAppendFormat(&text, "\n%-17s %11s %11s %11s %11s %11s\n%s",
                          "CMA AREA", "HAD", "PAGES", "FAILED", "PAGES", "BUSY",
                          rows);
}

// "1 ok, 7 EBUSY", and the last ones that failed.
void AddRanges(const v1::ListMigrationsResponse& migrations, absl::Time now,
               std::string& text) {
  std::string counts;
  for (const v1::ContigCount& count : migrations.contig_ranges().counts())
    if (count.attempts())
      absl::StrAppend(&counts, counts.empty() ? "" : ", ",
                      Count(count.attempts()), " ", Printable(count.outcome()));
  if (counts.empty()) return;
  absl::StrAppend(&text,
                  "\nRANGES wanted as a whole, by CMA or for a huge page "
                  "of 1 GiB: ",
                  counts, "\n");
  const auto& recent = migrations.contig_ranges().recent();
  int shown = 0;
  for (auto attempt = recent.rbegin();
       attempt != recent.rend() && shown < kMaxFailures; ++attempt) {
    if (attempt->outcome() == "ok") continue;
    ++shown;
    std::string line = absl::StrFormat(
        "%8s  pfn 0x%x to 0x%x %s for %s", Age(now - ToTime(attempt->begin())),
        attempt->start_pfn(), attempt->end_pfn(), Printable(attempt->outcome()),
        NameWithPid(attempt->process().comm(), attempt->process().pid(),
                    kAskerWidth));
    if (attempt->has_blocker_pfn())
      absl::StrAppendFormat(&line, "\n          not free: pfn 0x%x, %s",
                            attempt->blocker_pfn(),
                            Words(attempt->blocker_why()));
    absl::StrAppend(&text, line, "\n");
  }
}

std::string ZoneText(const v1::MigrationFailure& failure) {
  if (failure.zone().empty() || failure.zone() == "none") return "?";
  return failure.has_nid() ? absl::StrCat(failure.nid(), "/", failure.zone())
                           : failure.zone();
}

void AddFailures(const v1::ListMigrationsResponse& migrations, absl::Time now,
                 std::string& text) {
  std::vector<const v1::MigrationFailure*> failures;
  for (const v1::MigrationFailure& failure : migrations.failures())
    failures.push_back(&failure);
  if (failures.empty()) return;
  std::ranges::stable_sort(failures, std::ranges::greater(),
                           [](const v1::MigrationFailure* failure) {
                             return ToTime(failure->page().last_met());
                           });
  absl::StrAppend(&text, "\nPAGES THAT DID NOT MOVE, the last ones first\n");
  absl::StrAppendFormat(&text, "%8s  %-17s %-10s %s\n", "MET", "REASON", "ZONE",
                        "FOR");
  const OwnersById owners = ById(migrations.owners());
  const size_t shown = std::min<size_t>(failures.size(), kMaxFailures);
  for (size_t i = 0; i < shown; ++i) {
    const v1::MigrationFailure& failure = *failures[i];
    absl::StrAppendFormat(&text, "%8s  %-17s %-10s %s\n",
                          Age(now - ToTime(failure.page().last_met())),
                          Fit(failure.reason(), kReasonWidth),
                          Fit(ZoneText(failure), kZoneWidth),
                          NameWithPid(failure.process().comm(),
                                      failure.process().pid(), kAskerWidth));
    absl::StrAppend(
        &text,
        Fit(absl::StrCat("          ", BlockerText(failure.page(), owners)),
            kWidth),
        "\n");
  }
  if (const size_t more = failures.size() - shown)
    absl::StrAppend(&text, "and ", more, " more; -o json shows them\n");
  absl::StrAppend(&text,
                  "MET: ago, the last time; FOR: whose thread wanted it to "
                  "move\n");
}

}  // namespace

std::string MigrationsTable(const v1::ListMigrationsResponse& migrations,
                            absl::Time now) {
  std::string text;
  AddReasons(migrations, text);
  AddPlaces(migrations, text);
  AddPinMoves(migrations, text);
  AddHighOrder(migrations, text);
  AddHugeRanges(migrations, text);
  AddCma(migrations, text);
  AddRanges(migrations, now, text);
  AddFailures(migrations, now, text);
  if (migrations.unlisted())
    absl::StrAppend(&text, "not listed, as there were many: ",
                    Count(migrations.unlisted()), " times\n");
  return text;
}

}  // namespace pinwatch
