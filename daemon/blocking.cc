// SPDX-License-Identifier: Apache-2.0
#include "daemon/blocking.h"

#include <algorithm>
#include <cerrno>
#include <optional>

namespace pinwatch {
namespace {

// Magic numbers of file systems, as in linux/magic.h.
constexpr uint32_t kTmpfs = 0x01021994;
constexpr uint32_t kHugetlbfs = 0x958458f6;
constexpr uint32_t kSecretmem = 0x5345434d;

bool IsUserPage(const page_facts& page) {
  return page.kind == KIND_NONE && (page.mapping == PAGE_MAPPING_ANON ||
                                    page.mapping == PAGE_MAPPING_KSM ||
                                    page.mapping == PAGE_MAPPING_FILE);
}

// References that neither page tables nor caches, private data nor the attempt
// itself explain. Unknown for a large folio, which may be mapped in parts.
std::optional<int64_t> SurplusOf(const page_facts& page, uint32_t step) {
  if (!IsUserPage(page) || page.mapcount < 0) return std::nullopt;
  int64_t expected = page.mapcount;
  // What was to be migrated has been isolated, which takes a reference.
  if (step == HOTPLUG_MIGRATING) ++expected;
  if (page.mapping == PAGE_MAPPING_FILE || page.flags & PAGE_FACT_SWAPCACHE)
    ++expected;
  if (page.flags & PAGE_FACT_PRIVATE) ++expected;
  return page.refcount - expected;
}

std::string MappingName(const page_facts& page) {
  if (page.kind != KIND_NONE && page.kind != KIND_HUGETLB) return "";
  switch (page.mapping) {
    case PAGE_MAPPING_ANON:
      return "anon";
    case PAGE_MAPPING_KSM:
      return "ksm";
    case PAGE_MAPPING_MOVABLE_OPS:
      return "movable_ops";
    case PAGE_MAPPING_FILE:
      if (page.fs_magic == kTmpfs) return "shmem";
      if (page.fs_magic == kHugetlbfs) return "hugetlbfs";
      if (page.fs_magic == kSecretmem) return "secretmem";
      return "file";
    default:
      return "";
  }
}

struct Finding {
  page_class page;
  const char* why;
};

// Of what is no user page.
Finding FindInKernelPage(const page_facts& page) {
  switch (page.kind) {
    case KIND_BUDDY:
      return {PAGE_FREE, "transient"};
    case KIND_OFFLINE:
      return {PAGE_OFFLINE, "offline"};
    case KIND_HUGETLB:
      return {PAGE_HUGETLB, "hugetlb"};
    case KIND_SLAB:
      return {PAGE_KERNEL, "slab"};
    case KIND_TABLE:
      return {PAGE_KERNEL, "page_table"};
    default:
      break;
  }
  if (page.refcount >= PINWATCH_PIN_BIAS)
    return {PAGE_BIASED, "biased_reference"};
  if (page.refcount <= 0) return {PAGE_UNSTABLE, "transient"};
  if (page.mapping == PAGE_MAPPING_MOVABLE_OPS)
    return {PAGE_MOVABLE, "transient"};
  return {PAGE_KERNEL, "kernel_memory"};
}

Finding FindInUserPage(const page_facts& page, uint64_t pins, int64_t surplus) {
  if (page.order) {
    if (page.flags & PAGE_FACT_WRITEBACK) return {PAGE_MOVABLE, "writeback"};
  } else {
    if (pins && surplus % PINWATCH_PIN_BIAS > PINWATCH_PIN_SLACK)
      return {PAGE_PINNED_LOOSE, "pinned"};
    if (pins) return {PAGE_PINNED_EXACT, "pinned"};
    if (page.flags & PAGE_FACT_WRITEBACK) return {PAGE_MOVABLE, "writeback"};
    if (surplus > 0) return {PAGE_ELEVATED, "plain_reference"};
  }
  if (page.flags & PAGE_FACT_LOCKED) return {PAGE_MOVABLE, "locked"};
  if (page.fs_magic == kSecretmem && page.mapping == PAGE_MAPPING_FILE)
    return {PAGE_MOVABLE, "secretmem"};
  if (page.flags & PAGE_FACT_DIRTY && page.mapping == PAGE_MAPPING_FILE &&
      page.fs_magic != kTmpfs)
    return {PAGE_MOVABLE, "dirty"};
  return {PAGE_MOVABLE, "transient"};
}

Finding Find(const page_facts& page, uint64_t pins, int64_t surplus) {
  if (page.flags & PAGE_FACT_POISONED) return {PAGE_POISONED, "hwpoison"};
  if (page.flags & PAGE_FACT_RESERVED) return {PAGE_RESERVED, "reserved"};
  if (page.order && pins) return {PAGE_PINNED_LARGE, "pinned"};
  return IsUserPage(page) ? FindInUserPage(page, pins, surplus)
                          : FindInKernelPage(page);
}

}  // namespace

BlockingPage ToBlockingPage(uint64_t pfn, const hotplug_blocker& blocker) {
  const page_facts& facts = blocker.page;
  const std::optional<int64_t> surplus = SurplusOf(facts, blocker.step);
  BlockingPage page{.pfn = pfn, .refcount = facts.refcount};
  if (facts.order && facts.pincount > 0)
    page.pins = facts.pincount;
  else if (surplus && *surplus >= PINWATCH_PIN_BIAS)
    page.pins = *surplus / PINWATCH_PIN_BIAS;
  const Finding found = Find(facts, page.pins, surplus.value_or(0));
  page.page = found.page;
  page.why = found.why;
  page.nr_pages = (1ull << facts.order) - (pfn - facts.head_pfn);
  page.step = StepName(static_cast<hotplug_step>(blocker.step));
  page.times_met = blocker.times_met;
  page.surplus = surplus;
  if (facts.mapcount >= 0 && IsUserPage(facts)) page.mapcount = facts.mapcount;
  page.mapping = MappingName(facts);
  page.inode = facts.ino;
  page.device = facts.dev;
  return page;
}

const char* StepName(hotplug_step step) {
  switch (step) {
    case HOTPLUG_REQUESTED:
      return "requested";
    case HOTPLUG_CHECKING:
      return "checking";
    case HOTPLUG_ISOLATING:
      return "isolating";
    case HOTPLUG_NOTIFYING:
      return "notifying";
    case HOTPLUG_MIGRATING:
      return "migrating";
    case HOTPLUG_DISSOLVING:
      return "dissolving";
    case HOTPLUG_FINISHING:
      return "finishing";
    default:
      return "unknown";
  }
}

std::string WhyItEnded(const HotplugAttempt& attempt) {
  if (attempt.running || attempt.error == 0 || attempt.operation != "offline")
    return "";
  if (attempt.error == EINTR) return "interrupted";
  if (attempt.error == ENOMEM) return "no_memory";
  switch (attempt.step) {
    case HOTPLUG_REQUESTED:
      return attempt.error == EINVAL ? "no_single_zone" : "refused_before";
    case HOTPLUG_CHECKING:
      return attempt.error == EINVAL ? "holes_or_several_zones"
                                     : "refused_before";
    case HOTPLUG_ISOLATING:
      // The kernel names the page, unless it meets what another isolates.
      return attempt.blockers.empty() ? "isolation_contended"
                                      : "unmovable_page";
    case HOTPLUG_NOTIFYING:
      return "refused_by_notifier";
    case HOTPLUG_MIGRATING:
      return "unmovable_page";
    case HOTPLUG_DISSOLVING:
      return "huge_pages_in_use";
    default:
      return "unknown";
  }
}

bool IsAboutPages(const std::string& reason) {
  return reason != "holes_or_several_zones" && reason != "no_single_zone" &&
         reason != "refused_before" && reason != "refused_by_notifier";
}

}  // namespace pinwatch
