// SPDX-License-Identifier: Apache-2.0
#include "cli/block_table.h"

#include <gmock/gmock.h>

#include <iterator>
#include <set>

#include "tests/unit/cli_lines.h"

namespace pinwatch {
namespace {

using testing::HasSubstr;
using testing::Not;

const absl::Time kNow = absl::FromUnixSeconds(1000);

std::string Report(const v1::ExplainBlockResponse& block) {
  return Checked(BlockTable(block, kNow));
}

TEST(BlockTable, TellsWhoseStructPagesStandInIt) {
  v1::ExplainBlockResponse block = Parse<v1::ExplainBlockResponse>(R"pb(
    block: 8
    state: "online"
    zone: "Normal"
    verdict: VERDICT_BLOCKED_BY_KERNEL_MEMORY
    migratetypes {
      migratetype: "unmovable"
      classes { free: 20000 kernel: 2048 }
    }
    evidence { kernel: 1536 own_struct_pages: 512 }
    struct_pages { of_block: 8 pages: 512 }
    struct_pages { of_block: 48 pages: 512 }
    struct_pages { of_block: 49 pages: 512 }
    struct_pages { of_block: 51 pages: 1 }
  )pb");
  const std::string report = Report(block);
  EXPECT_THAT(report, HasSubstr("512 of the kernel's hold the struct pages of "
                                "this block, and go with it"));
  EXPECT_THAT(report, HasSubstr("1,025 pages hold the struct pages of "
                                "memory48-memory49, memory51"));
  EXPECT_THAT(report, HasSubstr("removed: memory48-memory49, memory51."));
}

v1::ExplainBlockResponse Pinned() {
  return Parse<v1::ExplainBlockResponse>(R"pb(
    block: 9
    state: "online"
    nid: 0
    zone: "Normal"
    verdict: VERDICT_BLOCKED_BY_LONG_TERM_PINS
    reason: "4,097 pages are pinned for long."
    look { seconds: 999 nanos: 700000000 }
    migratetypes {
      migratetype: "unmovable"
      classes { free: 20000 pinned_exact: 4097 kernel: 12 }
    }
    migratetypes {
      migratetype: "movable"
      classes { free: 659 movable: 8000 }
    }
    attributions {
      certainty: CERTAINTY_HELD
      pins { pages: 4090 references: 4090 }
    }
    attributions {
      certainty: CERTAINTY_UNATTRIBUTED
      reason: "pinned before pinwatchd attached"
      pins { pages: 3 references: 3 }
    }
    owners {
      id: 5
      process { pid: 99 comm: "fio" cgroup: "/user.slice" }
      door: "pin_user_pages_fast"
      subsystem: "direct_io"
      call_site: "iov_iter_extract_pages"
      holdings {
        certainty: CERTAINTY_ONE_OF
        pins { pages: 4 }
        since { seconds: 998 }
      }
    }
    owners {
      id: 3
      long_term: true
      process {
        pid: 812
        comm: "pin-iouring"
        exe: "/usr/bin/pin-iouring"
        unit: "demo.service"
      }
      via { pid: 813 comm: "helper" }
      door: "pin_user_pages_fast"
      subsystem: "io_uring"
      call_site: "io_sqe_buffer_register"
      kernel_stack: "io_pin_pages+0x42"
      kernel_stack: "io_sqe_buffer_register+0x9d"
      kernel_stack: "io_sqe_buffers_register+0x11c"
      kernel_stack: "__do_sys_io_uring_register+0x2f1"
      kernel_stack: "do_syscall_64+0x5c"
      user_stack: "main+0x12"
      holdings {
        certainty: CERTAINTY_HELD
        pins { pages: 4090 }
        since { seconds: 820 }
        since_exact: true
      }
    }
    blockers {
      pfn: 0x48001
      nr_pages: 1
      page_class: "pinned_exact"
      pins: 1
      certainty: CERTAINTY_HELD
      owners: 3
    }
    blockers {
      pfn: 0x48200
      nr_pages: 512
      page_class: "pinned_large"
      pins: 2
      certainty: CERTAINTY_SHARED
      owners: [ 3, 5, 77, 78 ]
    }
    blockers {
      pfn: 0x48400
      nr_pages: 1
      page_class: "pinned_exact"
      pins: 1
      certainty: CERTAINTY_UNATTRIBUTED
    }
    blockers {
      pfn: 0x48401
      nr_pages: 1
      page_class: "elevated"
      refcount: 3
      memory_cgroup { id: 7 path: "/a" }
    }
    blockers { pfn: 0x48402 nr_pages: 1 page_class: "kernel" refcount: 1 }
    blockers { pfn: 0x48403 nr_pages: 1 page_class: "kernel" refcount: 1 }
  )pb");
}

TEST(BlockTable, TellsWhoHoldsABlockAndWhatWouldSetItFree) {
  EXPECT_EQ(Report(Pinned()),
            R"(memory9: online, node 0, zone Normal, looked at 0.3 s ago
An offline now would fail, or not end, until long-term pins are released.
4,097 pages are pinned for long.

WHO HOLDS IT
pin-iouring(812): 4,090 pages (16.0 MiB) held, long-term, for 3 min
  unit demo.service, /usr/bin/pin-iouring, asked by helper(813)
  through io_uring: io_sqe_buffer_register called pin_user_pages_fast
  kernel stack: io_pin_pages+0x42 < io_sqe_buffer_register+0x9d <
    io_sqe_buffers_register+0x11c < __do_sys_io_uring_register+0x2f1 < ...
  user stack: main+0x12
fio(99): 4 pages (16 KiB) one of, short-term, for more than 2.0 s
  cgroup /user.slice
  through direct_io: iov_iter_extract_pages called pin_user_pages_fast
not known: 3 pages (12 KiB): pinned before pinwatchd attached

WHAT WOULD SET IT FREE
stop or drain pin-iouring(812) of unit demo.service
where the holder is not known, only a reboot is sure

WHAT STANDS IN IT, in pages
20,659 free, 8,000 movable, 4,097 pinned_exact, 12 kernel

FIRST PAGES IN THE WAY
pfn 0x48001 pinned_exact, held by pin-iouring(812)
pfn 0x48200 pinned_large, 512 pages, shared by pin-iouring(812), fio(99) and 2
  others
pfn 0x48400 pinned_exact, holder not known
pfn 0x48401 elevated, 3 references, charged to cgroup /a
pfn 0x48402 kernel, 1 reference
and 1 more; -o json shows them
)");
}

TEST(BlockTable, TellsOfAnOfflineBlockInTwoLines) {
  EXPECT_EQ(Report(Parse<v1::ExplainBlockResponse>(R"pb(
              block: 14
              state: "offline"
              zone: "none"
              verdict: VERDICT_ALREADY_OFFLINE
            )pb")),
            "memory14: offline\n"
            "An offline now needs nothing: it is offline.\n");
}

TEST(BlockTable, NamesEveryVerdictInWords) {
  std::set<std::string> words;
  for (int verdict = v1::VERDICT_UNKNOWN; verdict <= v1::Verdict_MAX;
       ++verdict) {
    v1::ExplainBlockResponse block;
    block.set_verdict(static_cast<v1::Verdict>(verdict));
    EXPECT_TRUE(words.insert(Report(block)).second) << verdict;
  }
  v1::ExplainBlockResponse block;
  EXPECT_THAT(Report(block), HasSubstr("not known"));
}

TEST(BlockTable, ShortTermPinsAreWaitedFor) {
  v1::ExplainBlockResponse block = Pinned();
  block.set_verdict(v1::VERDICT_BLOCKED_BY_SHORT_TERM_PINS);
  EXPECT_THAT(
      Report(block),
      HasSubstr("WHAT WOULD SET IT FREE\n"
                "wait: short-term pins pass with the I/O that took them; else\n"
                "perhaps: stop or drain fio(99)\n\n"));
}

TEST(BlockTable, AProcessThatEndedCannotBeStopped) {
  v1::ExplainBlockResponse block = Pinned();
  v1::PinOwner* owner = block.mutable_owners(1);
  owner->mutable_process()->set_ended(true);
  owner->mutable_holdings(0)->set_certainty(v1::CERTAINTY_PROBABLE);
  const std::string report = Report(block);
  EXPECT_THAT(report, HasSubstr("pin-iouring(812), which has ended: 4,090 "
                                "pages (16.0 MiB) probable, long-term"));
  EXPECT_THAT(report, HasSubstr("pin-iouring(812) has ended; stop what it"));
  EXPECT_THAT(report, Not(HasSubstr("stop or drain pin-iouring")));
}

TEST(BlockTable, PinsOfNobodyKnownNeedAReboot) {
  v1::ExplainBlockResponse block = Pinned();
  block.clear_owners();
  block.clear_attributions();
  EXPECT_THAT(Report(block),
              HasSubstr("WHAT WOULD SET IT FREE\nwhere the holder is not "
                        "known, only a reboot is sure\n"));
}

TEST(BlockTable, KeepsToOneScreenWhateverTheNamesAndNumbers) {
  v1::ExplainBlockResponse block = Pinned();
  block.set_block(UINT64_MAX);
  block.clear_owners();
  for (int i = 0; i < 1000; ++i) {
    const char* name = kHostileNames[i % std::size(kHostileNames)];
    v1::PinOwner* owner = block.add_owners();
    owner->set_id(i);
    owner->set_long_term(true);
    owner->mutable_process()->set_pid(UINT32_MAX - i);
    owner->mutable_process()->set_comm(name);
    owner->mutable_process()->set_exe(name);
    owner->mutable_process()->set_unit(name);
    owner->set_subsystem(name);
    owner->set_door(name);
    owner->set_call_site(name);
    for (int frame = 0; frame < 100; ++frame) owner->add_kernel_stack(name);
    owner->add_holdings()->mutable_pins()->set_pages(UINT64_MAX / 2000);
    v1::BlockingPage* page = block.add_blockers();
    page->set_pfn(UINT64_MAX);
    page->set_page_class(name);
    page->add_owners(i);
  }
  block.set_state(kHostileNames[0]);
  block.set_zone(kHostileNames[1]);
  block.set_reason(kHostileNames[0]);
  const std::string report = Report(block);
  EXPECT_LE(std::count(report.begin(), report.end(), '\n'), 80);
  EXPECT_THAT(report, HasSubstr("and 996 more; -o json shows all"));
}

TEST(BlockTable, NamesWhoHasPagesInTheWayInAPipe) {
  const std::string text = Report(Parse<v1::ExplainBlockResponse>(R"pb(
    block: 9
    state: "online"
    verdict: VERDICT_BLOCKED_BY_PLAIN_REFERENCES
    look { seconds: 999 }
    blockers { pfn: 1 nr_pages: 1 page_class: "elevated" refcount: 2 }
    blockers {
      pfn: 2
      nr_pages: 1
      page_class: "elevated"
      refcount: 2
      reference_holders {
        process { pid: 253 comm: "hold-vmsplice" }
        through: "pipe"
        fd: 5
      }
    }
  )pb"));
  EXPECT_THAT(text, HasSubstr("WHO HOLDS IT\n"
                              "hold-vmsplice(253): 1 of the first 2 pages in "
                              "the way is in the pipe of its file\n"));
  EXPECT_THAT(text, HasSubstr("whoever reads the pipe empty"));
  EXPECT_THAT(text, Not(HasSubstr("not observable")));
}

}  // namespace
}  // namespace pinwatch
