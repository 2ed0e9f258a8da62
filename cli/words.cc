// SPDX-License-Identifier: Apache-2.0
#include "cli/words.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "cli/text.h"

namespace pinwatch {
namespace {

constexpr size_t kProcessNameWidth = 27;  // 15 of the name, 10 of the number
constexpr size_t kMaxHolders = 2;
constexpr size_t kMaxMappers = 4;

std::string Holders(const v1::BlockingPage& page, const OwnersById& owners) {
  std::vector<std::string> names;
  for (const uint32_t id : page.owners()) {
    const auto it = owners.find(id);
    std::string name = it == owners.end() ? absl::StrCat("owner #", id)
                                          : ProcessName(it->second->process());
    // One process may own pins of several call sites.
    if (std::find(names.begin(), names.end(), name) == names.end())
      names.push_back(std::move(name));
  }
  if (page.owners().empty())
    for (const v1::Process& holder : page.holders())
      names.push_back(ProcessName(holder));
  if (names.size() <= kMaxHolders) return absl::StrJoin(names, ", ");
  const size_t others = names.size() - kMaxHolders;
  names.resize(kMaxHolders);
  return absl::StrCat(absl::StrJoin(names, ", "), " and ", others,
                      others == 1 ? " other" : " others");
}

std::string PipeHolders(const v1::BlockingPage& page) {
  std::set<std::string> names;
  for (const v1::ReferenceHolder& holder : page.reference_holders())
    names.insert(ProcessName(holder.process()));
  return absl::StrJoin(names, ", ");
}

const char* HolderPrefix(v1::Certainty certainty) {
  switch (certainty) {
    case v1::CERTAINTY_HELD:
      return "held by ";
    case v1::CERTAINTY_SHARED:
      return "shared by ";
    case v1::CERTAINTY_ONE_OF:
      return "held by one of ";
    default:
      return "probably held by ";
  }
}

}  // namespace

std::string PagesAndSize(uint64_t pages) {
  return absl::StrCat(Count(pages), pages == 1 ? " page (" : " pages (",
                      Bytes(kPageBytes * static_cast<double>(pages)), ")");
}

const char* Word(v1::Certainty certainty) {
  switch (certainty) {
    case v1::CERTAINTY_HELD:
      return "held";
    case v1::CERTAINTY_SHARED:
      return "shared";
    case v1::CERTAINTY_ONE_OF:
      return "one of";
    case v1::CERTAINTY_PROBABLE:
      return "probable";
    case v1::CERTAINTY_INFERRED:
      return "inferred";
    case v1::CERTAINTY_UNATTRIBUTED:
      return "unattributed";
    default:
      return "?";
  }
}

std::vector<std::string> AttributionTexts(
    const google::protobuf::RepeatedPtrField<v1::PinAttribution>&
        attributions) {
  std::map<std::pair<v1::Certainty, std::string>, uint64_t> pages;
  for (const v1::PinAttribution& attribution : attributions)
    pages[{attribution.certainty(), attribution.reason()}] +=
        attribution.pins().pages();
  std::vector<std::string> texts;
  for (const auto& [what, count] : pages) {
    if (!count) continue;
    const auto& [certainty, reason] = what;
    std::string text = absl::StrCat(Word(certainty), ": ", PagesAndSize(count));
    if (certainty == v1::CERTAINTY_UNATTRIBUTED || !reason.empty())
      absl::StrAppend(&text, ": ", Reason(reason));
    texts.push_back(std::move(text));
  }
  return texts;
}

std::string NameWithPid(absl::string_view name, uint32_t pid, size_t width) {
  const std::string number = absl::StrCat("(", pid, ")");
  return Fit(name.empty() ? "?" : name, width - number.size()) + number;
}

std::string ProcessName(const v1::Process& process) {
  return NameWithPid(process.comm(), process.pid(), kProcessNameWidth);
}

uint64_t PagesHeld(const v1::PinOwner& owner) {
  uint64_t pages = 0;
  for (const v1::PinHolding& holding : owner.holdings())
    pages += holding.pins().pages();
  return pages;
}

OwnersById ById(
    const google::protobuf::RepeatedPtrField<v1::PinOwner>& owners) {
  OwnersById by_id;
  for (const v1::PinOwner& owner : owners) by_id.emplace(owner.id(), &owner);
  return by_id;
}

std::string MappersText(const v1::PageMappers& mappers) {
  std::vector<std::string> names;
  for (const v1::Process& process : mappers.processes())
    names.push_back(ProcessName(process));
  if (names.empty())
    return mappers.complete() ? "mapped by no process"
                              : "mapped by nobody that was found";
  const size_t others = names.size() - std::min(names.size(), kMaxMappers);
  names.resize(names.size() - others);
  return absl::StrCat("mapped by ", absl::StrJoin(names, ", "),
                      others ? absl::StrCat(" and ", others, " more") : "",
                      mappers.complete() ? "" : " and perhaps others");
}

std::string BlockRanges(std::vector<uint64_t> blocks) {
  std::sort(blocks.begin(), blocks.end());
  std::vector<std::string> parts;
  for (size_t i = 0; i < blocks.size();) {
    size_t end = i + 1;
    while (end < blocks.size() && blocks[end] == blocks[end - 1] + 1) ++end;
    std::string part = absl::StrCat("memory", blocks[i]);
    if (end - i > 1) absl::StrAppend(&part, "-memory", blocks[end - 1]);
    parts.push_back(std::move(part));
    i = end;
  }
  return absl::StrJoin(parts, ", ");
}

std::string CgroupText(const v1::MemoryCgroup& cgroup) {
  if (!cgroup.id()) return "no cgroup";
  if (cgroup.path().empty())
    return cgroup.removed() ? "a removed cgroup"
                            : absl::StrCat("cgroup #", cgroup.id());
  return absl::StrCat("cgroup ", cgroup.path(),
                      cgroup.removed() ? ", removed since" : "");
}

std::string BlockerText(const v1::BlockingPage& page,
                        const OwnersById& owners) {
  std::string text = absl::StrFormat("pfn 0x%x ", page.pfn());
  const bool in_pipe = !page.reference_holders().empty();
  if (in_pipe)
    absl::StrAppend(&text, "in a pipe of ", PipeHolders(page));
  else if (page.why().empty())
    absl::StrAppend(&text, Fit(page.page_class(), 12));
  else
    absl::StrAppend(&text,
                    absl::StrReplaceAll(Printable(page.why()), {{"_", " "}}));
  if (page.has_struct_pages_of())
    absl::StrAppend(&text, ", struct pages of memory", page.struct_pages_of());
  if (page.nr_pages() > 1)
    absl::StrAppend(&text, ", ", Count(page.nr_pages()), " pages");
  if (!page.owners().empty() || !page.holders().empty())
    absl::StrAppend(&text, ", ", HolderPrefix(page.certainty()),
                    Holders(page, owners));
  else if (page.pins())
    absl::StrAppend(&text, ", holder not known");
  else if (page.surplus() > 0 && !in_pipe)
    absl::StrAppend(&text, ", ", page.surplus(), " of ", page.refcount(),
                    " references not explained");
  else if (!in_pipe)
    absl::StrAppend(&text, ", ", page.refcount(),
                    page.refcount() == 1 ? " reference" : " references");
  if (page.times_met() > 1)
    absl::StrAppend(&text, ", met ", Count(page.times_met()), " times");
  if (page.has_taken_by())
    absl::StrAppend(&text, ", last taken by ",
                    ProcessName(page.taken_by().process()));
  if (page.has_mapped_by())
    absl::StrAppend(&text, ", ", MappersText(page.mapped_by()));
  // The kernel's own memory mostly has none, and the root's has all the rest.
  if (page.memory_cgroup().id() && page.memory_cgroup().path() != "/")
    absl::StrAppend(&text, ", charged to ", CgroupText(page.memory_cgroup()));
  return text;
}

}  // namespace pinwatch
