// SPDX-License-Identifier: Apache-2.0
#include "daemon/supervision.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace pinwatch {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;

// Each line wakes the manager, and whoever follows the unit.
constexpr int64_t kStatusEveryNs = 5 * kNsPerSecond;

constexpr int kFeedsPerWatchdog = 4;

const Fact* FindFact(const Snapshot& snapshot, const std::string& name) {
  const auto fact =
      std::find_if(snapshot.facts.begin(), snapshot.facts.end(),
                   [&](const Fact& fact) { return fact.name == name; });
  return fact == snapshot.facts.end() ? nullptr : &*fact;
}

bool IsObservable(const Snapshot& snapshot, const std::string& name) {
  const Fact* fact = FindFact(snapshot, name);
  return fact && fact->observable;
}

std::string PinnedText(const Snapshot& snapshot) {
  if (!IsObservable(snapshot, "census")) return "pins are not observable";
  uint64_t confirmed = 0;
  uint64_t possible = 0;
  for (const Zone& zone : snapshot.zones)
    for (const MigratetypePages& pages : zone.migratetypes) {
      confirmed += pages.confirmed.pages;
      possible += pages.possible.pages;
    }
  std::string text = absl::StrCat(confirmed, " pages pinned");
  if (possible > 0) absl::StrAppend(&text, ", ", possible, " more possibly");
  return text;
}

std::string HoldersText(const Snapshot& snapshot) {
  if (!IsObservable(snapshot, "claims")) return "";
  return absl::StrCat("; processes that claim some: ",
                      snapshot.claiming_processes);
}

std::string AgeText(const Snapshot& snapshot, Timestamp now) {
  std::optional<int64_t> oldest_ns;
  for (const Zone& zone : snapshot.zones)
    if (zone.oldest_look)
      oldest_ns = std::min(oldest_ns.value_or(INT64_MAX),
                           zone.oldest_look->monotonic_ns);
  if (!oldest_ns) return "";
  const int64_t age_s = (now.monotonic_ns - *oldest_ns) / kNsPerSecond + 1;
  return absl::StrCat("; all memory looked at within ", age_s, " s");
}

std::string HiddenText(const Snapshot& snapshot) {
  std::vector<std::string> hidden;
  for (const Fact& fact : snapshot.facts)
    if (!fact.observable) hidden.push_back(fact.name);
  return hidden.empty()
             ? ""
             : absl::StrCat("; not observable: ", absl::StrJoin(hidden, ", "));
}

}  // namespace

std::string StatusText(const Turn& turn) {
  if (!turn.published)
    return absl::StrCat(
        "looks at all memory for the first time: ", turn.blocks_looked, " of ",
        turn.blocks_to_look, " blocks");
  const Snapshot& snapshot = *turn.published;
  if (snapshot.paused_since)
    return "paused: no hook is attached; pinwatch resume ends that";
  return absl::StrCat(PinnedText(snapshot), HoldersText(snapshot),
                      AgeText(snapshot, turn.now), HiddenText(snapshot));
}

Supervision::Supervision(int64_t watchdog_ns, Send send)
    : feed_every_ns_(watchdog_ns / kFeedsPerWatchdog), send_(std::move(send)) {}

void Supervision::OnTurn(const Turn& turn) {
  const int64_t now_ns = turn.now.monotonic_ns;
  std::vector<std::string> lines;
  const bool becomes_ready = !ready_ && turn.published;
  if (becomes_ready) {
    ready_ = true;
    lines.emplace_back("READY=1");
  }
  if (feed_every_ns_ > 0 && now_ns >= next_feed_ns_) {
    next_feed_ns_ = now_ns + feed_every_ns_;
    lines.emplace_back("WATCHDOG=1");
  }
  if (becomes_ready || now_ns >= next_status_ns_) {
    next_status_ns_ = now_ns + kStatusEveryNs;
    if (std::string text = StatusText(turn); text != told_) {
      lines.push_back("STATUS=" + text);
      told_ = std::move(text);
    }
  }
  if (!lines.empty()) send_(absl::StrJoin(lines, "\n"));
}

}  // namespace pinwatch
