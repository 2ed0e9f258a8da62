// SPDX-License-Identifier: Apache-2.0
#include "cli/status_table.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "cli/proto_time.h"
#include "cli/text.h"
#include "cli/words.h"

namespace pinwatch {
namespace {

constexpr size_t kIndent = 2;
constexpr size_t kNodeWidth = 4;
constexpr size_t kZoneWidth = 13;

constexpr char kUnknown[] = "?";
constexpr char kNotObservable[] = "n/a";

constexpr char kBold[] = "1";
constexpr char kYellow[] = "33";
constexpr char kRed[] = "31";

std::string NodeName(uint32_t nid) {
  return Fit(absl::StrCat(nid), kNodeWidth);
}

bool HasPins(const v1::MigratetypePages& pages) {
  return pages.confirmed().pages() || pages.confirmed().references() ||
         pages.possible().pages() || pages.possible().references();
}

v1::MigratetypePages Sum(const v1::Zone& zone) {
  v1::MigratetypePages sum;
  const auto add = [](const v1::PinCount& from, v1::PinCount* to) {
    to->set_pages(to->pages() + from.pages());
    to->set_references(to->references() + from.references());
  };
  for (const v1::MigratetypePages& pages : zone.migratetypes()) {
    add(pages.confirmed(), sum.mutable_confirmed());
    add(pages.possible(), sum.mutable_possible());
  }
  return sum;
}

// The migratetypes that share a zone's pins, where they say more than the zone
// does: pins in movable memory alone are what one expects.
std::vector<const v1::MigratetypePages*> PinnedMigratetypes(
    const v1::Zone& zone) {
  std::vector<const v1::MigratetypePages*> pinned;
  for (const v1::MigratetypePages& pages : zone.migratetypes())
    if (HasPins(pages)) pinned.push_back(&pages);
  if (pinned.size() == 1 && pinned[0]->migratetype() == "movable") return {};
  return pinned;
}

class StatusPage {
 public:
  StatusPage(const v1::GetInfoResponse& info, const v1::Snapshot& snapshot,
             const TableOptions& options)
      : info_(info), snapshot_(snapshot), options_(options) {}

  std::string Render() {
    AddHeader();
    AddZones();
    AddNodes();
    AddHolders();
    AddClaimGap();
    AddBlocks();
    AddMigrations();
    AddFacts();
    AddCollectors();
    return std::move(text_);
  }

 private:
  std::string Paint(const char* color, absl::string_view text) const {
    if (!options_.color) return std::string(text);
    return absl::StrCat("\x1b[", color, "m", text, "\x1b[0m");
  }

  void AddTitle(absl::string_view title, const char* color = kBold) {
    absl::StrAppend(&text_, "\n", Paint(color, title), "\n");
  }

  void AddText(absl::string_view text) {
    text_ += Wrap(text, options_.width, kIndent);
  }

  void AddLine(std::string line) {
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text_, line, "\n");
  }

  std::string AgeOf(bool known, const google::protobuf::Timestamp& time) const {
    return known ? Age(options_.now - ToTime(time)) : kUnknown;
  }

  const v1::Fact* FindFact(absl::string_view name) const {
    const auto it =
        std::find_if(snapshot_.facts().begin(), snapshot_.facts().end(),
                     [&](const v1::Fact& fact) { return fact.name() == name; });
    return it == snapshot_.facts().end() ? nullptr : &*it;
  }

  bool IsHidden(absl::string_view fact_name) const {
    const v1::Fact* fact = FindFact(fact_name);
    return fact && !fact->observable();
  }

  // What stands for figures of a fact where there are none.
  const char* Missing(absl::string_view fact_name) const {
    return IsHidden(fact_name) ? kNotObservable : kUnknown;
  }

  // The same in words, where none at all may be the truth.
  void AddMissing(absl::string_view fact_name, absl::string_view none) {
    const v1::Fact* fact = FindFact(fact_name);
    AddText(!fact                ? "not known"
            : fact->observable() ? none
                                 : "n/a, reasons below");
  }

  void AddHeader() {
    const auto or_unknown = [](const std::string& text) {
      return text.empty() ? kUnknown : text;
    };
    AddText(
        absl::StrCat(or_unknown(info_.hostname()), ": kernel ",
                     or_unknown(info_.kernel_release()), ", pinwatchd ",
                     or_unknown(info_.version()), " up ",
                     AgeOf(info_.has_started(), info_.started()), ", snapshot ",
                     AgeOf(snapshot_.has_time(), snapshot_.time()), " old"));
    if (!snapshot_.has_paused_since()) return;
    AddTitle(absl::StrCat("PAUSED for ", AgeOf(true, snapshot_.paused_since())),
             kRed);
    AddText(
        "No hook is attached and no memory is looked at unasked; pinwatch "
        "resume ends that.");
  }

  void AddPinRow(absl::string_view nid, absl::string_view name,
                 absl::string_view managed, absl::string_view pages,
                 absl::string_view bytes, absl::string_view references,
                 absl::string_view possible) {
    AddLine(absl::StrFormat("%4s  %-13s  %9s  %11s  %9s  %11s  %11s", nid, name,
                            managed, pages, bytes, references, possible));
  }

  void AddPins(absl::string_view nid, absl::string_view name,
               absl::string_view managed, const v1::MigratetypePages& pins) {
    AddPinRow(nid, name, managed, Count(pins.confirmed().pages()),
              Bytes(kPageBytes * pins.confirmed().pages()),
              Count(pins.confirmed().references()),
              Count(pins.possible().pages()));
  }

  void AddZone(const v1::Zone& zone) {
    const std::string nid = NodeName(zone.nid());
    const std::string name = Fit(zone.name(), kZoneWidth);
    const std::string managed = Bytes(kPageBytes * zone.managed_pages());
    if (zone.migratetypes().empty()) {
      const char* none = Missing("census");
      AddPinRow(nid, name, managed, none, none, none, none);
      return;
    }
    AddPins(nid, name, managed, Sum(zone));
    for (const v1::MigratetypePages* pages : PinnedMigratetypes(zone))
      AddPins("", Fit(absl::StrCat("  ", pages->migratetype()), kZoneWidth), "",
              *pages);
  }

  void AddZones() {
    AddTitle("PINNED PAGES, by the census");
    if (snapshot_.zones().empty()) return AddMissing("zones", "none known");
    AddPinRow("NODE", "ZONE", "MANAGED", "PAGES", "BYTES", "REFERENCES",
              "POSSIBLE");
    for (const v1::Zone& zone : snapshot_.zones())
      if (zone.managed_pages() || !zone.migratetypes().empty()) AddZone(zone);
    if (std::any_of(snapshot_.zones().begin(), snapshot_.zones().end(),
                    [](auto& zone) { return Sum(zone).possible().pages(); }))
      AddText(
          "possible: pages that read as pinned, while plain references would "
          "read the same");
  }

  // The oldest look at a node; nothing while one of its zones has had none.
  std::optional<absl::Time> OldestLook(uint32_t nid) const {
    std::optional<absl::Time> oldest;
    for (const v1::Zone& zone : snapshot_.zones()) {
      if (zone.nid() != nid || !zone.managed_pages()) continue;
      if (!zone.has_oldest_look()) return std::nullopt;
      const absl::Time look = ToTime(zone.oldest_look());
      oldest = std::min(oldest.value_or(look), look);
    }
    return oldest;
  }

  std::string Outstanding(const v1::Node& node) const {
    if (!node.has_outstanding_references()) return Missing("node_counters");
    return absl::StrCat(node.counters_exact() ? "" : "~",
                        Count(node.outstanding_references()));
  }

  std::string Drift(const v1::Node& node) const {
    if (IsHidden("node_counters") || IsHidden("census"))
      return "n/a, reasons below";
    if (!node.has_drift_references())
      return node.has_outstanding_references() && !node.counters_exact()
                 ? "n/a, not exact"
                 : "not yet";
    const std::string drift = node.drift_references() == 0
                                  ? "agrees"
                                  : SignedCount(node.drift_references());
    if (node.census_current()) return drift;
    return absl::StrCat(
        drift, ", ", AgeOf(node.has_drift_time(), node.drift_time()), " ago");
  }

  // Whether the node's pins changed since the oldest look at it. Only exact
  // counters tell.
  std::string LookState(const v1::Node& node) const {
    if (node.census_current()) return "current";
    if (IsHidden("census")) return "";
    const bool counters_tell =
        node.has_outstanding_references() && node.counters_exact();
    if (!OldestLook(node.nid()) || !counters_tell) return "not known";
    return "outdated";
  }

  void AddNodeRow(absl::string_view nid, absl::string_view counter,
                  absl::string_view census, const std::string& drift,
                  absl::string_view look, absl::string_view state,
                  bool disagrees = false, bool outdated = false) {
    const std::string drift_cell = absl::StrFormat("%-22s", drift);
    AddLine(
        absl::StrCat(absl::StrFormat("%4s  %12s  %11s  ", nid, counter, census),
                     disagrees ? Paint(kYellow, drift_cell) : drift_cell,
                     absl::StrFormat("  %8s  ", look),
                     outdated ? Paint(kYellow, state) : std::string(state)));
  }

  void AddNode(const v1::Node& node) {
    const std::optional<absl::Time> look = OldestLook(node.nid());
    const std::string state = LookState(node);
    AddNodeRow(NodeName(node.nid()), Outstanding(node),
               look ? Count(node.census_references()) : Missing("census"),
               Drift(node),
               look ? Age(options_.now - *look) : Missing("census"), state,
               node.drift_references() != 0, state == "outdated");
  }

  void AddNodes() {
    if (snapshot_.nodes().empty()) return;
    AddTitle("PIN REFERENCES, the kernel's counter against the census");
    AddNodeRow("NODE", "COUNTER", "CENSUS", "DRIFT", "LOOK AGE", "LOOK IS");
    for (const v1::Node& node : snapshot_.nodes()) AddNode(node);
    const auto any = [&](auto has) {
      return std::any_of(snapshot_.nodes().begin(), snapshot_.nodes().end(),
                         has);
    };
    if (any([&](auto& node) { return LookState(node) == "outdated"; }))
      AddText("outdated: older than the last pin change; --fresh looks again");
    if (any([](auto& node) {
          return node.has_outstanding_references() && !node.counters_exact();
        }))
      AddText("~: from sysfs, where what CPUs have not yet added is missing");
    for (const v1::Node& node : snapshot_.nodes())
      if (node.drift_cause() == "zone_device")
        AddText(absl::StrCat("drift of node ", node.nid(),
                             ": pins on pages of devices (ZONE_DEVICE, ",
                             Count(node.device_pages()),
                             " pages), which the census leaves out"));
  }

  // What searches for holders have left out.
  void AddInference() {
    const v1::Inference& search = snapshot_.inference();
    if (!search.pages_left_out() && !search.processes_left_out() &&
        !search.unclaimed_left_out())
      return;
    AddText(absl::StrCat(
        "not searched for holders: ", Count(search.unclaimed_left_out()),
        " pages without a claim, ", Count(search.processes_left_out()),
        " processes, ", Count(search.pages_left_out()),
        " pages that processes map"));
  }

  void AddHolders() {
    const std::vector<std::string> texts =
        AttributionTexts(snapshot_.attributions());
    if (!texts.empty())
      AddTitle("WHO HOLDS THEM, as far as it is known; pinwatch top has names");
    for (const std::string& text : texts) AddText(text);
    AddInference();
    AddAges();
    AddInvariant();
    AddGovernor();
  }

  // How long they have been held: each age that some are older than.
  void AddAges() {
    std::map<std::string, v1::OlderPages> by_age;
    std::vector<std::string> ages;
    for (const v1::PinKinds& kinds : snapshot_.pin_kinds())
      for (const v1::OlderPages& older : kinds.older()) {
        const auto [sum, is_new] = by_age.try_emplace(older.older_than());
        if (is_new) ages.push_back(older.older_than());
        sum->second.set_long_term_pages(sum->second.long_term_pages() +
                                        older.long_term_pages());
        sum->second.set_short_term_pages(sum->second.short_term_pages() +
                                         older.short_term_pages());
      }
    const auto add = [&](absl::string_view kind, auto pages_of) {
      std::vector<std::string> parts;
      for (const std::string& age : ages)
        if (const uint64_t pages = pages_of(by_age[age]))
          parts.push_back(absl::StrCat(age, " ", Count(pages)));
      if (!parts.empty())
        AddText(absl::StrCat(
            kind, " pages held for longer than: ", absl::StrJoin(parts, ", ")));
    };
    add("long-term", [](auto& older) { return older.long_term_pages(); });
    add("short-term", [](auto& older) { return older.short_term_pages(); });
  }

  void AddClaimGap() {
    const absl::Duration gap = ToDuration(snapshot_.claims().gap());
    if (gap > absl::ZeroDuration())
      AddText(absl::StrCat("pins were not followed for ", Age(gap),
                           ": in a pause, or without pinwatchd"));
  }

  // Long-term pins where none should be since Linux v5.13.
  void AddInvariant() {
    uint64_t movable = 0, cma = 0;
    for (const v1::PinKinds& kinds : snapshot_.pin_kinds()) {
      if (kinds.zone() == "Movable") movable += kinds.long_term_pages();
      cma += kinds.long_term_cma_pages();
    }
    AddMisplaced("ZONE_MOVABLE", movable);
    AddMisplaced("CMA", cma);
  }

  // What is not recorded, to keep the hooks within their budget.
  void AddGovernor() {
    const v1::Governor& governor = snapshot_.governor();
    const std::string why =
        absl::StrCat(", for ", Age(options_.now - ToTime(governor.since())),
                     ": ", governor.reason());
    if (governor.stage() == v1::GOVERNOR_STAGE_SAMPLED)
      AddText(
          absl::StrCat("sampled: one short-term call in 64 is recorded", why));
    if (governor.stage() == v1::GOVERNOR_STAGE_OFF)
      AddText(absl::StrCat(
          "not followed: ", absl::StrJoin(governor.doors_off(), ", "),
          ", so that holders are probable at best", why));
  }

  void AddMisplaced(absl::string_view place, uint64_t pages) {
    if (!pages) return;
    AddText(absl::StrCat(
        "long-term in ", place, ": ", PagesAndSize(pages), ", ",
        snapshot_.moves_long_term_pins()
            ? "which this kernel should have moved out: please report it"
        : snapshot_.has_moves_long_term_pins()
            ? "which this kernel does not move out, as later ones do"
            : "which kernels move out from Linux v5.13 on"));
  }

  void AddBlockRow(absl::string_view nid, absl::string_view zone,
                   absl::string_view state, absl::string_view blocks,
                   absl::string_view size) {
    AddLine(absl::StrFormat("%4s  %-13s  %-20s  %11s  %9s", nid, zone, state,
                            blocks, size));
  }

  void AddBlocks() {
    const uint64_t block_bytes = snapshot_.block_size_bytes();
    AddTitle(block_bytes ? absl::StrCat("MEMORY BLOCKS of ",
                                        Bytes(static_cast<double>(block_bytes)))
                         : "MEMORY BLOCKS");
    if (snapshot_.blocks().empty())
      return AddMissing("memory_blocks", "none on this host");
    AddBlockRow("NODE", "ZONE", "STATE", "BLOCKS", "SIZE");
    for (const v1::BlockCount& count : snapshot_.blocks())
      AddBlockRow(count.has_nid() ? NodeName(count.nid()) : kUnknown,
                  Fit(count.zone(), kZoneWidth), Fit(count.state(), 20),
                  Count(count.blocks()),
                  block_bytes
                      ? Bytes(static_cast<double>(block_bytes) * count.blocks())
                      : kUnknown);
  }

  void AddMigrationRow(absl::string_view reason, absl::string_view mode,
                       absl::string_view calls, absl::string_view moved,
                       absl::string_view failed) {
    AddLine(absl::StrFormat("%-20s  %-14s  %11s  %11s  %11s", reason, mode,
                            calls, moved, failed));
  }

  void AddMigrations() {
    AddTitle("MIGRATION since pinwatchd started, in pages");
    bool any = false;
    for (const v1::Migrations& row : snapshot_.migrations()) {
      if (!row.calls()) continue;
      if (!any) AddMigrationRow("REASON", "MODE", "CALLS", "MOVED", "FAILED");
      any = true;
      AddMigrationRow(Fit(row.reason(), 20), Fit(row.mode(), 14),
                      Count(row.calls()), Count(row.succeeded_pages()),
                      Count(row.failed_pages()));
    }
    if (!any) AddMissing("migrations", "none since start");
  }

  void AddReasons(absl::string_view title, bool observable) {
    bool any = false;
    for (const v1::Fact& fact : snapshot_.facts()) {
      if (fact.observable() != observable) continue;
      if (observable && fact.reason().empty()) continue;
      if (!any) AddTitle(title);
      any = true;
      AddText(absl::StrCat(
          fact.name(), ": ",
          fact.reason().empty() ? "no reason is given" : fact.reason()));
    }
  }

  void AddFacts() {
    AddReasons("NOT OBSERVABLE", false);
    AddReasons("NOT COMPLETE", true);
  }

  void AddCollectors() {
    bool any = false;
    for (const v1::Collector& collector : snapshot_.collectors()) {
      if (collector.success()) continue;
      if (!any) AddTitle("FAILED the last time", kRed);
      any = true;
      AddText(absl::StrCat(collector.name(), ": ", collector.error()));
    }
  }

  const v1::GetInfoResponse& info_;
  const v1::Snapshot& snapshot_;
  const TableOptions options_;
  std::string text_;
};

}  // namespace

std::string StatusTable(const v1::GetInfoResponse& info,
                        const v1::Snapshot& snapshot,
                        const TableOptions& options) {
  return StatusPage(info, snapshot, options).Render();
}

}  // namespace pinwatch
