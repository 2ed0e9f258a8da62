// SPDX-License-Identifier: Apache-2.0
//
// Memory that comes and goes while the census looks: run by name, in a guest
// that has QEMU's own monitor at one of its ports, and no ZONE_MOVABLE but what
// a test makes of the memory that it adds.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

namespace fs = std::filesystem;

constexpr char kMemory[] = "/sys/devices/system/memory/";
constexpr uint64_t kBlocksADimm = 2;

// QEMU, by its machine protocol.
class Monitor {
 public:
  Monitor() {
    for (const auto& port : fs::directory_iterator("/sys/class/virtio-ports"))
      if (ReadFile(port.path() / "name") == "monitor\n")
        fd_ = open(("/dev/" + port.path().filename().string()).c_str(),
                   O_RDWR | O_CLOEXEC);
    if (fd_ < 0) Fail("no port of this guest leads to QEMU's monitor");
    Execute("qmp_capabilities");
  }
  ~Monitor() { close(fd_); }

  Json Execute(const std::string& command,
               const Json& arguments = Json::object()) {
    const Json line = {
        {"execute", command}, {"arguments", arguments}, {"id", ++id_}};
    const std::string text = line.dump() + "\n";
    if (write(fd_, text.data(), text.size()) !=
        static_cast<ssize_t>(text.size()))
      Fail("write to the monitor");
    // Before the answer there may be a greeting and events.
    Json answer;
    do answer = Json::parse(ReadLine());
    while (answer.value("id", 0) != id_);
    if (answer.contains("error")) Fail(answer.dump());
    return answer.at("return");
  }

 private:
  std::string ReadLine() {
    size_t end;
    while ((end = unread_.find('\n')) == std::string::npos) {
      pollfd wait{.fd = fd_, .events = POLLIN, .revents = 0};
      char part[4096];
      if (poll(&wait, 1, 10'000) != 1) Fail("the monitor does not answer");
      const ssize_t size = read(fd_, part, sizeof(part));
      if (size > 0) unread_.append(part, static_cast<size_t>(size));
    }
    const std::string line = unread_.substr(0, end);
    unread_.erase(0, end + 1);
    return line;
  }

  int fd_ = -1;
  int id_ = 0;
  std::string unread_;
};

std::set<uint64_t> BlockIds() {
  std::set<uint64_t> ids;
  for (const auto& entry : fs::directory_iterator(kMemory)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("memory")) ids.insert(std::stoull(name.substr(6)));
  }
  return ids;
}

std::string StateOf(uint64_t block) {
  return kMemory + ("memory" + std::to_string(block)) + "/state";
}

// A DIMM, plugged in.
class Dimm {
 public:
  Dimm(Monitor& monitor, const std::string& how, uint64_t blocks = kBlocksADimm)
      : monitor_(monitor), before_(BlockIds()) {
    static int nr = 0;
    id_ = std::to_string(++nr);
    monitor_.Execute("object-add",
                     {{"qom-type", "memory-backend-ram"},
                      {"id", "memory" + id_},
                      {"size", blocks * BlockPages() * kPageBytes}});
    monitor_.Execute("device_add", {{"driver", "pc-dimm"},
                                    {"id", "dimm" + id_},
                                    {"memdev", "memory" + id_}});
    if (!Eventually(seconds(20), [&] {
          return BlockIds().size() == before_.size() + blocks;
        }))
      Fail("the memory does not come");
    for (const uint64_t block : BlockIds())
      if (!before_.contains(block)) blocks_.push_back(block);
    for (const uint64_t block : blocks_) WriteFile(StateOf(block), how);
  }

  // Memory in use moves out first, so that may take a while.
  void Remove() {
    monitor_.Execute("device_del", {{"id", "dimm" + id_}});
    if (!Eventually(kOfflineTimeout, [&] { return BlockIds() == before_; }))
      Fail("the memory does not go");
  }

  const std::vector<uint64_t>& blocks() const { return blocks_; }

 private:
  Monitor& monitor_;
  const std::set<uint64_t> before_;
  std::string id_;
  std::vector<uint64_t> blocks_;
};

// Memory that the guest gives back when asked to.
class VirtioMem {
 public:
  VirtioMem(Monitor& monitor, const std::string& how)
      : monitor_(monitor), before_(BlockIds()) {
    Request(kBlocksADimm * BlockPages() * kPageBytes);
    // The driver may wait until one block is online before it adds the next.
    while (blocks_.size() < kBlocksADimm) {
      if (!Eventually(seconds(20), [&] {
            return BlockIds().size() > before_.size() + blocks_.size();
          }))
        Fail("the memory does not come");
      for (const uint64_t block : BlockIds())
        if (!before_.contains(block) && !std::ranges::count(blocks_, block)) {
          blocks_.push_back(block);
          WriteFile(StateOf(block), how);
        }
    }
  }

  void Remove() {
    Request(0);
    if (!Eventually(kOfflineTimeout, [&] { return BlockIds() == before_; }))
      Fail("the memory does not go");
  }

  void Request(uint64_t bytes) {
    monitor_.Execute(
        "qom-set",
        {{"path", kDevice}, {"property", "requested-size"}, {"value", bytes}});
  }

  // What the guest has plugged, by QEMU's word.
  uint64_t size() {
    return monitor_
        .Execute("qom-get", {{"path", kDevice}, {"property", "size"}})
        .get<uint64_t>();
  }

  const std::vector<uint64_t>& blocks() const { return blocks_; }

 private:
  static constexpr char kDevice[] = "/machine/peripheral/virtio-mem";

  Monitor& monitor_;
  const std::set<uint64_t> before_;
  std::vector<uint64_t> blocks_;
};

class HotAdd : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    WriteFile(std::string(kMemory) + "auto_online_blocks", "offline");
    if (!monitor_) {
      holes_ = ReadUnavailablePages();
      monitor_ = std::make_unique<Monitor>();
    }
    tainted_ = ReadFile("/proc/sys/kernel/tainted");
  }
  void TearDown() override {
    // As by a warning.
    EXPECT_EQ(ReadFile("/proc/sys/kernel/tainted"), tainted_);
    GuestTest::TearDown();
  }
  Monitor& monitor() { return *monitor_; }
  const std::map<ZoneId, uint64_t>& holes() const { return holes_; }

 private:
  static inline std::unique_ptr<Monitor> monitor_;
  static inline std::map<ZoneId, uint64_t> holes_;
  std::string tainted_;
};

double BlocksInMetrics() {
  return Sum(ReadMetrics(), "pinwatch_memory_blocks");
}

// These pins are told, and no others, whatever becomes of other memory.
void ExpectTold(const Json& snapshot, const PinsByZone& pins) {
  PinsByZone confirmed;
  for (const Json& zone : snapshot.at("zones"))
    for (const Json& part : zone.at("migratetypes")) {
      EXPECT_EQ(part.at("possible").at("references"), 0) << zone;
      Pins more{part.at("confirmed").at("pages"),
                part.at("confirmed").at("references")};
      if (more != Pins{})
        confirmed =
            confirmed + PinsByZone{{{zone.at("nid"), zone.at("name")}, more}};
    }
  EXPECT_EQ(confirmed, pins);
}

// `holes` is what ReadUnavailablePages() said before the log was full of
// blocks.
void ExpectZonesArePresent(const Json& snapshot,
                           std::map<ZoneId, uint64_t> holes) {
  for (const ZoneSpan& zone : ReadZones())
    EXPECT_EQ(PagesInZone(snapshot, zone.id),
              zone.present_pages + holes[zone.id])
        << zone.id.second;
}

uint64_t IsolatedPages(const Json& snapshot) {
  uint64_t pages = 0;
  for (const Json& zone : snapshot.at("zones"))
    for (const Json& part : zone.at("migratetypes")) {
      if (part.at("migratetype") != "isolate") continue;
      for (const Json& count : part.at("classes"))
        pages += count.get<uint64_t>();
    }
  return pages;
}

TEST_F(HotAdd, NewBlocksAreLookedAtAndRemovedOnesAreForgotten) {
  Workload workload({"pin-iouring", "--pages", "23"});
  const PinsByZone pins = PinsOf(workload.pfns());
  const double blocks = BlocksInMetrics();
  ASSERT_EQ(blocks, BlockIds().size());
  for (int round = 0; round < 2; ++round) {
    Dimm dimm(monitor(), "online_movable");
    // When its pages are looked at unasked is a matter of the budget.
    EXPECT_TRUE(Eventually(seconds(5), [&] {
      return BlocksInMetrics() == blocks + kBlocksADimm;
    }));
    const Json with = FreshSnapshot();
    ExpectTold(with, pins);
    ExpectZonesArePresent(with, holes());
    ExpectCountersAgree(with);
    EXPECT_EQ(Sum(ReadMetrics(), "pinwatch_pages", {{"mem_zone", "Movable"}}),
              kBlocksADimm * BlockPages());

    dimm.Remove();
    EXPECT_TRUE(Eventually(seconds(5), [&] {
      return BlocksInMetrics() == blocks &&
             std::isnan(Sum(ReadMetrics(), "pinwatch_pages",
                            {{"mem_zone", "Movable"}}));
    }));
    const Json without = FreshSnapshot();
    ExpectTold(without, pins);
    ExpectZonesArePresent(without, holes());
    ExpectCountersAgree(without);
    EXPECT_THROW(Ask({"pinwatch", "explain",
                      "memory" + std::to_string(dimm.blocks()[0])}),
                 std::runtime_error);
  }
  EXPECT_EQ(workload.Release().at("moved_while_held"), 0);
}

// What the kernel takes for them it takes from memory that is there.
TEST_F(HotAdd, StructPagesOfADimmStandInOtherMemoryAndGoWithIt) {
  Dimm dimm(monitor(), "online_movable");
  const auto by_block = CountStructPages();
  for (const uint64_t block : dimm.blocks()) {
    ASSERT_TRUE(by_block.contains(block)) << block;
    uint64_t pages = 0;
    for (const auto& [where, count] : by_block.at(block)) {
      EXPECT_FALSE(std::ranges::count(dimm.blocks(), where)) << where;
      pages += count;
    }
    EXPECT_EQ(pages, BlockPages() / 64) << block;
  }
  dimm.Remove();
  const auto after = CountStructPages();
  for (const uint64_t block : dimm.blocks())
    EXPECT_FALSE(after.contains(block)) << block;
}

// To be run by name where the kernel takes from a new block what it needs for
// its struct pages: memory_hotplug.memmap_on_memory=1.
class SelfHosted : public HotAdd {};

TEST_F(SelfHosted, ABlocksOwnStructPagesDoNotKeepIt) {
  // Of one block: before Linux v6.6 no larger piece holds its own.
  Dimm dimm(monitor(), "online_kernel", /*blocks=*/1);
  const auto by_block = CountStructPages();
  for (const uint64_t block : dimm.blocks()) {
    EXPECT_EQ(by_block.at(block),
              (std::map<uint64_t, uint64_t>{{block, BlockPages() / 64}}));
    const Json told = ExplainBlock(block);
    EXPECT_EQ(told.at("evidence").at("own_struct_pages"), BlockPages() / 64);
    EXPECT_EQ(told.at("evidence").at("kernel"), 0) << told;
    // Others may have come to use it.
    EXPECT_TRUE(told.at("verdict") == "VERDICT_REMOVABLE" ||
                told.at("verdict") == "VERDICT_REMOVABLE_AFTER_MIGRATION")
        << told;
    EXPECT_TRUE(told.at("blockers").empty()) << told;
    const Json page = ExplainPage(block * BlockPages());
    EXPECT_EQ(page.at("struct_pages_of"), block) << page;
    EXPECT_EQ(page.at("why"), "vmemmap") << page;
  }
  for (const uint64_t block : dimm.blocks()) {
    // It throws where the kernel refuses.
    WriteFile(StateOf(block), "offline");
    EXPECT_EQ(ReadFile(StateOf(block)), "offline\n");
  }
  dimm.Remove();
}

// By which roads the blocks have gone online, and then offline again.
using Roads = std::pair<std::set<std::string>, std::set<std::string>>;

Roads RoadsOf(const std::vector<uint64_t>& blocks) {
  Roads roads;
  const auto read = [&] {
    roads = {};
    std::map<std::string, std::set<uint64_t>> done;
    const Json answer = ListAttempts();
    for (const Json& attempt : answer.at("attempts")) {
      if (!std::ranges::count(blocks, attempt.at("block").get<uint64_t>()) ||
          attempt.at("outcome") != "ok")
        continue;
      done[attempt.at("operation")].insert(attempt.at("block").get<uint64_t>());
      (attempt.at("operation") == "online" ? roads.first : roads.second)
          .insert(attempt.at("road").get<std::string>());
    }
    return done["online"].size() == blocks.size() &&
           done["offline"].size() == blocks.size();
  };
  EXPECT_TRUE(Eventually(seconds(30), read));
  return roads;
}

TEST_F(HotAdd, ADimmGoesByAcpi) {
  Dimm dimm(monitor(), "online_movable");
  dimm.Remove();
  EXPECT_EQ(RoadsOf(dimm.blocks()), (Roads{{"sysfs"}, {"acpi"}}));
}

TEST_F(HotAdd, WhatVirtioMemTakesBackGoesByIt) {
  VirtioMem memory(monitor(), "online_movable");
  memory.Remove();
  EXPECT_EQ(RoadsOf(memory.blocks()), (Roads{{"sysfs"}, {"virtio_mem"}}));
}

// What pinwatch says of the device, after a look at its blocks.
Json AskAboutDevice(const std::string& name, Json* blocks = nullptr) {
  const Json answer = Json::parse(
      Ask({"pinwatch", "blocks", "--device", name, "--fresh", "-o", "json"},
          seconds(60)));
  if (blocks) {
    *blocks = Json::array();
    for (const Json& block : answer.at("blocks")) {
      EXPECT_EQ(block.at("device"), name);
      blocks->push_back(block.at("block"));
    }
  }
  for (const Json& device : answer.at("devices"))
    if (device.at("name") == name) return device;
  Fail("no device " + name + " in " + answer.dump());
}

std::string NameOfVirtioMem() {
  for (const auto& entry :
       fs::directory_iterator("/sys/bus/virtio/drivers/virtio_mem"))
    if (entry.path().filename().string().starts_with("virtio"))
      return entry.path().filename();
  Fail("the driver has no device");
}

// Before Linux v5.11 the driver's memory tells nothing to who does not know it.
void ExpectRequested(const Json& device, uint64_t bytes) {
  if (fs::exists("/sys/kernel/btf/virtio_mem"))
    EXPECT_EQ(device.at("requested_bytes"), bytes);
  else
    EXPECT_FALSE(device.contains("requested_bytes")) << device;
}

TEST_F(HotAdd, WhatVirtioMemHasPluggedIsToldToThePage) {
  constexpr uint64_t kMiB = 1 << 20;
  const std::string name = NameOfVirtioMem();
  VirtioMem memory(monitor(), "online_movable");
  ASSERT_EQ(memory.size(), 256 * kMiB);
  Json blocks;
  Json device = AskAboutDevice(name, &blocks);
  EXPECT_EQ(blocks, Json(memory.blocks()));
  EXPECT_EQ(device.at("kind"), "virtio_mem");
  EXPECT_EQ(device.at("region_bytes"), 256 * kMiB);
  EXPECT_EQ(device.at("blocks"), kBlocksADimm);
  EXPECT_EQ(device.at("online_blocks"), kBlocksADimm);
  EXPECT_EQ(device.at("unplugged_pages"), 0);
  EXPECT_EQ(device.at("plugged_bytes"), memory.size());
  ExpectRequested(device, 256 * kMiB);

  // Less than a block: parts of blocks go.
  memory.Request(182 * kMiB);
  ASSERT_TRUE(
      Eventually(kOfflineTimeout, [&] { return memory.size() <= 184 * kMiB; }));
  device = AskAboutDevice(name);
  EXPECT_EQ(device.at("plugged_bytes"), memory.size());
  EXPECT_EQ(device.at("unplugged_pages"),
            (256 * kMiB - memory.size()) / kPageBytes);
  EXPECT_GE(device.at("partly_plugged_blocks"), 1);
  ExpectRequested(device, 182 * kMiB);

  // One page keeps the rest of its block from going.
  {
    Workload holder({"hold-vmsplice", "--pages", "1", "--references", "1"});
    ASSERT_EQ(ZoneOf(holder.pfns().at(0)).second, "Movable");
    memory.Request(0);
    const bool is_stuck = Eventually(kOfflineTimeout, [&] {
      return memory.size() > 0 && memory.size() <= 8 * kMiB;
    });
    EXPECT_TRUE(is_stuck) << memory.size() / kMiB << " MiB";
    device = AskAboutDevice(name, &blocks);
    EXPECT_EQ(device.at("plugged_bytes"), memory.size());
    EXPECT_EQ(device.at("partly_plugged_blocks"), 1);
    ExpectRequested(device, 0);
    EXPECT_EQ(blocks, Json::array({holder.pfns().at(0) / BlockPages()}));
    const std::string text = Ask({"pinwatch", "explain", name}, seconds(30));
    EXPECT_NE(text.find("The host asks it to have 0 B"), std::string::npos)
        << text;
    EXPECT_NE(text.find("1 block is there in part"), std::string::npos) << text;
  }
  // The driver waits for a while before it tries again unasked.
  memory.Request(2 * kMiB);
  memory.Remove();
}

TEST_F(HotAdd, ADimmIsTheBlocksThatItsAcpiDeviceNames) {
  Dimm dimm(monitor(), "online_movable");
  // The kernel's links from the device to its blocks.
  std::map<std::string, std::set<uint64_t>> named;
  for (const auto& device : fs::directory_iterator("/sys/bus/acpi/devices")) {
    const std::string name = device.path().filename();
    if (!name.starts_with("PNP0C80")) continue;
    for (const auto& entry : fs::directory_iterator(device.path())) {
      if (!entry.path().filename().string().starts_with("physical_node"))
        continue;
      const std::string block =
          fs::read_symlink(entry.path()).filename().string();
      named[name].insert(std::stoull(block.substr(sizeof("memory") - 1)));
    }
  }
  ASSERT_EQ(named.size(), 1u);
  const auto& [name, ids] = *named.begin();
  EXPECT_EQ(ids,
            std::set<uint64_t>(dimm.blocks().begin(), dimm.blocks().end()));
  Json blocks;
  const Json device = AskAboutDevice(name, &blocks);
  EXPECT_EQ(blocks, Json(ids));
  EXPECT_EQ(device.at("kind"), "dimm");
  EXPECT_EQ(device.at("online_blocks"), kBlocksADimm);
  EXPECT_NE(Ask({"pinwatch", "explain", name}, seconds(30)).find("a DIMM"),
            std::string::npos);
  dimm.Remove();
}

TEST_F(HotAdd, PinsStayRightWhileBlocksGoAndComeAsFastAsTheyCan) {
  Workload workload({"pin-iouring", "--pages", "23"});
  const PinsByZone pins = PinsOf(workload.pfns());
  Dimm dimm(monitor(), "online_movable");
  std::atomic<bool> done = false;
  std::atomic<int> turns = 0;
  std::vector<std::thread> threads;
  for (const uint64_t block : dimm.blocks())
    threads.emplace_back([&, path = StateOf(block)] {
      while (!done) {
        std::ofstream(path) << "offline";
        std::ofstream online(path);
        if (online << "online_movable" << std::flush) ++turns;
      }
    });
  int looks = 0;
  for (; looks < 7 || turns < 23; ++looks) {
    const Json snapshot = FreshSnapshot();
    ExpectTold(snapshot, pins);
    const Json& node = snapshot.at("nodes").at(0);
    EXPECT_EQ(node.at("outstanding_references"), 23);
    EXPECT_EQ(node.at("census_references"), 23);
    if (HasFailure()) break;
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  for (const uint64_t block : dimm.blocks())
    EXPECT_EQ(ReadFile(StateOf(block)), "online\n");
  const Json after = FreshSnapshot();
  ExpectTold(after, pins);
  ExpectZonesArePresent(after, holes());
  ExpectCountersAgree(after);
  dimm.Remove();
}

TEST_F(HotAdd, ABlockOnItsWayOutIsIsolatedPageByPage) {
  Dimm dimm(monitor(), "online_movable");
  ASSERT_EQ(IsolatedPages(FreshSnapshot()), 0u);
  {
    Workload holder({"hold-vmsplice", "--pages", "1", "--references", "1"});
    const uint64_t block = holder.pfns().at(0) / BlockPages();
    ASSERT_EQ(ZoneOf(holder.pfns().at(0)).second, "Movable");
    Process offline({"memory-block", "offline", std::to_string(block)});
    EXPECT_TRUE(Eventually(seconds(20), [&] {
      return IsolatedPages(FreshSnapshot()) == BlockPages();
    }));
    EXPECT_EQ(IsolatedPages(FreshSnapshot()), BlockPages());
    offline.Signal(SIGTERM);
    EXPECT_EQ(offline.Wait(kOfflineTimeout), 1);
    EXPECT_EQ(IsolatedPages(FreshSnapshot()), 0u);
  }
  dimm.Remove();
}

// The last, since memory of ZONE_NORMAL seldom goes again.
TEST_F(HotAdd, PinsInNewMemoryAreHeldByTheirProcess) {
  const Dimm dimm(monitor(), "online_kernel");
  const uint64_t start = dimm.blocks()[0] * BlockPages();
  const uint64_t end = start + kBlocksADimm * BlockPages();
  Workload workload(
      {"pin-at", "--window",
       std::to_string(start) + ":" + std::to_string(end) + ":23"});
  for (const uint64_t pfn : workload.pfns())
    EXPECT_TRUE(start <= pfn && pfn < end);
  ExpectTold(FreshSnapshot(), PinsOf(workload.pfns()));
  uint64_t held = 0;
  const Json owners = FreshOwners();
  for (const Json& owner : owners.at("owners"))
    for (const Json& holding : owner.at("holdings")) {
      EXPECT_EQ(owner.at("process").at("pid"), workload.pid());
      EXPECT_EQ(holding.at("certainty"), kHeld);
      held += holding.at("pins").at("pages").get<uint64_t>();
    }
  EXPECT_EQ(held, 23u) << owners;
  EXPECT_EQ(workload.Release().at("moved_while_held"), 0);
}

}  // namespace
}  // namespace pinwatch::guest
