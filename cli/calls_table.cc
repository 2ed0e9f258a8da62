// SPDX-License-Identifier: Apache-2.0
#include "cli/calls_table.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cli/proto_time.h"
#include "cli/text.h"
#include "cli/words.h"

namespace pinwatch {
namespace {

constexpr size_t kWidth = 80;

// Of calls_by_time: the first bucket is for less than this many nanoseconds,
// each other for less than twice as many as the one before.
constexpr int64_t kFirstBucketNs = 1024;

void AddRow(std::string& text, absl::string_view subsystem,
            absl::string_view kind, absl::string_view calls,
            absl::string_view asked, absl::string_view pinned,
            absl::string_view failed, absl::string_view mean,
            absl::string_view most, absl::string_view faults) {
  absl::StrAppendFormat(&text, "%-11s %-5s %7s %7s %7s %7s %8s %8s %9s\n",
                        subsystem, kind, calls, asked, pinned, failed, mean,
                        most, faults);
}

// "812 ns", "4.1 us", "12 ms": at most 7 columns.
std::string Took(absl::Duration time) {
  constexpr struct {
    absl::string_view name;
    double ns;
  } kUnits[] = {{"s", 1e9}, {"ms", 1e6}, {"us", 1e3}};
  const double ns = absl::ToDoubleNanoseconds(time);
  for (const auto& unit : kUnits)
    if (ns >= unit.ns)
      return absl::StrFormat("%.*f %s", ns < 10 * unit.ns ? 1 : 0, ns / unit.ns,
                             unit.name);
  return absl::StrFormat("%.0f ns", ns);
}

// What 99 of 100 measured calls took less than.
std::string Percentile99(const v1::SubsystemCalls& some) {
  const auto& buckets = some.calls_by_time();
  uint64_t calls = 0;
  for (const uint64_t bucket : buckets) calls += bucket;
  uint64_t below = 0;
  for (int i = 0; i + 1 < buckets.size(); ++i) {
    below += buckets[i];
    if (calls && below * 100 >= calls * 99)
      return absl::StrCat("<", Took(absl::Nanoseconds(kFirstBucketNs << i)));
  }
  return calls ? "long" : "?";
}

std::string Mean(const v1::PinOutcomes& outcomes) {
  if (!outcomes.measured_calls()) return "?";
  return Took(ToDuration(outcomes.measured_time()) /
              static_cast<double>(outcomes.measured_calls()));
}

std::string Source(const std::string& from) {
  if (from == "movable") return "ZONE_MOVABLE";
  return from == "cma" ? "CMA" : "other memory";
}

// Calls that come round and round, with what lets them.
std::string Retries(const v1::Snapshot& snapshot) {
  std::string text;
  for (const v1::PinRetry& retry : snapshot.pin_retries()) {
    if (text.empty()) text = "\nCALLS THAT COME ROUND AND ROUND\n";
    text +=
        Wrap(absl::StrCat(
                 NameWithPid(retry.process().comm(), retry.process().pid(), 25),
                 " in ", Printable(retry.door()), " for ",
                 Age(ToTime(snapshot.time()) - ToTime(retry.begin())), ", ",
                 Count(retry.rounds()), " rounds so far",
                 retry.has_page() ? absl::StrCat(": cannot isolate ",
                                                 BlockerText(retry.page(), {}))
                                  : ""),
             kWidth, 2);
  }
  return text;
}

// "pages pinned for long, by where: 23 in 0/Normal, 7 in a zone not known"
std::string Landings(const v1::Snapshot& snapshot) {
  std::string text;
  for (const v1::PinLanding& landing : snapshot.landings())
    if (landing.pages())
      absl::StrAppend(
          &text, text.empty() ? "pages pinned for long, by where: " : ", ",
          Count(landing.pages()), " in ",
          landing.has_nid()
              ? absl::StrCat(landing.nid(), "/", Printable(landing.zone()))
              : "a zone not known");
  return text.empty() ? "" : Wrap(text, kWidth, 2);
}

std::string Faults(const v1::PinOutcomes& outcomes) {
  if (!outcomes.measured_calls()) return "?";
  return ShortCount(outcomes.minor_faults() + outcomes.major_faults());
}

}  // namespace

std::string FailuresText(const v1::PinOutcomes& outcomes) {
  std::vector<std::string> parts;
  if (const uint64_t failed = outcomes.failed_calls()) {
    const std::string errors =
        absl::StrJoin(outcomes.errors(), ", ",
                      [](std::string* to, const v1::PinErrors& errors) {
                        absl::StrAppend(to, Printable(errors.name()), " ",
                                        Count(errors.calls()));
                      });
    parts.push_back(absl::StrCat(
        Count(failed), failed == 1 ? " call" : " calls", " failed",
        errors.empty() ? "" : " (", errors, errors.empty() ? "" : ")"));
  }
  if (const uint64_t partial = outcomes.partial_calls())
    parts.push_back(absl::StrCat(Count(partial),
                                 partial == 1 ? " call" : " calls",
                                 " pinned fewer pages than asked for"));
  return absl::StrJoin(parts, ", ");
}

std::string MovesText(const v1::PinOutcomes& outcomes) {
  if (!outcomes.has_moves()) return "";
  const v1::PinMoves& moves = outcomes.moves();
  uint64_t collected = 0, isolated = 0;
  std::vector<std::string> from;
  for (const v1::PinMovedPages& pages : moves.pages()) {
    collected += pages.collected_pages();
    isolated += pages.isolated_pages();
    if (pages.moved_pages())
      from.push_back(absl::StrCat(
          Count(pages.moved_pages()), " out of ", Source(pages.from()), " (",
          Bytes(static_cast<double>(pages.copied_bytes())), " copied)"));
  }
  std::string text = absl::StrCat(
      Count(moves.calls()), moves.calls() == 1 ? " call" : " calls",
      " had to move pages first, in ", Count(moves.rounds()),
      moves.rounds() == 1 ? " round: " : " rounds: ",
      from.empty() ? "none moved" : absl::StrJoin(from, ", "));
  const auto add = [&](uint64_t count, absl::string_view what) {
    if (count) absl::StrAppend(&text, ", ", Count(count), what);
  };
  add(collected - isolated, " could not be isolated");
  add(moves.failed_pages(), " did not move");
  add(moves.no_target(), " times no memory to move to");
  const double calls_ns =
      absl::ToDoubleNanoseconds(ToDuration(moves.calls_time()));
  if (calls_ns > 0)
    absl::StrAppendFormat(
        &text, "; %.0f %% of the time of these calls",
        100 * absl::ToDoubleNanoseconds(ToDuration(moves.time())) / calls_ns);
  return text;
}

std::string CallsTable(const v1::Snapshot& snapshot) {
  if (!snapshot.has_claims())
    return Wrap(
        "calls of the pin functions are not observable here: see the fact "
        "claims in pinwatch status",
        kWidth);
  std::vector<const v1::SubsystemCalls*> rows;
  for (const v1::SubsystemCalls& some : snapshot.calls()) rows.push_back(&some);
  if (rows.empty() && snapshot.pin_retries().empty())
    return "no call of the pin functions since the hooks were attached\n";
  std::stable_sort(rows.begin(), rows.end(), [](auto* a, auto* b) {
    if (a->long_term() != b->long_term()) return a->long_term();
    return a->outcomes().asked_pages() > b->outcomes().asked_pages();
  });
  std::string text;
  AddRow(text, "SUBSYSTEM", "KIND", "CALLS", "ASKED", "PINNED", "FAILED",
         "MEAN", "99 %", "FAULTS");
  for (const v1::SubsystemCalls* some : rows) {
    const v1::PinOutcomes& outcomes = some->outcomes();
    AddRow(text, Fit(some->subsystem(), 11),
           some->long_term() ? "long" : "short",
           ShortCount(some->calls() + outcomes.failed_calls()),
           ShortCount(outcomes.asked_pages()), ShortCount(some->pages()),
           ShortCount(outcomes.failed_calls()), Mean(outcomes),
           Percentile99(*some), Faults(outcomes));
    if (const std::string failures = FailuresText(outcomes); !failures.empty())
      text += Detail(failures, kWidth, 2);
    if (const std::string moves = MovesText(outcomes); !moves.empty())
      text += Detail(moves, kWidth, 2);
  }
  const v1::ClaimTotals& claims = snapshot.claims();
  text += Landings(snapshot);
  text += Wrap(
      absl::StrCat(
          "ASKED, PINNED: pages; MEAN, 99 %: time of a call; FAULTS: taken in "
          "calls that were timed: long-term ones, of short-term ones 1 in 64"),
      kWidth, 2);
  if (claims.short_term_skipped())
    text += Wrap(absl::StrCat("short-term calls are a sample: ",
                              Count(claims.short_term_skipped()), " of ",
                              Count(claims.short_term_calls() +
                                    claims.short_term_failed_calls()),
                              " are not in it"),
                 kWidth, 2);
  if (claims.unmeasured_calls())
    text += Wrap(absl::StrCat(Count(claims.unmeasured_calls()),
                              " long-term calls were not timed"),
                 kWidth, 2);
  if (snapshot.has_moves_long_term_pins() && !snapshot.moves_long_term_pins())
    text += Wrap(
        "this kernel moves nothing before it pins for long: pages stay where "
        "they are, in movable memory too",
        kWidth, 2);
  else if (snapshot.moves_long_term_pins() && !claims.follows_moves())
    text += Wrap(
        "what had to be moved first is not followed: see --pins.follow-moves "
        "in pinwatchd(8)",
        kWidth, 2);
  if (claims.moves_lost())
    text +=
        Wrap(absl::StrCat(Count(claims.moves_lost()),
                          " pages moved for long-term calls are on nobody's "
                          "account"),
             kWidth, 2);
  return text + Retries(snapshot);
}

}  // namespace pinwatch
