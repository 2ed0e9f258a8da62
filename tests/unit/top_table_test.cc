// SPDX-License-Identifier: Apache-2.0
#include "cli/top_table.h"

#include <gmock/gmock.h>

#include "tests/unit/cli_lines.h"

namespace pinwatch {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const absl::Time kNow = absl::FromUnixSeconds(100'000);

std::string Top(const v1::ListOwnersResponse& owners,
                const std::string& by = "", size_t rows = 0) {
  return Checked(TopTable(owners, {.now = kNow, .by = by, .rows = rows}));
}

v1::ListOwnersResponse Owners() {
  return Parse<v1::ListOwnersResponse>(R"pb(
    owners {
      id: 3
      long_term: true
      process { pid: 812 comm: "qemu-system-x86" unit: "machine-a.scope" }
      subsystem: "vfio"
      holdings {
        zone: "Normal"
        certainty: CERTAINTY_HELD
        pins { pages: 1048576 }
        since { seconds: 10000 }
        since_exact: true
      }
      holdings {
        zone: "DMA32"
        certainty: CERTAINTY_HELD
        pins { pages: 4097 }
        since { seconds: 99000 }
        since_exact: true
      }
    }
    owners {
      id: 4
      process { pid: 99 comm: "postgres" cgroup: "/system.slice/pg.service" }
      subsystem: "direct_io"
      holdings {
        nid: 1
        zone: "Movable"
        certainty: CERTAINTY_ONE_OF
        pins { pages: 23 }
        since { seconds: 99998 }
      }
    }
    owners {
      id: 9
      long_term: true
      process { pid: 812 comm: "qemu-system-x86" unit: "machine-a.scope" }
      subsystem: "vfio"
      holdings {
        zone: "DMA32"
        certainty: CERTAINTY_HELD
        pins { pages: 3 }
        since { seconds: 98000 }
        since_exact: true
      }
    }
    attributions {
      certainty: CERTAINTY_HELD
      pins { pages: 1052676 }
    }
    attributions {
      certainty: CERTAINTY_UNATTRIBUTED
      reason: "pinned before pinwatchd attached"
      pins { pages: 300 }
    }
    attributions {
      nid: 1
      certainty: CERTAINTY_UNATTRIBUTED
      reason: "pinned before pinwatchd attached"
      pins { pages: 7 }
    }
    attributions {
      certainty: CERTAINTY_PROBABLE
      reason: "the process has ended"
      pins { pages: 1 }
    }
    claims { lost_busy: 1 lost_owners: 2 lost_pages: 5 short_term_skipped: 9 }
  )pb");
}

TEST(TopTable, ShowsWhoHoldsMostFirst) {
  EXPECT_EQ(
      Top(Owners()),
      R"(    PID COMM        SUBSYSTEM ZONE      KIND    PAGES     SIZE HOW         SINCE
    812 qemu-syste~ vfio      0/Normal  long  1.049 M    4 GiB held         25 h
    812 qemu-syste~ vfio      0/DMA32   long    4,100 16.0 MiB held       33 min
     99 postgres    direct_io 1/Movable short      23   92 KiB one of     >2.0 s
probable: 1 page (4 KiB): the process has ended
unattributed: 307 pages (1.20 MiB): pinned before pinwatchd attached
lost: claims of 3 calls and 5 pages since pinwatchd attached
sampled: 9 short-term calls were left out

HOW: held by it alone; shared with others; one of several, which is not known;
  probable: it has ended, or the claim is old. Pages of the middle two count
  with each. SINCE: ago; > longer ago than that.
)");
}

TEST(TopTable, AddsUpByOneThing) {
  EXPECT_THAT(
      Top(Owners(), "process"),
      StartsWith(
          R"(PROCESS                                KIND    PAGES     SIZE HOW         SINCE
qemu-system-x86(812)                   long  1.053 M 4.02 GiB held         25 h
postgres(99)                           short      23   92 KiB one of     >2.0 s
)"));
  EXPECT_THAT(Top(Owners(), "unit"), HasSubstr("machine-a.scope      "));
  EXPECT_THAT(Top(Owners(), "unit"), HasSubstr("\n-          "));
  EXPECT_THAT(Top(Owners(), "cgroup"), HasSubstr("/system.slice/pg.service "));
  EXPECT_THAT(Top(Owners(), "subsystem"), HasSubstr("\ndirect_io     "));
  EXPECT_THAT(Top(Owners(), "zone"), HasSubstr("\n1/Movable     "));
}

TEST(TopTable, AddsUpByDeviceAsFarAsItIsKnown) {
  v1::ListOwnersResponse owners = Owners();
  owners.mutable_owners(0)->set_devices_known(true);
  owners.mutable_owners(0)->add_devices("/dev/vfio/16");
  owners.mutable_owners(1)->set_devices_known(true);
  EXPECT_THAT(
      Top(owners, "device"),
      StartsWith(
          R"(DEVICE                                 KIND    PAGES     SIZE HOW         SINCE
/dev/vfio/16                           long  1.053 M 4.02 GiB held         25 h
direct_io, device not known            short      23   92 KiB one of     >2.0 s
unknown, of vfio                       long        3   12 KiB held       33 min
)"));
  owners.mutable_owners(0)->add_devices("/dev/vfio/17");
  EXPECT_THAT(Top(owners, "device"),
              HasSubstr("\none of /dev/vfio/16, /dev/vfio/17 "));
}

TEST(TopTable, SaysHowMuchTheRowsThatAreNotShownHold) {
  EXPECT_THAT(Top(Owners(), "", 1),
              HasSubstr("25 h\nand 2 more with 4,123 pages (16.1 MiB); -n 0 "
                        "shows all\nprobable"));
}

TEST(TopTable, SaysWhenNobodyIsKnownToHoldAnything) {
  EXPECT_EQ(Top({}), "no page is known to be held by a process\n");
  EXPECT_EQ(Top(Parse<v1::ListOwnersResponse>(R"pb(
              attributions {
                certainty: CERTAINTY_UNATTRIBUTED
                pins { pages: 1 }
              })pb")),
            "no page is known to be held by a process\n"
            "unattributed: 1 page (4 KiB): no reason is given\n");
}

TEST(TopTable, TellsWhoIsInferredApartFromWhoClaims) {
  EXPECT_EQ(Top(Parse<v1::ListOwnersResponse>(R"pb(
              attributions {
                certainty: CERTAINTY_INFERRED
                reason: "mapped_by_one"
                pins { pages: 23 }
              }
              inferred {
                process { pid: 812 comm: "qemu" }
                evidence: "VmPin 92 kB"
                evidence: "vfio"
                pages {
                  alone: true
                  pins { pages: 23 }
                }
                pages { pins { pages: 7 } }
              })pb")),
            "no page is known to be held by a process\n"
            "inferred: 23 pages (92 KiB): of those that pin, one process maps "
            "it\n"
            "qemu(812), inferred: 23 pages (92 KiB), 7 pages (28 KiB) as one "
            "of several; it\n"
            "  maps them; VmPin 92 kB, vfio\n");
}

TEST(TopTable, KeepsToItsColumnsWhateverTheNamesAndFigures) {
  v1::ListOwnersResponse owners;
  for (const char* name : kHostileNames) {
    v1::PinOwner* owner = owners.add_owners();
    v1::Process* process = owner->mutable_process();
    process->set_pid(UINT32_MAX);
    process->set_comm(name);
    process->set_unit(name);
    process->set_cgroup(name);
    owner->set_subsystem(name);
    owner->set_devices_known(true);
    owner->add_devices(name);
    for (const int certainty : {0, 1, 2, 3, 4, 5, 99}) {
      v1::PinHolding* holding = owner->add_holdings();
      holding->set_nid(UINT32_MAX);
      holding->set_zone(name);
      holding->set_certainty(static_cast<v1::Certainty>(certainty));
      holding->mutable_pins()->set_pages(UINT64_MAX / 8);
      holding->mutable_since()->set_seconds(-60'000'000'000);
    }
    v1::PinAttribution* attribution = owners.add_attributions();
    attribution->set_certainty(v1::CERTAINTY_UNATTRIBUTED);
    attribution->set_reason(name);
    attribution->mutable_pins()->set_pages(UINT64_MAX / 8);
  }
  for (const char* by :
       {"", "process", "unit", "cgroup", "subsystem", "device", "zone"})
    Top(owners, by);
}

TEST(TopTable, SaysWhoHoldsForLongerThanItShould) {
  v1::ListOwnersResponse owners = Owners();
  v1::PinGrowth& growth = *owners.mutable_owners(0)->mutable_growth();
  growth.mutable_since()->set_seconds(98'800);
  growth.set_from_pages(23);
  growth.set_rises(7);
  owners.mutable_owners(1)->mutable_holdings(0)->set_overdue_pages(3);
  const std::string text = Top(owners);
  EXPECT_THAT(
      text,
      HasSubstr("qemu-system-x86(812): suspected leak: from 23 to 1,052,673 "
                "pages in 20 min, 7\n  rises and never a fall\n"));
  EXPECT_THAT(text, HasSubstr("postgres(99): short-term acting long-term: 3 "
                              "pages (12 KiB) held for up to 2.0 s\n"));
}

TEST(TopTable, ManyConcernsAreCounted) {
  v1::ListOwnersResponse owners;
  for (int i = 0; i < 8; ++i) *owners.add_owners() = Owners().owners(1);
  for (v1::PinOwner& owner : *owners.mutable_owners())
    owner.mutable_holdings(0)->set_overdue_pages(3);
  EXPECT_THAT(Top(owners), HasSubstr("and 3 more of that kind"));
}

TEST(TopTable, PagesOfCmaAreTold) {
  v1::ListOwnersResponse owners = Owners();
  owners.mutable_owners(1)->mutable_holdings(0)->set_cma(true);
  EXPECT_THAT(Top(owners), HasSubstr(" 1/CMA "));
  EXPECT_THAT(Top(owners, "zone"), HasSubstr("\n1/Movable, CMA "));
}

TEST(TopTable, ByStackShowsTheWholeStackOfEachRow) {
  v1::ListOwnersResponse owners = Owners();
  v1::PinOwner& owner = *owners.mutable_owners(0);
  owner.add_user_stack("ibv_reg_mr+7");
  owner.add_user_stack("main+23");
  owner.add_kernel_stack("ib_umem_get+99");
  owner.set_call_site("ib_umem_get");
  EXPECT_THAT(Top(owners, "stack"),
              HasSubstr("\n  ibv_reg_mr+7 < main+23 < ib_umem_get+99\n"));
}

}  // namespace
}  // namespace pinwatch
