// SPDX-License-Identifier: Apache-2.0
#include "daemon/blocking.h"

#include <cerrno>

#include "bpf/page_stays.h"

namespace pinwatch {
namespace {

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
      if (page.fs_magic == PINWATCH_TMPFS) return "shmem";
      if (page.fs_magic == PINWATCH_HUGETLBFS) return "hugetlbfs";
      if (page.fs_magic == PINWATCH_SECRETMEM) return "secretmem";
      return "file";
    default:
      return "";
  }
}

}  // namespace

std::optional<MemoryCgroup> CgroupOf(const page_facts& facts) {
  if (!(facts.flags & PAGE_FACT_CGROUP)) return std::nullopt;
  return MemoryCgroup{.id = facts.cgroup};
}

BlockingPage ToBlockingPage(uint64_t pfn, const page_facts& facts,
                            bool isolated) {
  page_finding found;
  find_why_it_stays(&facts, isolated, &found);
  BlockingPage page{.pfn = pfn,
                    .nr_pages = (1ull << facts.order) - (pfn - facts.head_pfn),
                    .page = static_cast<page_class>(found.page_class),
                    .refcount = facts.refcount,
                    .pins = found.pins,
                    .why = kWhysPagesStay[found.why]};
  if (found.surplus_known) page.surplus = found.surplus;
  if (facts.mapcount >= 0 && is_user_page(&facts))
    page.mapcount = facts.mapcount;
  page.mapping = MappingName(facts);
  page.inode = facts.ino;
  page.device = facts.dev;
  page.cgroup = CgroupOf(facts);
  return page;
}

BlockingPage ToBlockingPage(uint64_t pfn, const hotplug_blocker& blocker) {
  // What was to be migrated has been isolated.
  BlockingPage page =
      ToBlockingPage(pfn, blocker.page, blocker.step == HOTPLUG_MIGRATING);
  // Whatever holds a page itself would keep it there all the same.
  if (blocker.no_target && (page.why == kWhysPagesStay[STAYS_TRANSIENT] ||
                            page.why == kWhysPagesStay[STAYS_HUGETLB]))
    page.why = kWhysPagesStay[STAYS_NO_TARGET];
  page.step = StepName(static_cast<hotplug_step>(blocker.step));
  page.times_met = blocker.times_met;
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
