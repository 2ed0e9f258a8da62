// SPDX-License-Identifier: Apache-2.0
#include "daemon/blocking.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace pinwatch {
namespace {

// A page of a process's memory, isolated: one mapping and the attempt hold it.
hotplug_blocker AnonPage() {
  return {.times_met = 7,
          .step = HOTPLUG_MIGRATING,
          .page = {.head_pfn = 4711,
                   .refcount = 2,
                   .mapcount = 1,
                   .mapping = PAGE_MAPPING_ANON}};
}

BlockingPage Convert(const hotplug_blocker& blocker) {
  return ToBlockingPage(4711, blocker);
}

TEST(Blocking, NothingIsLeftToHoldIt) {
  const BlockingPage page = Convert(AnonPage());
  EXPECT_EQ(page.why, "transient");
  EXPECT_EQ(page.step, "migrating");
  EXPECT_EQ(page.times_met, 7u);
  EXPECT_EQ(page.surplus, 0);
  EXPECT_EQ(page.mapcount, 1);
  EXPECT_EQ(page.mapping, "anon");
  EXPECT_EQ(page.nr_pages, 1u);
}

TEST(Blocking, WhatNothingHoldsStaysForWantOfAPlaceToGo) {
  hotplug_blocker blocker = AnonPage();
  blocker.no_target = 1;
  EXPECT_EQ(Convert(blocker).why, "no_target_memory");
  blocker.page.kind = KIND_HUGETLB;
  EXPECT_EQ(Convert(blocker).why, "no_target_memory");
  blocker = AnonPage();
  blocker.no_target = 1;
  blocker.page.refcount = 5;
  EXPECT_EQ(Convert(blocker).why, "plain_reference");
}

TEST(Blocking, OnlyWhatWasToBeMigratedHasAReferenceOfTheAttempt) {
  hotplug_blocker blocker = AnonPage();
  blocker.step = HOTPLUG_FINISHING;
  EXPECT_EQ(Convert(blocker).surplus, 1);
  EXPECT_EQ(Convert(blocker).why, "plain_reference");
}

TEST(Blocking, PlainReferencesAreWhatNothingExplains) {
  hotplug_blocker blocker = AnonPage();
  blocker.page.refcount = 5;
  BlockingPage page = Convert(blocker);
  EXPECT_EQ(page.why, "plain_reference");
  EXPECT_EQ(page.page, PAGE_ELEVATED);
  EXPECT_EQ(page.surplus, 3);
  blocker.page.flags = PAGE_FACT_SWAPCACHE | PAGE_FACT_PRIVATE;
  EXPECT_EQ(Convert(blocker).surplus, 1);
}

TEST(Blocking, AFilesPageHasAReferenceOfThePageCache) {
  hotplug_blocker blocker = AnonPage();
  blocker.page.mapping = PAGE_MAPPING_FILE;
  blocker.page.refcount = 3;
  blocker.page.ino = 23;
  blocker.page.dev = 8 << 20 | 1;
  blocker.page.fs_magic = 0xef53;
  BlockingPage page = Convert(blocker);
  EXPECT_EQ(page.surplus, 0);
  EXPECT_EQ(page.mapping, "file");
  EXPECT_EQ(page.inode, 23u);
  EXPECT_EQ(page.device, 8u << 20 | 1);
  EXPECT_EQ(page.why, "transient");
  blocker.page.flags = PAGE_FACT_DIRTY;
  EXPECT_EQ(Convert(blocker).why, "dirty");
  blocker.page.flags |= PAGE_FACT_LOCKED;
  EXPECT_EQ(Convert(blocker).why, "locked");
  blocker.page.flags |= PAGE_FACT_WRITEBACK;
  EXPECT_EQ(Convert(blocker).why, "writeback");
  blocker.page.flags |= PAGE_FACT_POISONED;
  EXPECT_EQ(Convert(blocker).why, "hwpoison");
}

TEST(Blocking, FileSystemsOfMemoryAreNamed) {
  hotplug_blocker blocker = AnonPage();
  blocker.page.mapping = PAGE_MAPPING_FILE;
  blocker.page.refcount = 3;
  blocker.page.flags = PAGE_FACT_DIRTY;
  blocker.page.fs_magic = 0x01021994;
  EXPECT_EQ(Convert(blocker).mapping, "shmem");
  EXPECT_EQ(Convert(blocker).why, "transient");
  blocker.page.fs_magic = 0x5345434d;
  EXPECT_EQ(Convert(blocker).mapping, "secretmem");
  EXPECT_EQ(Convert(blocker).why, "secretmem");
}

TEST(Blocking, PinsAreWholeThousandsOfReferences) {
  hotplug_blocker blocker = AnonPage();
  blocker.page.refcount = 2 + 3 * 1024;
  EXPECT_EQ(Convert(blocker).why, "pinned");
  EXPECT_EQ(Convert(blocker).pins, 3u);
  EXPECT_EQ(Convert(blocker).page, PAGE_PINNED_EXACT);
  blocker.page.refcount += 23;
  EXPECT_EQ(Convert(blocker).pins, 3u);
  EXPECT_EQ(Convert(blocker).page, PAGE_PINNED_LOOSE);
}

TEST(Blocking, ALargeFolioHasAPincount) {
  hotplug_blocker blocker = AnonPage();
  blocker.page = {.head_pfn = 4608,
                  .refcount = 513,
                  .mapcount = -1,
                  .pincount = 7,
                  .order = 9,
                  .mapping = PAGE_MAPPING_ANON};
  BlockingPage page = Convert(blocker);
  EXPECT_EQ(page.why, "pinned");
  EXPECT_EQ(page.pins, 7u);
  EXPECT_EQ(page.page, PAGE_PINNED_LARGE);
  EXPECT_EQ(page.nr_pages, 512u - 103);
  EXPECT_EQ(page.surplus, std::nullopt);
  EXPECT_EQ(page.mapcount, std::nullopt);
  blocker.page.pincount = 0;
  EXPECT_EQ(Convert(blocker).why, "transient");
  EXPECT_EQ(Convert(blocker).pins, 0u);
}

TEST(Blocking, KernelMemoryIsNamedByItsType) {
  const auto why = [](page_kind kind, int refcount) {
    return Convert({.times_met = 1,
                    .step = HOTPLUG_ISOLATING,
                    .page = {.head_pfn = 4711,
                             .refcount = refcount,
                             .mapcount = -1,
                             .kind = static_cast<uint8_t>(kind)}})
        .why;
  };
  EXPECT_EQ(why(KIND_SLAB, 1), "slab");
  EXPECT_EQ(why(KIND_TABLE, 1), "page_table");
  EXPECT_EQ(why(KIND_OFFLINE, 1), "offline");
  EXPECT_EQ(why(KIND_HUGETLB, 1), "hugetlb");
  EXPECT_EQ(why(KIND_NONE, 1), "kernel_memory");
  EXPECT_EQ(why(KIND_NONE, 65'535), "biased_reference");
  EXPECT_EQ(why(KIND_NONE, 0), "transient");
  hotplug_blocker reserved = AnonPage();
  reserved.page.flags = PAGE_FACT_RESERVED;
  EXPECT_EQ(Convert(reserved).why, "reserved");
}

TEST(Blocking, EveryWordIsOfTheClosedSet) {
  for (const int order : {0, 9})
    for (int kind = KIND_NONE; kind <= KIND_OTHER; ++kind)
      for (int mapping = 0; mapping <= PAGE_MAPPING_FILE; ++mapping)
        for (uint32_t flags = 0; flags < 128; ++flags)
          for (const int refcount : {0, 1, 2, 3, 9, 1026, 1050, 2051}) {
            hotplug_blocker blocker = AnonPage();
            blocker.page.order = order;
            blocker.page.kind = kind;
            blocker.page.mapping = mapping;
            blocker.page.flags = flags;
            blocker.page.refcount = refcount;
            const std::string why = Convert(blocker).why;
            ASSERT_NE(std::ranges::find(kWhysPagesStay, why),
                      std::end(kWhysPagesStay))
                << why;
          }
}

HotplugAttempt Failed(hotplug_step step, int error) {
  return {.operation = "offline", .error = error, .step = step};
}

TEST(Blocking, TheStepThatFailedIsTheReason) {
  EXPECT_EQ(WhyItEnded(Failed(HOTPLUG_REQUESTED, EINVAL)), "no_single_zone");
  EXPECT_EQ(WhyItEnded(Failed(HOTPLUG_CHECKING, EINVAL)),
            "holes_or_several_zones");
  EXPECT_EQ(WhyItEnded(Failed(HOTPLUG_REQUESTED, EBUSY)), "refused_before");
  EXPECT_EQ(WhyItEnded(Failed(HOTPLUG_ISOLATING, EBUSY)),
            "isolation_contended");
  HotplugAttempt refused = Failed(HOTPLUG_ISOLATING, EBUSY);
  refused.blockers = {{.pfn = 7}};
  EXPECT_EQ(WhyItEnded(refused), "unmovable_page");
  EXPECT_EQ(WhyItEnded(Failed(HOTPLUG_NOTIFYING, EBUSY)),
            "refused_by_notifier");
  EXPECT_EQ(WhyItEnded(Failed(HOTPLUG_MIGRATING, EBUSY)), "unmovable_page");
  EXPECT_EQ(WhyItEnded(Failed(HOTPLUG_MIGRATING, EINTR)), "interrupted");
  EXPECT_EQ(WhyItEnded(Failed(HOTPLUG_MIGRATING, ENOMEM)), "no_memory");
  EXPECT_EQ(WhyItEnded(Failed(HOTPLUG_DISSOLVING, EBUSY)), "huge_pages_in_use");
  EXPECT_EQ(WhyItEnded(Failed(HOTPLUG_STEP_UNKNOWN, EBUSY)), "unknown");
  EXPECT_EQ(WhyItEnded(Failed(HOTPLUG_FINISHING, 0)), "");
  HotplugAttempt online = Failed(HOTPLUG_REQUESTED, EINVAL);
  online.operation = "online";
  EXPECT_EQ(WhyItEnded(online), "");
  for (int step = 0; step < NR_HOTPLUG_STEPS; ++step)
    for (const int error : {EINVAL, EBUSY, EINTR, ENOMEM, EAGAIN})
      EXPECT_NE(std::ranges::find(
                    kOfflineReasons,
                    WhyItEnded(Failed(static_cast<hotplug_step>(step), error))),
                std::end(kOfflineReasons));
}

}  // namespace
}  // namespace pinwatch
