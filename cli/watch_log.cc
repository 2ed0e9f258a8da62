// SPDX-License-Identifier: Apache-2.0
#include "cli/watch_log.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "cli/proto_time.h"
#include "cli/text.h"
#include "cli/words.h"

namespace pinwatch {
namespace {

constexpr size_t kWidth = 80;
constexpr absl::Duration kFirstProgress = absl::Seconds(1);
constexpr size_t kMaxAttempts = 512;

std::string NameOf(uint32_t nid, absl::string_view zone) {
  return absl::StrCat("node ", nid, " ", zone);
}

std::string FromTo(uint64_t from, uint64_t to) {
  return absl::StrCat(Count(from), " -> ", Count(to));
}

// How sure most of what it holds is; nothing where it holds nothing.
absl::string_view MainWord(const v1::PinOwner& owner) {
  const auto most = std::max_element(
      owner.holdings().begin(), owner.holdings().end(),
      [](auto& a, auto& b) { return a.pins().pages() < b.pins().pages(); });
  return most == owner.holdings().end() ? "" : Word(most->certainty());
}

std::string RetryName(const v1::PinRetry& retry) {
  return NameWithPid(retry.process().comm(), retry.process().pid(), 20);
}

}  // namespace

std::string WatchLog::Lines(const v1::WatchResponse& message) {
  text_.clear();
  time_ = ToTime(message.has_snapshot() ? message.snapshot().time()
                                        : message.difference().time());
  if (message.missed_snapshots())
    AddLine(absl::StrCat(Count(message.missed_snapshots()),
                         " snapshots were missed: they are read too slowly"));
  if (message.has_snapshot()) AddSummary(message.snapshot());
  if (message.has_difference()) AddDifference(message.difference());
  return text_;
}

void WatchLog::AddLine(absl::string_view line) {
  const std::string whole =
      absl::StrCat(absl::FormatTime("%H:%M:%S", time_, time_zone_), "  ", line);
  absl::StrAppend(&text_,
                  absl::StripTrailingAsciiWhitespace(Fit(whole, kWidth)), "\n");
}

// Takes everything as told, and tells of it what matters most.
void WatchLog::AddSummary(const v1::Snapshot& snapshot) {
  for (const v1::PinOwner& owner : snapshot.owners()) AddOwner(owner);
  for (const v1::Zone& zone : snapshot.zones()) AddZone(zone);
  for (const v1::PinAttribution& part : snapshot.attributions())
    AddAttribution(part);
  for (const v1::BlockCount& count : snapshot.blocks()) AddBlocks(count);
  for (const v1::Migrations& row : snapshot.migrations()) AddMigrations(row);
  for (const v1::Node& node : snapshot.nodes()) AddNode(node);
  text_.clear();

  for (const auto& [key, pins] : zones_)
    if (pins.pinned || pins.possible)
      AddLine(absl::StrCat(NameOf(key.first, key.second), ": ",
                           PagesAndSize(pins.pinned), " pinned, ",
                           Count(pins.possible), " possibly"));
  if (text_.empty()) AddLine("no page is known to be pinned");
  if (snapshot.has_paused_since())
    AddLine("paused: what processes do is not followed");
  const auto holders =
      std::count_if(owners_.begin(), owners_.end(),
                    [](auto& owner) { return PagesHeld(owner.second) > 0; });
  if (snapshot.has_claims())
    AddLine(absl::StrCat(holders,
                         holders == 1 ? " owner holds" : " owners hold",
                         " pages; pinwatch top names them"));
  uint64_t unattributed = 0;
  for (const auto& [key, pages] : unattributed_) unattributed += pages;
  if (unattributed)
    AddLine(
        absl::StrCat(PagesAndSize(unattributed), " without a known holder"));
  for (const v1::PinRetry& retry : snapshot.pin_retries()) AddRetry(retry);
  for (const v1::Attempt& attempt : snapshot.attempts()) {
    if (attempt.running()) {
      AddAttempt(attempt);
      continue;
    }
    const std::string text = text_;
    AddAttempt(attempt);
    text_ = text;
  }
}

void WatchLog::AddDifference(const v1::Difference& difference) {
  for (const v1::Node& node : difference.nodes()) AddNode(node);
  for (const uint32_t nid : difference.nodes_gone()) {
    AddLine(absl::StrCat("node ", nid, " is gone"));
    node_references_.erase(nid);
    std::erase_if(zones_, [&](auto& zone) { return zone.first.first == nid; });
  }
  for (const v1::Zone& zone : difference.zones()) AddZone(zone);
  for (const v1::PinOwner& owner : difference.owners()) AddOwner(owner);
  for (const uint32_t id : difference.owners_gone()) AddOwnerGone(id);
  for (const v1::PinAttribution& part : difference.attributions())
    AddAttribution(part);
  for (const v1::Attempt& attempt : difference.attempts()) AddAttempt(attempt);
  for (const v1::BlockCount& count : difference.blocks()) AddBlocks(count);
  for (const v1::Migrations& row : difference.migrations()) AddMigrations(row);
  for (const v1::PinRetry& retry : difference.pin_retries()) AddRetry(retry);
  for (const v1::PinRetry& retry : difference.pin_retries_ended())
    AddLine(absl::StrCat(RetryName(retry), ": done after some ",
                         Count(retry.rounds()), " rounds"));
  if (!difference.has_pause()) return;
  // Owners did not let go: they are out of sight, or in sight again.
  text_.clear();
  AddLine(difference.pause().has_since()
              ? "paused: what processes do is not followed; pinwatch resume "
                "ends that"
              : "resumed: what processes do is followed again");
}

void WatchLog::AddZone(const v1::Zone& zone) {
  ZonePins now;
  for (const v1::MigratetypePages& pages : zone.migratetypes()) {
    now.pinned += pages.confirmed().pages();
    now.possible += pages.possible().pages();
  }
  ZonePins& told = zones_[{zone.nid(), zone.name()}];
  const std::string name = NameOf(zone.nid(), zone.name());
  if (now.pinned != told.pinned)
    AddLine(absl::StrCat(name, ": ", FromTo(told.pinned, now.pinned),
                         " pages pinned"));
  if (now.possible != told.possible)
    AddLine(absl::StrCat(name, ": ", FromTo(told.possible, now.possible),
                         " pages possibly pinned"));
  told = now;
}

void WatchLog::AddAttribution(const v1::PinAttribution& attribution) {
  if (attribution.certainty() != v1::CERTAINTY_UNATTRIBUTED) return;
  uint64_t& told = unattributed_[{{attribution.nid(), attribution.zone()},
                                  attribution.reason()}];
  const uint64_t now = attribution.pins().pages();
  if (now != told)
    AddLine(absl::StrCat(
        NameOf(attribution.nid(), attribution.zone()), ": ", FromTo(told, now),
        " pages without a known holder",
        attribution.reason().empty() ? "" : ": ",
        attribution.reason().empty() ? "" : Reason(attribution.reason())));
  told = now;
  if (!now)
    unattributed_.erase(
        {{attribution.nid(), attribution.zone()}, attribution.reason()});
}

void WatchLog::AddOwner(const v1::PinOwner& owner) {
  v1::PinOwner& told = owners_[owner.id()];
  const uint64_t before = PagesHeld(told);
  const uint64_t now = PagesHeld(owner);
  const std::string word_before(MainWord(told));
  const std::string word_now(MainWord(owner));
  const std::string end =
      absl::StrCat(", ", owner.subsystem(),
                   owner.long_term() ? ", long-term" : ", short-term");
  if (now != before)
    AddLine(absl::StrCat(ProcessName(owner.process()), ": ",
                         FromTo(before, now), " pages (",
                         now ? word_now : word_before, ")", end));
  else if (word_now != word_before)
    AddLine(absl::StrCat(ProcessName(owner.process()), ": ", Count(now),
                         " pages (", word_before, " -> ", word_now, ")", end));
  told = owner;
  told.clear_kernel_stack();
  told.clear_user_stack();
}

void WatchLog::AddOwnerGone(uint32_t id) {
  const auto it = owners_.find(id);
  if (it == owners_.end()) return;
  if (const uint64_t pages = PagesHeld(it->second))
    AddLine(absl::StrCat(ProcessName(it->second.process()), ": ",
                         FromTo(pages, 0), " pages, and gone"));
  owners_.erase(it);
}

void WatchLog::AddAttempt(const v1::Attempt& attempt) {
  const auto [it, is_new] =
      attempts_.try_emplace({attempt.begin_monotonic_ns(), attempt.tid()});
  Attempt& told = it->second;
  const absl::Duration duration = ToDuration(attempt.duration());
  const std::string who =
      absl::StrCat(attempt.operation(), " memory", attempt.block(), " by ",
                   NameWithPid(attempt.comm(), attempt.pid(), 27), ": ");
  const std::string failed =
      attempt.failed_pages()
          ? absl::StrCat(", ", Count(attempt.failed_pages()), " moves failed")
          : "";
  if (!attempt.running() && !told.ended) {
    told.ended = true;
    AddLine(
        absl::StrCat(who, attempt.outcome(), " after ", Age(duration), failed));
  } else if (attempt.running() && is_new) {
    AddLine(absl::StrCat(who, "under way"));
    told.next_told = std::max(kFirstProgress, 2 * duration);
  } else if (attempt.running() && duration >= told.next_told) {
    AddLine(absl::StrCat(who, "for ", Age(duration), failed));
    told.next_told = 2 * duration;
  }
  if (!attempt.blockers().empty() && !told.blockers_told) {
    told.blockers_told = true;
    AddBlocker("  in its way: ", attempt.blockers(0));
  }
  // The daemon forgets them as well.
  for (auto old = attempts_.begin();
       attempts_.size() > kMaxAttempts && old != attempts_.end();)
    old = old->second.ended ? attempts_.erase(old) : std::next(old);
}

void WatchLog::AddRetry(const v1::PinRetry& retry) {
  AddLine(absl::StrCat(RetryName(retry), ": ", Count(retry.rounds()),
                       " rounds so far in ", retry.door()));
  if (retry.has_page()) AddBlocker("  cannot isolate ", retry.page());
}

void WatchLog::AddBlocker(absl::string_view what,
                          const v1::BlockingPage& page) {
  OwnersById owners;
  for (const auto& [id, owner] : owners_) owners.emplace(id, &owner);
  AddLine(absl::StrCat(what, BlockerText(page, owners)));
}

void WatchLog::AddBlocks(const v1::BlockCount& count) {
  const std::string name = absl::StrCat(
      count.has_nid() ? absl::StrCat("node ", count.nid()) : "node ?", " ",
      count.zone(), ": ");
  uint64_t& told = blocks_[absl::StrCat(name, count.state())];
  if (count.blocks() != told)
    AddLine(absl::StrCat(name, FromTo(told, count.blocks()), " blocks ",
                         count.state()));
  told = count.blocks();
}

void WatchLog::AddMigrations(const v1::Migrations& migrations) {
  v1::Migrations& told = migrations_[{migrations.reason(), migrations.mode()}];
  const uint64_t moved = migrations.succeeded_pages() - told.succeeded_pages();
  const uint64_t failed = migrations.failed_pages() - told.failed_pages();
  if (moved || failed)
    AddLine(absl::StrCat("migration, ", migrations.reason(), ", ",
                         migrations.mode(), ": ", Count(moved),
                         " pages moved, ", Count(failed), " failed"));
  told = migrations;
}

void WatchLog::AddNode(const v1::Node& node) {
  if (!node.has_outstanding_references()) {
    node_references_.erase(node.nid());
    return;
  }
  const uint64_t now = node.outstanding_references();
  const auto [it, is_new] = node_references_.try_emplace(node.nid(), now);
  if (!is_new && it->second != now)
    AddLine(absl::StrCat("node ", node.nid(), ": ", FromTo(it->second, now),
                         " pin references, by the kernel's count"));
  it->second = now;
}

}  // namespace pinwatch
