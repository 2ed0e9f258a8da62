// SPDX-License-Identifier: Apache-2.0
#include "cli/explain_table.h"

#include <gmock/gmock.h>

#include <set>
#include <string>

#include "tests/unit/cli_lines.h"

namespace pinwatch {
namespace {

using testing::HasSubstr;
using testing::Not;

const absl::Time kNow = absl::FromUnixSeconds(1000);

std::string Page(const v1::ExplainPageResponse& page) {
  return Checked(PageTable(page, kNow));
}

v1::ExplainPageResponse Pinned() {
  return Parse<v1::ExplainPageResponse>(R"pb(
    pfn: 0x48d4c
    block: 9
    state: "online"
    look { seconds: 999 nanos: 900000000 }
    nid: 0
    zone: "Movable"
    migratetype: "movable"
    page_class: "pinned_exact"
    refcount: 1026
    pins: 1
    attribution {
      certainty: CERTAINTY_HELD
      pins { pages: 1 references: 1 }
    }
    owners {
      id: 5
      process { pid: 99 comm: "fio" unit: "fio.service" }
      door: "pin_user_pages_fast"
      subsystem: "direct_io"
      call_site: "iov_iter_extract_pages"
      holdings {
        certainty: CERTAINTY_HELD
        pins { pages: 1 }
        since { seconds: 998 }
        since_exact: true
      }
    }
  )pb");
}

TEST(PageTable, TellsOfKernelMemoryWhatItIsUsedFor) {
  v1::ExplainPageResponse page = Parse<v1::ExplainPageResponse>(R"pb(
    pfn: 0x180017
    block: 48
    state: "online"
    look { seconds: 999 nanos: 900000000 }
    nid: 0
    zone: "Normal"
    migratetype: "unmovable"
    page_class: "kernel"
    refcount: 1
    why: "slab"
  )pb");
  EXPECT_THAT(Page(page), HasSubstr("of a slab: it does not move."));
  page.set_why("vmemmap");
  page.set_struct_pages_of(49);
  EXPECT_THAT(Page(page), HasSubstr("memory49"));
  EXPECT_THAT(Page(page), HasSubstr("when that block is removed."));
}

TEST(PageTable, TellsWhatStandsThereAndWhoHoldsIt) {
  EXPECT_EQ(
      Page(Pinned()),
      R"(pfn 0x48d4c, physical 0x48d4c000: memory9, node 0, zone Movable, migratetype
  movable, pinned_exact, looked at 0.1 s ago
It is pinned: it does not move until that pin is released.
1,026 references, 1 pin (each is 1,024 references)

WHO HOLDS IT
fio(99): 1 page (4 KiB) held, short-term, for 2.0 s
  unit fio.service
  through direct_io: iov_iter_extract_pages called pin_user_pages_fast

WHAT WOULD SET IT FREE
stop or drain fio(99) of unit fio.service
)");
}

TEST(PageTable, SaysWhyNobodyIsNamed) {
  v1::ExplainPageResponse page = Pinned();
  page.clear_owners();
  page.mutable_attribution()->set_certainty(v1::CERTAINTY_UNATTRIBUTED);
  page.mutable_attribution()->set_reason("no_claim");
  EXPECT_THAT(Page(page), HasSubstr("WHO HOLDS IT\nnot known: "));
  EXPECT_THAT(Page(page), HasSubstr("only a reboot is sure"));
}

TEST(PageTable, WhatTheCounterDeniesIsNoPin) {
  v1::ExplainPageResponse page = Pinned();
  page.clear_attribution();
  page.clear_owners();
  EXPECT_THAT(
      Page(page),
      HasSubstr("plain\n  references in great number.\n1,026 references\n"));
  EXPECT_THAT(Page(page), Not(HasSubstr("WHO HOLDS IT")));
}

TEST(PageTable, SaysWhatThePageIsChargedTo) {
  const auto table = [](const std::string& more) {
    return PageTable(
        Parse<v1::ExplainPageResponse>(
            "pfn: 7 page_class: 'movable' look { seconds: 999 }" + more),
        kNow);
  };
  EXPECT_THAT(table(""), Not(HasSubstr("Charged")));
  EXPECT_THAT(table("memory_cgroup {}"),
              HasSubstr("\nCharged to no cgroup.\n"));
  EXPECT_THAT(table("memory_cgroup { id: 7 path: '/a\\033' }"),
              HasSubstr("\nCharged to cgroup /a\\x1b.\n"));
  EXPECT_THAT(table("memory_cgroup { id: 7 path: '/a' removed: true }"),
              HasSubstr("\nCharged to cgroup /a, removed since.\n"));
  EXPECT_THAT(table("memory_cgroup { id: 7 removed: true }"),
              HasSubstr("\nCharged to a removed cgroup.\n"));
  EXPECT_THAT(table("memory_cgroup { id: 7 }"),
              HasSubstr("\nCharged to cgroup #7.\n"));
}

TEST(PageTable, SaysWhatTheSearchOfPipesLeavesOpen) {
  const auto table = [](const std::string& more) {
    return PageTable(
        Parse<v1::ExplainPageResponse>(
            "pfn: 7 page_class: 'elevated' refcount: 2 look { seconds: 999 }" +
            more),
        kNow);
  };
  EXPECT_THAT(table(""), HasSubstr("is not observable here"));
  EXPECT_THAT(table(""), HasSubstr("--holders.infer would look"));
  EXPECT_THAT(table("mapped_by { processes { pid: 254 comm: 'hold' } "
                    "complete: true }"),
              HasSubstr("It is mapped by hold(254).\n"));
  EXPECT_THAT(table("mapped_by {}"),
              HasSubstr("mapped by nobody that was\n  found."));
  EXPECT_THAT(table("taken_by { process { pid: 254 comm: 'hold' } taken { "
                    "seconds: 997 } }"),
              HasSubstr("hold(254) took one last, through"));
  EXPECT_THAT(table(""), Not(HasSubstr("It is in no pipe")));
  EXPECT_THAT(table("pipes_searched: true"), HasSubstr("It is in no pipe"));
  const std::string held =
      table("reference_holders { process { pid: 254 comm: 'hold' } fd: 3 }");
  EXPECT_THAT(held, HasSubstr("hold(254): it is in the pipe of its file "
                              "descriptor 3\n"));
  EXPECT_THAT(held, Not(HasSubstr("observable")));
}

TEST(PageTable, EveryClassHasItsWords) {
  const auto* classes = v1::PageClasses::descriptor();
  for (int i = 0; i < classes->field_count(); ++i) {
    v1::ExplainPageResponse page = Pinned();
    page.set_page_class(classes->field(i)->name());
    const std::string text = Page(page);
    EXPECT_THAT(text, HasSubstr(classes->field(i)->name()));
  }
  v1::ExplainPageResponse page = Pinned();
  page.set_page_class("free");
  page.clear_refcount();
  page.clear_attribution();
  page.clear_owners();
  EXPECT_THAT(Page(page), HasSubstr("\nIt is free.\n"));
}

TEST(PageTable, KeepsToItsColumnsWhateverTheNames) {
  for (const char* name : kHostileNames) {
    v1::ExplainPageResponse page = Pinned();
    v1::Process& process = *page.mutable_owners(0)->mutable_process();
    process.set_comm(name);
    process.set_exe(name);
    process.set_unit(name);
    page.set_zone(name);
    page.set_migratetype(name);
    page.set_page_class(name);
    page.set_state(name);
    Page(page);
    page.clear_look();
    Page(page);
  }
}

TEST(ProcessTable, TellsWhatItHoldsTheLargestFirst) {
  const auto owners = Parse<v1::ListOwnersResponse>(R"pb(
    owners {
      id: 1
      process { pid: 812 comm: "qemu" }
      subsystem: "io_uring"
      calls: 1
      pages: 3
      holdings {
        certainty: CERTAINTY_HELD
        pins { pages: 3 }
        since { seconds: 990 }
        since_exact: true
      }
    }
    owners {
      id: 2
      long_term: true
      process { pid: 812 comm: "qemu" }
      subsystem: "vfio"
      calls: 22
      pages: 16
      holdings {
        certainty: CERTAINTY_HELD
        pins { pages: 16 }
        since { seconds: 980 }
        since_exact: true
      }
    }
    owners {
      id: 3
      process { pid: 812 comm: "qemu" }
      calls: 4
      pages: 4
    }
  )pb");
  EXPECT_EQ(Checked(ProcessTable(812, owners, kNow)),
            "qemu(812): 16 pages (64 KiB) held, long-term, for 20 s\n"
            "  through vfio: ? called ?\n"
            "qemu(812): 3 pages (12 KiB) held, short-term, for 10 s\n"
            "  through io_uring: ? called ?\n"
            "27 calls pinned 23 pages (92 KiB) in all\n");
}

TEST(ProcessTable, NothingNowIsNotNothingKnown) {
  v1::ListOwnersResponse owners;
  EXPECT_THAT(Checked(ProcessTable(7, owners, kNow)),
              HasSubstr("no pin of it is known"));
  v1::PinOwner& owner = *owners.add_owners();
  owner.mutable_process()->set_pid(7);
  owner.mutable_process()->set_comm("fio");
  owner.set_calls(1);
  owner.set_pages(23);
  EXPECT_EQ(Checked(ProcessTable(7, owners, kNow)),
            "fio(7): holds nothing now; 1 call pinned 23 pages (92 KiB) in "
            "all\n");
}

}  // namespace
}  // namespace pinwatch
