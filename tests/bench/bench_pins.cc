// SPDX-License-Identifier: Apache-2.0
//
// Does one kind of work again and again, counts its instructions and checks
// that it was done. Pins are made here.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <map>

#include "tests/bench/memory.h"
#include "tests/bench/meter.h"
#include "tests/bench/work.h"
#include "tests/workloads/workload.h"

namespace bench {
namespace {

using namespace workload;
constexpr size_t kRegisteredPages = (64 << 20) / kPageSize;
constexpr size_t kRegisteredHugePages = kRegisteredPages / kPagesPerHugePage;

struct PinCounters {
  int64_t acquired = 0;
  int64_t released = 0;

  int64_t held() const { return acquired - released; }
};

PinCounters ReadPinCounters() {
  std::map<std::string, int64_t> values = ReadVmstat();
  if (!values.count("nr_foll_pin_acquired"))
    Fail("read nr_foll_pin_acquired", "needs Linux v5.8", ENOENT);
  return {values["nr_foll_pin_acquired"], values["nr_foll_pin_released"]};
}

class Ring {
 public:
  Ring() {
    if (const int ret = io_uring_queue_init(1, &ring_, 0); ret < 0)
      Fail("io_uring_setup", "is io_uring disabled?", -ret);
  }
  ~Ring() { io_uring_queue_exit(&ring_); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  void Register(const iovec& buffer) {
    if (const int ret = io_uring_register_buffers(&ring_, &buffer, 1); ret < 0)
      Fail("register io_uring buffers", "is memory short?", -ret);
  }

  void Unregister() {
    if (const int ret = io_uring_unregister_buffers(&ring_); ret < 0)
      Fail("unregister io_uring buffers", "report this", -ret);
  }

 private:
  io_uring ring_{};
};

enum class Registration { kRegister, kUnregister };

// Registers and unregisters the memory and counts one of the two.
Result CountRegistration(Registration counted, char* data, size_t nr_pages,
                         size_t nr_samples) {
  Ring ring;
  const iovec buffer{data, nr_pages * kPageSize};
  const auto pages = static_cast<int64_t>(nr_pages);
  const std::vector<uint64_t> pfns = ReadPfns(data, nr_pages);

  const PinCounters before = ReadPinCounters();
  ring.Register(buffer);
  const int64_t held = ReadPinCounters().held() - before.held();
  // From Linux v6.12 on one reference stays on each huge page.
  const auto huge_pages = static_cast<int64_t>(nr_pages / kPagesPerHugePage);
  Require(held == pages || (pages > 1 && held == huge_pages),
          "registering leaves a pin on each page", held);
  ring.Unregister();

  const auto do_register = [&] { ring.Register(buffer); };
  const auto do_unregister = [&] { ring.Unregister(); };
  // Unregistering waits for a grace period of RCU.
  const Counted count =
      counted == Registration::kRegister
          ? Count(Clock::kMachine, nr_samples,
                  {.prepare = {}, .run = do_register, .undo = do_unregister})
          : Count(Clock::kThread, nr_samples,
                  {.prepare = do_register, .run = do_unregister, .undo = {}});

  const PinCounters after = ReadPinCounters();
  const int64_t acquired = after.acquired - before.acquired;
  Require(acquired == pages * static_cast<int64_t>(count.runs + 1),
          "each registration takes a pin on each page", acquired);
  Require(after.held() == before.held(), "unregistering gives all pins back",
          after.held() - before.held());
  const size_t moved = CountDifferences(pfns, ReadPfns(data, nr_pages));
  Require(moved == 0, "no page moves", static_cast<int64_t>(moved));
  return {count.instructions / static_cast<double>(nr_pages),
          {{"pages", nr_pages}, {"held", held}}};
}

Result RegisterContiguous(const Options& options) {
  return CountRegistration(Registration::kRegister,
                           MapContiguous(kRegisteredPages), kRegisteredPages,
                           options.Samples(25));
}

Result RegisterScattered(const Options& options) {
  return CountRegistration(Registration::kRegister,
                           MapScattered(kRegisteredPages), kRegisteredPages,
                           options.Samples(25));
}

Result UnregisterContiguous(const Options& options) {
  return CountRegistration(Registration::kUnregister,
                           MapContiguous(kRegisteredPages), kRegisteredPages,
                           options.Samples(25));
}

Result RegisterHugePages(const Options& options) {
  char* data = MapHugePages(kRegisteredHugePages);
  Touch(data, kRegisteredPages);
  ReadHeadPfns(data, kRegisteredHugePages);
  Result result = CountRegistration(Registration::kRegister, data,
                                    kRegisteredPages, options.Samples(51));
  ReadHeadPfns(data, kRegisteredHugePages);
  return result;
}

Result RegisterOne(const Options& options) {
  char* data = MapAnonymous(1);
  Touch(data, 1);
  DrainLruBatches();
  return CountRegistration(Registration::kRegister, data, 1,
                           options.Samples(1001));
}

// Counts a call that holds a page only as long as it takes. Before Linux v6.5
// a direct read takes a plain reference instead of a pin.
Result CountShortCall(const Options& options, const std::function<void()>& call,
                      bool may_not_pin) {
  const PinCounters before = ReadPinCounters();
  const Counted count = Count(Clock::kMachine, options.Samples(2001),
                              {.prepare = {}, .run = call, .undo = {}});
  const PinCounters after = ReadPinCounters();
  const int64_t acquired = after.acquired - before.acquired;
  Require(acquired == static_cast<int64_t>(count.runs) ||
              (may_not_pin && acquired == 0),
          "each of " + std::to_string(count.runs) + " calls takes a pin",
          acquired);
  Require(after.held() == before.held(), "no pin is left",
          after.held() - before.held());
  return {count.instructions, {{"pins_a_call", acquired ? 1 : 0}}};
}

Result ReadDirect(const Options& options) {
  char* data = MapAnonymous(1);
  Touch(data, 1);
  const int fd =
      open(options.device.c_str(), O_RDWR | O_DIRECT | O_SYNC | O_CLOEXEC);
  if (fd < 0) Fail("open " + options.device, "modprobe brd");
  // A page of a RAM disk that was never written is not there.
  if (pwrite(fd, data, kPageSize, 0) != kPageSize)
    Fail("write " + options.device, "is it a RAM disk?");
  DrainLruBatches();
  const Result result = CountShortCall(
      options,
      [&] {
        if (pread(fd, data, kPageSize, 0) != kPageSize)
          Fail("read " + options.device, "is it a RAM disk?");
      },
      true);
  close(fd);
  return result;
}

Result ReadOtherMemory(const Options& options) {
  char* data = MapAnonymous(2);
  Touch(data, 2);
  DrainLruBatches();
  const iovec to{data, kPageSize};
  const iovec from{data + kPageSize, kPageSize};
  return CountShortCall(
      options,
      [&] {
        if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) != kPageSize)
          Fail("process_vm_readv", "needs CONFIG_CROSS_MEMORY_ATTACH");
      },
      false);
}

const std::map<std::string, Result (*)(const Options&)> kWorkloads = {
    {"io_uring_register_4k", RegisterContiguous},
    {"io_uring_register_4k_scattered", RegisterScattered},
    {"io_uring_unregister_4k", UnregisterContiguous},
    {"io_uring_register_thp", RegisterHugePages},
    {"io_uring_register_one", RegisterOne},
    {"odirect_read_4k", ReadDirect},
    {"process_vm_readv", ReadOtherMemory},
    {"offline_block", OfflineFull},
    {"online_block", OnlineEmpty},
    {"offline_retry", RetryOffline},
    {"migrate_page", MigratePage},
    {"migrate_32_pages", MigratePages},
    {"migrate_page_held", MigrateHeldPage},
};

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  bench::Options options{.device = "/dev/ram0"};
  std::string name;
  CLI::App app(
      "Counts the instructions of one kind of work, in a guest of scripts/vm "
      "--icount, and checks what it did to the kernel's counters.");
  app.add_option("workload", name)
      ->required()
      ->check(CLI::IsMember(bench::kWorkloads));
  app.add_option("--device", options.device, "RAM disk for odirect_read_4k")
      ->capture_default_str();
  app.add_flag("--quick", options.quick, "Count one run");
  workload::ParseOrExit(app, argc, argv);

  bench::CheckClocks();
  const bench::Result result = bench::kWorkloads.at(name)(options);
  workload::Report({{"workload", name},
                    {"instructions", result.instructions},
                    {"truth", result.truth}});
}
