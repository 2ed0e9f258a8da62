// SPDX-License-Identifier: Apache-2.0
#include "cli/node_table.h"

#include <algorithm>
#include <map>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "cli/block_map.h"
#include "cli/owner_text.h"
#include "cli/text.h"
#include "cli/words.h"

namespace pinwatch {
namespace {

constexpr size_t kMaxOwners = 4;

// Long-term owners with what they hold on the node alone, the largest first.
std::vector<v1::PinOwner> LongTermOwners(uint32_t nid,
                                         const v1::ListOwnersResponse& all) {
  std::vector<v1::PinOwner> owners;
  for (v1::PinOwner owner : all.owners()) {
    if (!owner.long_term()) continue;
    google::protobuf::RepeatedPtrField<v1::PinHolding> here;
    for (const v1::PinHolding& holding : owner.holdings())
      if (holding.nid() == nid) *here.Add() = holding;
    if (here.empty()) continue;
    *owner.mutable_holdings() = std::move(here);
    owners.push_back(std::move(owner));
  }
  std::stable_sort(owners.begin(), owners.end(), [](auto& a, auto& b) {
    return PagesHeld(a) > PagesHeld(b);
  });
  return owners;
}

}  // namespace

absl::StatusOr<v1::Snapshot> OfNode(const v1::Snapshot& snapshot,
                                    uint32_t nid) {
  v1::Snapshot node;
  *node.mutable_time() = snapshot.time();
  for (const v1::Node& one : snapshot.nodes())
    if (one.nid() == nid) *node.add_nodes() = one;
  for (const v1::VerdictCount& count : snapshot.verdicts())
    if (count.has_nid() && count.nid() == nid) *node.add_verdicts() = count;
  for (const v1::RemovableMemory& memory : snapshot.removable())
    if (memory.has_nid() && memory.nid() == nid) *node.add_removable() = memory;
  if (node.nodes().empty() && node.verdicts().empty())
    return absl::NotFoundError(absl::StrCat("this host has no node ", nid));
  return node;
}

std::string NodeTable(uint32_t nid, const v1::Snapshot& node,
                      const v1::ListOwnersResponse& owners, absl::Time now) {
  std::map<std::string, google::protobuf::RepeatedPtrField<v1::VerdictCount>>
      zones;
  for (const v1::VerdictCount& count : node.verdicts())
    *zones[count.zone()].Add() = count;
  std::string text =
      node.removable().empty()
          ? Paragraph(absl::StrCat("node ", nid, ": no memory block is known"))
          : Paragraph(absl::StrCat(
                "node ", nid, ": about ",
                Bytes(static_cast<double>(node.removable(0).bytes())),
                " could be taken offline while all else stays"));
  for (const auto& [zone, counts] : zones)
    text += Paragraph(absl::StrCat("zone ", zone, ": ", VerdictCounts(counts)));
  const std::vector<v1::PinOwner> holders = LongTermOwners(nid, owners);
  if (!holders.empty()) text += "\nWHO HOLDS MOST FOR LONG\n";
  for (size_t i = 0; i < holders.size() && i < kMaxOwners; ++i)
    text += OwnerText(holders[i], now);
  if (!holders.empty()) text += "\nWHAT WOULD SET IT FREE\n";
  for (size_t i = 0; i < holders.size() && i < kMaxOwners; ++i)
    text += Paragraph(ReleaseText(holders[i]));
  if (holders.size() > kMaxOwners)
    text += Paragraph(absl::StrCat("and so with ", holders.size() - kMaxOwners,
                                   " more: see pinwatch top"));
  return text + Paragraph(
                    "pinwatch blocks shows each block, pinwatch plan what to "
                    "take offline first");
}

}  // namespace pinwatch
