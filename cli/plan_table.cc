// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_table.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "cli/block_map.h"
#include "cli/owner_text.h"
#include "cli/proto_time.h"
#include "cli/text.h"
#include "cli/words.h"

namespace pinwatch {
namespace {

constexpr int kMaxOwners = 8;

constexpr v1::Verdict kSteps[] = {v1::VERDICT_REMOVABLE,
                                  v1::VERDICT_REMOVABLE_AFTER_MIGRATION,
                                  v1::VERDICT_BLOCKED_BY_SHORT_TERM_PINS,
                                  v1::VERDICT_BLOCKED_BY_LONG_TERM_PINS};

const char* Words(v1::Verdict verdict) {
  switch (verdict) {
    case v1::VERDICT_REMOVABLE:
      return "nothing has to move";
    case v1::VERDICT_REMOVABLE_AFTER_MIGRATION:
      return "pages have to move";
    case v1::VERDICT_BLOCKED_BY_SHORT_TERM_PINS:
      return "once short-term pins have passed";
    default:
      return "once those below let go";
  }
}

std::string Size(uint64_t bytes) { return Bytes(static_cast<double>(bytes)); }

std::string Stopped(const v1::PlanOfflineRequest& request,
                    const v1::PlanOfflineResponse& plan) {
  std::string who;
  switch (request.stopped_case()) {
    case v1::PlanOfflineRequest::kStoppedPid:
      who = absl::StrCat("process ", request.stopped_pid());
      break;
    case v1::PlanOfflineRequest::kStoppedUnit:
      who = absl::StrCat("unit ", request.stopped_unit());
      break;
    case v1::PlanOfflineRequest::kStoppedCgroup:
      who = absl::StrCat("cgroup ", request.stopped_cgroup());
      break;
    default:
      return "";
  }
  if (!plan.stopped_owners())
    return Paragraph(absl::StrCat("No pin of ", who,
                                  " is known: to stop it changes nothing."));
  return Paragraph(absl::StrCat(
      "If ", who, " were stopped: ", PagesAndSize(plan.stopped_pages()),
      " that it alone pins would be let go."));
}

std::string Blocks(const v1::PlanOfflineResponse& plan) {
  std::string text;
  std::map<v1::Verdict, std::vector<uint64_t>> blocks;
  for (const v1::PlannedBlock& block : plan.blocks())
    blocks[block.verdict().verdict()].push_back(block.verdict().block());
  for (const v1::Verdict verdict : kSteps)
    if (const auto& some = blocks[verdict]; !some.empty())
      text += Paragraph(absl::StrCat(
          Words(verdict), ": ", Count(some.size()),
          some.size() == 1 ? " block: " : " blocks: ", BlockRanges(some)));
  return text;
}

std::string Releases(const v1::PlanOfflineResponse& plan) {
  std::vector<std::string> said;
  for (const v1::PinOwner& owner : plan.owners()) {
    std::string line = ReleaseText(owner);
    if (std::find(said.begin(), said.end(), line) == said.end())
      said.push_back(std::move(line));
  }
  std::string text;
  for (size_t i = 0; i < said.size() && i < kMaxOwners; ++i)
    text += Paragraph(said[i]);
  if (said.size() > kMaxOwners)
    text += Paragraph(absl::StrCat("and ", said.size() - kMaxOwners,
                                   " more; -o json shows all"));
  return text;
}

std::string Basis(const v1::PlanOfflineResponse& plan, absl::Time now) {
  std::map<v1::Confidence, int> confidence;
  for (const v1::PlannedBlock& block : plan.blocks())
    ++confidence[block.verdict().confidence()];
  std::vector<std::string> parts;
  for (const v1::Confidence c :
       {v1::CONFIDENCE_HIGH, v1::CONFIDENCE_MEDIUM, v1::CONFIDENCE_LOW})
    if (confidence[c])
      parts.push_back(absl::StrCat(confidence[c], " ", Word(c)));
  std::string text =
      Paragraph(absl::StrCat("confidence: ", absl::StrJoin(parts, ", ")));
  if (plan.has_oldest_look())
    text += Paragraph(absl::StrCat("the oldest look is ",
                                   Age(now - ToTime(plan.oldest_look())),
                                   " old; --fresh looks at all again"));
  return text;
}

}  // namespace

std::string PlanTable(const v1::PlanOfflineRequest& request,
                      const v1::PlanOfflineResponse& plan, absl::Time now) {
  std::string text = Stopped(request, plan);
  const std::string found = absl::StrCat(
      Count(plan.blocks_size()), plan.blocks_size() == 1 ? " block" : " blocks",
      ", ", Size(plan.bytes()));
  text += Paragraph(
      plan.reached()
          ? absl::StrCat(Size(request.bytes()), " can be had: ", found, ".")
          : absl::StrCat(Size(request.bytes()), " cannot be had, only ", found,
                         "."));
  if (!plan.blocks().empty()) {
    text += "\nWHAT TO TAKE OFFLINE, in this order\n" + Blocks(plan);
    text += Paragraph(
        absl::StrCat(PagesAndSize(plan.pages_to_move()), " have to move, ",
                     PagesAndSize(plan.free_pages()), " are free elsewhere"));
  }
  if (const std::string releases = Releases(plan); !releases.empty())
    text += "\nWHO HAS TO LET GO FIRST\n" + releases;
  if (!plan.blocks().empty()) text += "\nWHAT IT RESTS ON\n" + Basis(plan, now);
  if (plan.reached()) return text;
  text += "\nWHY THERE IS NO MORE\n" +
          Paragraph(
              absl::StrCat("of all blocks: ", VerdictCounts(plan.verdicts())));
  if (plan.no_room_blocks())
    text += Paragraph(absl::StrCat(
        plan.no_room_blocks(),
        plan.no_room_blocks() == 1 ? " block holds" : " blocks hold",
        " more than is free elsewhere"));
  return text;
}

}  // namespace pinwatch
