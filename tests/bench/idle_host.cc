// SPDX-License-Identifier: Apache-2.0
//
// What the daemon's loop costs on a host too large to have: as many memory
// blocks and owners of pins as asked for, of which none does anything.
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "daemon/clock.h"
#include "daemon/loop.h"

namespace pinwatch {
namespace {

constexpr uint64_t kBlockPages = 32768;
constexpr uint32_t kFirstPid = 1000;
// After a minute without news the loop looks for less.
constexpr unsigned kSettleSeconds = 65;

constexpr int64_t kOld = 1'000'000'000;  // monotonic ns of all that happened

// A kernel under which every owner holds one page; its block is told by its
// index. Unlike most of a real host, none of them lets go and none has ended;
// and all bear one name and pin at one place, which the daemon keeps once for
// all of them, as it does the units.
class IdleHost : public Source {
 public:
  IdleHost(uint32_t blocks, uint32_t owners)
      : blocks_(blocks), owners_(owners) {}

  const std::vector<Fact>& facts() const override { return facts_; }
  const KernelNames& names() const override { return names_; }

  absl::StatusOr<BlockLook> LookAt(uint64_t start_pfn, uint64_t,
                                   bool) override {
    BlockLook look{.status = CENSUS_OK, .zones = {{}}};
    census_cell& cell = look.zones[0].cells[0];
    cell.pages[PAGE_MOVABLE] = kBlockPages;
    for (uint64_t i = start_pfn / kBlockPages + 1; i <= owners_; i += blocks_) {
      const auto owner = static_cast<uint32_t>(i);
      look.pins.push_back(
          {.pins_a_page = 1,
           .claims = {{.owner = owner, .long_term = true, .made_ns = kOld}},
           .ages = {{{kOld, 1}}},
           .pins = {1, 1}});
      ++cell.pages[PAGE_PINNED_EXACT];
      ++cell.exact_pin_refs;
    }
    return look;
  }

  absl::StatusOr<std::vector<NodeCounterReading>> ReadNodeCounters(
      const std::vector<int>&) override {
    return std::vector<NodeCounterReading>{
        {.nid = 0, .acquired = owners_, .exact = true}};
  }
  absl::StatusOr<MigrationReading> ReadMigrations(Timestamp) override {
    return absl::UnavailableError("");
  }
  absl::StatusOr<HotplugReading> ReadHotplug(Timestamp) override {
    return absl::UnavailableError("");
  }
  absl::StatusOr<std::vector<ReferenceTaker>> FindTakers(
      const std::vector<uint64_t>&, Timestamp) override {
    return absl::UnavailableError("");
  }

  absl::StatusOr<std::vector<page_facts>> ReadPages(
      const std::vector<uint64_t>&) override {
    return absl::UnavailableError("");
  }

  absl::StatusOr<std::vector<MemoryDevice>> ReadMemoryDevices() override {
    return absl::UnavailableError("");
  }
  // As at boot: in one piece, where memory begins.
  absl::StatusOr<std::vector<MemmapPiece>> ReadMemmap(
      uint64_t start_pfn, uint64_t end_pfn) override {
    return std::vector<MemmapPiece>{
        {.pfn = start_pfn,
         .nr_pages = (end_pfn - start_pfn) / kPagesAMemmapPage,
         .of_pfn = start_pfn}};
  }

  absl::StatusOr<PipeReading> FindInPipes(
      const std::vector<uint64_t>&) override {
    return absl::UnavailableError("");
  }

  absl::StatusOr<ClaimReading> ReadClaims(Timestamp) override {
    ClaimReading reading;
    // Each is told of once, as the kernel's are.
    for (; told_ < owners_; ++told_) reading.owners.push_back(Owner(told_ + 1));
    return reading;
  }
  void KeepGaps(const ClaimGaps&) override {}
  void ForgetClaimsOutside(const std::function<bool(uint64_t)>&,
                           Timestamp) override {}
  std::vector<uint32_t> ForgetOwners(const std::vector<uint32_t>&) override {
    return {};
  }
  absl::Status Govern(const GovernorState&) override {
    return absl::OkStatus();
  }
  absl::Status DetachHooks() override { return absl::OkStatus(); }
  absl::Status AttachHooks() override { return absl::OkStatus(); }
  std::vector<int> ready_fds() const override { return {}; }

 private:
  static OwnerReading Owner(uint32_t index) {
    return {.index = index,
            .long_term = true,
            .pid = kFirstPid + index,
            .start_boottime_ns = kOld,
            .comm = "idle",
            .door = "pin_user_pages",
            .calls = 1,
            .pages = 1,
            .first = {kOld, kOld},
            .last = {kOld, kOld},
            .kernel_stack = std::vector<uint64_t>(12, 1),
            .user_stack = {}};
  }

  const uint64_t blocks_;
  const uint32_t owners_;
  const std::vector<Fact> facts_ = {
      {.name = "census", .observable = true},
      {.name = "claims", .observable = true},
      {.name = "node_counters", .observable = true}};
  const KernelNames names_ = {.zones = {"Normal"}, .migratetypes = {"movable"}};
  uint32_t told_ = 0;  // of the owners
};

void Write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

// What of /proc and /sys the loop reads.
void WriteTree(const std::string& root, uint32_t blocks, uint32_t owners,
               uint32_t units) {
  const std::filesystem::path sysfs = root + "/sys/devices/system/memory";
  Write(root + "/proc/zoneinfo", "Node 0, zone   Normal\n        spanned  " +
                                     std::to_string(blocks * kBlockPages) +
                                     "\n");
  Write(sysfs / "block_size_bytes", "8000000\n");
  for (uint32_t i = 0; i < blocks; ++i) {
    const auto block = sysfs / ("memory" + std::to_string(i));
    Write(block / "state", "online\n");
    Write(block / "valid_zones", "Normal\n");
    std::filesystem::create_directory(block / "node0");
  }
  for (uint32_t i = 1; i <= owners; ++i) {
    const std::string pid = std::to_string(kFirstPid + i);
    const auto process = std::filesystem::path(root) / "proc" / pid;
    Write(process / "stat",
          pid +
              " (idle) S 1 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 100 "
              "4096 1\n");
    Write(process / "cgroup",
          "0::/system.slice/idle" + std::to_string(i % units) + ".service\n");
  }
}

double CpuSeconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + time.tv_usec / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

uint64_t ResidentBytes() {
  uint64_t size = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * 4096;
}

// Milliseconds until the loop has answered; `ask` is given where to.
template <typename T, typename Ask>
double AnswerMs(Ask ask) {
  std::promise<absl::StatusOr<T>> promise;
  const auto begin = std::chrono::steady_clock::now();
  ask([&](absl::StatusOr<T> answer) { promise.set_value(std::move(answer)); });
  if (const auto answer = promise.get_future().get(); !answer.ok()) {
    std::fprintf(stderr, "idle-host: %s\n", answer.status().ToString().c_str());
    std::exit(1);
  }
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now() - begin)
      .count();
}

// All blocks are listed at once here, and the plan has every owner's pins to
// take away: more than any question asks for.
nlohmann::ordered_json AnswerTimes(Loop& loop, uint32_t blocks) {
  return {{"blocks", AnswerMs<BlockList>([&](BlocksAnswer answer) {
             loop.AskForBlockList({.limit = blocks}, std::move(answer));
           })},
          {"plan", AnswerMs<OfflinePlan>([&](PlanAnswer answer) {
             loop.AskForOfflinePlan(
                 {.bytes = uint64_t{blocks} * kBlockPages * 4096,
                  .stopped = StoppedHolder{.unit = "idle0.service"}},
                 std::move(answer));
           })},
          {"explain", AnswerMs<BlockReport>([&](BlockAnswer answer) {
             loop.AskAboutBlock(blocks / 2, std::move(answer));
           })}};
}

int Measure(uint32_t blocks, uint32_t owners, uint32_t units, int seconds) {
  std::string root = "/dev/shm/idle-host-XXXXXX";
  if (!mkdtemp(root.data())) {
    std::perror("idle-host: make a directory in /dev/shm");
    return 1;
  }
  WriteTree(root, blocks, owners, units);
  Published<Snapshot> published;
  IdleHost source(blocks, owners);
  Loop loop({.root = root}, &source,
            Aggregator({}, source.names(), source.facts(), Now()), &published);
  const int stop = eventfd(0, EFD_CLOEXEC);
  std::jthread thread([&] { loop.Run(stop); });
  while (!published.Get()) sleep(1);
  sleep(kSettleSeconds);
  const double before = CpuSeconds();
  sleep(static_cast<unsigned>(seconds));
  const double cpu = CpuSeconds() - before;
  const uint64_t resident = ResidentBytes();
  const auto snapshot = published.Get();
  const nlohmann::ordered_json answers = AnswerTimes(loop, blocks);
  std::puts(nlohmann::ordered_json{{"blocks", snapshot->blocks.at(0).blocks},
                                   {"owners", snapshot->owners.size()},
                                   {"cpu_percent", cpu / seconds * 100},
                                   {"resident_mib", resident >> 20},
                                   {"answer_ms", answers}}
                .dump()
                .c_str());
  eventfd_write(stop, 1);
  thread.join();
  std::filesystem::remove_all(root);
  return 0;
}

}  // namespace
}  // namespace pinwatch

int main(int argc, char** argv) {
  CLI::App app("Runs the daemon's loop on a host that does nothing.",
               "idle-host");
  uint32_t blocks = 16384, owners = 100'000, units = 1;
  int seconds = 20;
  app.add_option("--blocks", blocks)->capture_default_str();
  app.add_option("--owners", owners)->capture_default_str();
  app.add_option("--units", units, "that the owners are of")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--seconds", seconds)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return pinwatch::Measure(blocks, owners, units, seconds);
}
