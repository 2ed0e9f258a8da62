// SPDX-License-Identifier: Apache-2.0
#include "cli/top_table.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "cli/owner_text.h"
#include "cli/proto_time.h"
#include "cli/text.h"
#include "cli/words.h"

namespace pinwatch {
namespace {

constexpr size_t kWidth = 80;
constexpr size_t kIndent = 2;
constexpr size_t kLabelWidth = 38;

constexpr size_t kConcernsShown = 5;

constexpr char kLegend[] =
    "HOW: held by it alone; shared with others; one of several, which is not "
    "known; probable: it has ended, or the claim is old. Pages of the middle "
    "two count with each. SINCE: ago; > longer ago than that.";

// What tells a row from others: the columns that name the holder, the stack
// where rows are by that, whether it pins for long, and how sure that is.
using RowKey = std::tuple<std::string, std::string, bool, v1::Certainty>;

struct Row {
  uint64_t pages = 0;
  absl::Time since = absl::InfiniteFuture();
  bool since_exact = true;
};

std::string OrNone(const std::string& text) {
  return text.empty() ? "-" : text;
}

std::string ZoneName(const v1::PinHolding& holding) {
  return absl::StrCat(holding.nid(), "/", holding.zone());
}

// In the few columns there are, the part of the zone that matters.
std::string ShortZoneName(const v1::PinHolding& holding) {
  return holding.cma() ? absl::StrCat(holding.nid(), "/CMA")
                       : ZoneName(holding);
}

// What the process did, and how the kernel came to pin for it.
std::string Stack(const v1::PinOwner& owner) {
  std::vector<std::string> frames;
  for (const std::string& frame : owner.user_stack()) frames.push_back(frame);
  for (const std::string& frame : owner.kernel_stack()) frames.push_back(frame);
  return absl::StrJoin(frames, " < ");
}

// As far as it can be told from the files that were open.
std::string Device(const v1::PinOwner& owner) {
  if (!owner.devices_known())
    return absl::StrCat("unknown, of ", owner.subsystem());
  if (owner.devices().empty())
    return absl::StrCat(owner.subsystem(), ", device not known");
  return absl::StrCat(owner.devices_size() > 1 ? "one of " : "",
                      absl::StrJoin(owner.devices(), ", "));
}

// The columns that name the holder, each cut or filled to its width.
std::string HolderColumns(const v1::PinOwner& owner,
                          const v1::PinHolding& holding, absl::string_view by) {
  const v1::Process& process = owner.process();
  if (by.empty())
    return absl::StrFormat(
        "%7s %-11s %-9s %-9s", Fit(absl::StrCat(process.pid()), 7),
        Fit(process.comm().empty() ? "?" : process.comm(), 11),
        Fit(owner.subsystem(), 9), Fit(ShortZoneName(holding), 9));
  return absl::StrFormat(
      "%-*s", kLabelWidth,
      by == "process"  ? ProcessName(process)
      : by == "unit"   ? Fit(OrNone(process.unit()), kLabelWidth)
      : by == "cgroup" ? FitEnd(OrNone(process.cgroup()), kLabelWidth)
      : by == "stack"  ? Fit(OrNone(owner.call_site()), kLabelWidth)
      : by == "device" ? Fit(Device(owner), kLabelWidth)
      : by == "zone"
          ? Fit(ZoneName(holding) + (holding.cma() ? ", CMA" : ""), kLabelWidth)
          : Fit(OrNone(owner.subsystem()), kLabelWidth));
}

std::string HolderTitles(const std::string& by) {
  if (by.empty())
    return absl::StrFormat("%7s %-11s %-9s %-9s", "PID", "COMM", "SUBSYSTEM",
                           "ZONE");
  std::string title = by;
  for (char& c : title) c = absl::ascii_toupper(static_cast<unsigned char>(c));
  return absl::StrFormat("%-*s", kLabelWidth, title);
}

std::vector<std::pair<RowKey, Row>> Rows(const v1::ListOwnersResponse& owners,
                                         const std::string& by) {
  std::map<RowKey, Row> by_key;
  for (const v1::PinOwner& owner : owners.owners())
    for (const v1::PinHolding& holding : owner.holdings()) {
      Row& row = by_key[{HolderColumns(owner, holding, by),
                         by == "stack" ? Stack(owner) : "", owner.long_term(),
                         holding.certainty()}];
      row.pages += holding.pins().pages();
      row.since = std::min(row.since, ToTime(holding.since()));
      row.since_exact = row.since_exact && holding.since_exact();
    }
  std::vector<std::pair<RowKey, Row>> rows(by_key.begin(), by_key.end());
  std::stable_sort(rows.begin(), rows.end(), [](auto& a, auto& b) {
    return a.second.pages > b.second.pages;
  });
  return rows;
}

void AddRow(std::string& text, absl::string_view holder, absl::string_view kind,
            absl::string_view pages, absl::string_view size,
            absl::string_view how, absl::string_view since) {
  absl::StrAppendFormat(&text, "%s %-5s %7s %8s %-8s %8s\n", holder, kind,
                        pages, size, how, since);
}

// What the rows do not tell.
void AddReasons(std::string& text, const v1::ListOwnersResponse& owners) {
  google::protobuf::RepeatedPtrField<v1::PinAttribution> unclear;
  for (const v1::PinAttribution& attribution : owners.attributions())
    if (attribution.certainty() == v1::CERTAINTY_UNATTRIBUTED ||
        !attribution.reason().empty())
      *unclear.Add() = attribution;
  for (const std::string& line : AttributionTexts(unclear))
    text += Paragraph(line);
}

// Owners that hold pages for longer than they should, the first few.
void AddConcerns(std::string& text, const v1::ListOwnersResponse& owners,
                 absl::Time now) {
  size_t concerns = 0;
  for (const v1::PinOwner& owner : owners.owners()) {
    const std::string concern = ConcernText(owner, now);
    if (!concern.empty() && ++concerns <= kConcernsShown)
      text +=
          Paragraph(absl::StrCat(ProcessName(owner.process()), ": ", concern));
  }
  if (concerns > kConcernsShown)
    absl::StrAppend(&text, "and ", Count(concerns - kConcernsShown),
                    " more of that kind; pinwatch top -o json has all\n");
}

void AddLosses(std::string& text, const v1::ClaimTotals& claims) {
  const uint64_t calls =
      claims.lost_busy() + claims.lost_recursion() + claims.lost_owners();
  if (calls || claims.lost_pages())
    text += Paragraph(absl::StrCat("lost: claims of ", Count(calls),
                                   " calls and ", Count(claims.lost_pages()),
                                   " pages since pinwatchd attached"));
  if (claims.short_term_skipped())
    text +=
        Paragraph(absl::StrCat("sampled: ", Count(claims.short_term_skipped()),
                               " short-term calls were left out"));
}

}  // namespace

std::string TopTable(const v1::ListOwnersResponse& owners,
                     const TopOptions& options) {
  const auto rows = Rows(owners, options.by);
  const size_t shown =
      options.rows ? std::min(options.rows, rows.size()) : rows.size();
  std::string text;
  if (rows.empty())
    text = "no page is known to be held by a process\n";
  else
    AddRow(text, HolderTitles(options.by), "KIND", "PAGES", "SIZE", "HOW",
           "SINCE");
  for (size_t i = 0; i < shown; ++i) {
    const auto& [holder, stack, long_term, certainty] = rows[i].first;
    const Row& row = rows[i].second;
    AddRow(text, holder, long_term ? "long" : "short", ShortCount(row.pages),
           Bytes(kPageBytes * static_cast<double>(row.pages)),
           Fit(Word(certainty), 8),
           Fit(absl::StrCat(row.since_exact ? "" : ">",
                            Age(options.now - row.since)),
               8));
    if (!stack.empty()) text += Detail(stack, kWidth, kIndent);
  }
  uint64_t hidden_pages = 0;
  for (size_t i = shown; i < rows.size(); ++i)
    hidden_pages += rows[i].second.pages;
  if (shown < rows.size())
    absl::StrAppend(&text, "and ", Count(rows.size() - shown), " more with ",
                    PagesAndSize(hidden_pages), "; -n 0 shows all\n");
  AddConcerns(text, owners, options.now);
  AddReasons(text, owners);
  text += InferredTexts(owners.inferred());
  AddLosses(text, owners.claims());
  if (!rows.empty()) text += "\n" + Paragraph(kLegend);
  return text;
}

}  // namespace pinwatch
