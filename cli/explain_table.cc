// SPDX-License-Identifier: Apache-2.0
#include "cli/explain_table.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "cli/calls_table.h"
#include "cli/owner_text.h"
#include "cli/proto_time.h"
#include "cli/text.h"
#include "cli/words.h"

namespace pinwatch {
namespace {

constexpr int kMaxOwners = 8;

std::string KernelWords(const v1::ExplainPageResponse& page) {
  if (page.has_struct_pages_of())
    return absl::StrCat(
        "It holds struct pages, the kernel's records of the pages of memory",
        page.struct_pages_of(),
        ": it does not move, and is freed when that block is removed.");
  if (page.why() == "slab")
    return "Kernel memory, of a slab: it does not move.";
  if (page.why() == "page_table") return "A page table: it does not move.";
  if (page.page_class() == "reserved")
    return "Kernel memory, reserved at boot: it does not move.";
  return "Kernel memory: it does not move.";
}

// What a page of that class is to somebody who wants it to move.
std::string Words(const v1::ExplainPageResponse& page) {
  const std::string& name = page.page_class();
  if (name == "free") return "It is free.";
  if (name == "movable") return "Nothing keeps it from moving.";
  if (name == "hugetlb")
    return "A huge page of hugetlbfs that nothing pins: it moves where there "
           "is "
           "another one free.";
  if (name == "elevated")
    return "Somebody holds a reference that is no pin: it does not move until "
           "that is dropped.";
  if (name == "biased")
    return "No user page, with references enough for pins: a driver's.";
  if (name == "kernel" || name == "reserved") return KernelWords(page);
  if (name == "offline")
    return "Logically offline: a balloon or virtio-mem has it.";
  if (name == "poisoned") return "Poisoned by a hardware memory error.";
  if (name == "unstable") return "It changed while it was read: ask again.";
  if (!page.has_attribution())
    return "It reads as pinned, but by the kernel's counter nothing of its "
           "node "
           "is: plain references in great number.";
  return name == "pinned_loose"
             ? "It reads as pinned, with many references besides."
             : "It is pinned: it does not move until that pin is released.";
}

std::string PipeTexts(
    const google::protobuf::RepeatedPtrField<v1::ReferenceHolder>& holders) {
  std::string text = "\nWHO HOLDS IT\n";
  for (const v1::ReferenceHolder& holder : holders)
    text += Paragraph(absl::StrCat(
        ProcessName(holder.process()),
        ": it is in the pipe of its file descriptor ", holder.fd()));
  return text + "\nWHAT WOULD SET IT FREE\n" +
         Paragraph(
             "whoever reads the pipe empty, or the end of all who have it "
             "open");
}

// Who holds a reference that is no pin, as far as that is observable.
std::string PlainHolder(const v1::ExplainPageResponse& page, absl::Time now) {
  if (page.page_class() != "elevated") return "";
  if (!page.reference_holders().empty())
    return PipeTexts(page.reference_holders());
  // Who maps it need not hold it, but may know who does.
  const std::string mapped =
      page.has_mapped_by()
          ? absl::StrCat(" It is ", MappersText(page.mapped_by()), ".")
          : " Which processes map it is not known: pinwatchd --holders.infer "
            "would look.";
  const std::string taken =
      page.has_taken_by()
          ? absl::StrCat(" ", ProcessName(page.taken_by().process()),
                         " took one last, through get_user_pages_fast, ",
                         Age(now - ToTime(page.taken_by().taken())),
                         " ago; whether it still has it is not known.")
          : "";
  return Paragraph(absl::StrCat(
      "Most pass with the work that took them. ",
      page.pipes_searched()
          ? "It is in no pipe; who else holds one that stays is not observable."
          : "Who holds one that stays, such as a pipe filled by vmsplice, is "
            "not observable here.",
      taken, mapped));
}

std::string References(const v1::ExplainPageResponse& page) {
  if (!page.has_refcount()) return "";
  std::string text =
      absl::StrCat(Count(page.refcount()),
                   page.refcount() == 1 ? " reference" : " references");
  if (page.pins() && page.has_attribution())
    absl::StrAppend(
        &text, ", ", Count(page.pins()), page.pins() == 1 ? " pin" : " pins",
        page.page_class() == "pinned_large" ? " of its folio"
                                            : " (each is 1,024 references)");
  return Paragraph(text);
}

std::string Owners(
    const google::protobuf::RepeatedPtrField<v1::PinOwner>& owners,
    absl::Time now) {
  std::string text;
  const int shown = std::min(owners.size(), kMaxOwners);
  for (int i = 0; i < shown; ++i) text += OwnerText(owners[i], now);
  if (shown < owners.size())
    text += Paragraph(absl::StrCat("and ", owners.size() - shown,
                                   " more; -o json shows all"));
  return text;
}

}  // namespace

std::string PageTable(const v1::ExplainPageResponse& page, absl::Time now) {
  std::string line =
      absl::StrFormat("pfn 0x%x, physical 0x%x: memory%d", page.pfn(),
                      page.pfn() << 12, page.block());
  if (!page.has_look()) {
    absl::StrAppend(&line, ", which is ", page.state(),
                    ": what stands there is not known");
    return Paragraph(line);
  }
  absl::StrAppend(&line, ", node ", page.nid(), ", zone ", page.zone(),
                  ", migratetype ", page.migratetype(), ", ", page.page_class(),
                  ", looked at ", Age(now - ToTime(page.look())), " ago");
  std::string text =
      Paragraph(line) + Paragraph(Words(page)) + References(page);
  if (page.has_memory_cgroup() && page.page_class() != "free")
    text += Paragraph(
        absl::StrCat("Charged to ", CgroupText(page.memory_cgroup()), "."));
  text += PlainHolder(page, now);
  if (!page.has_attribution()) return text;
  text += "\nWHO HOLDS IT\n" + Owners(page.owners(), now) +
          InferredTexts(page.inferred());
  if (page.attribution().certainty() == v1::CERTAINTY_UNATTRIBUTED)
    text += Paragraph(
        absl::StrCat("not known: ", Reason(page.attribution().reason())));
  text += "\nWHAT WOULD SET IT FREE\n";
  if (page.owners().empty() && page.inferred().empty())
    text += Paragraph("where the holder is not known, only a reboot is sure");
  for (const v1::PinOwner& owner : page.owners())
    text += Paragraph(ReleaseText(owner));
  for (const v1::InferredHolder& holder : page.inferred())
    text += Paragraph(ReleaseText(holder));
  return text;
}

std::string ProcessTable(uint32_t pid, const v1::ListOwnersResponse& owners,
                         absl::Time now) {
  google::protobuf::RepeatedPtrField<v1::PinOwner> holders;
  uint64_t calls = 0;
  uint64_t pages = 0;
  std::string failures;
  for (const v1::PinOwner& owner : owners.owners()) {
    if (const std::string text = FailuresText(owner.outcomes()); !text.empty())
      failures +=
          Paragraph(absl::StrCat("through ", owner.subsystem(), ": ", text));
    if (const std::string text = MovesText(owner.outcomes()); !text.empty())
      failures +=
          Paragraph(absl::StrCat("through ", owner.subsystem(), ": ", text));
    calls += owner.calls();
    pages += owner.pages();
    if (!owner.holdings().empty()) *holders.Add() = owner;
  }
  if (owners.owners().empty() && !owners.inferred().empty())
    return InferredTexts(owners.inferred());
  if (owners.owners().empty())
    return Paragraph(absl::StrCat("process ", pid,
                                  ": no pin of it is known; who pinned before "
                                  "pinwatchd attached is not"));
  std::stable_sort(holders.begin(), holders.end(), [](auto& a, auto& b) {
    return PagesHeld(a) > PagesHeld(b);
  });
  const std::string past =
      absl::StrCat(Count(calls), calls == 1 ? " call" : " calls", " pinned ",
                   PagesAndSize(pages), " in all");
  if (holders.empty() && owners.inferred().empty())
    return Paragraph(absl::StrCat(ProcessName(owners.owners(0).process()),
                                  ": holds nothing now; ", past)) +
           failures;
  return Owners(holders, now) + InferredTexts(owners.inferred()) +
         Paragraph(past) + failures;
}

}  // namespace pinwatch
