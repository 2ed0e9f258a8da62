// SPDX-License-Identifier: Apache-2.0

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <optional>
#include <utility>
#include <vector>

#include "tests/bench/memory.h"
#include "tests/bench/meter.h"
#include "tests/bench/work.h"

namespace bench {
namespace {

using namespace workload;
namespace fs = std::filesystem;

// Of the 32,768 of a block; the zone keeps some for itself.
constexpr size_t kBlockPages = 30'000;
constexpr size_t kPagesTouchedForBlock = 31'500;
// How long an attempt that cannot end is let run.
constexpr timeval kPatience{.tv_sec = 1, .tv_usec = 0};

// The memory block that is offline; there must be one.
class Block {
 public:
  explicit Block(const fs::path& root) {
    for (const auto& entry : fs::directory_iterator(root)) {
      if (entry.path().filename().string().rfind("memory", 0) != 0) continue;
      path_ = entry.path();
      if (Word("state") == "offline") return;
    }
    Fail("no memory block is offline", "the guest needs a DIMM to plug in",
         ENOENT);
  }

  // 0 or an errno.
  int TryState(const std::string& wanted) {
    const int fd = open((path_ / "state").c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) Fail("open " + (path_ / "state").string(), "report this");
    const int error = write(fd, wanted.data(), wanted.size()) < 0 ? errno : 0;
    close(fd);
    return error;
  }

  void SetState(const std::string& wanted) {
    if (const int error = TryState(wanted))
      Fail("write " + wanted + " to " + path_.string(), "see dmesg", error);
  }

  void RequireState(const std::string& state) const {
    if (Word("state") != state ||
        (state == "online" && Word("valid_zones") != "Movable"))
      Fail(path_.string() + " is " + Word("state") + " " + Word("valid_zones"),
           state + " was wanted", EINVAL);
  }

  uint64_t begin_pfn() const {
    return std::stoull("0" + Word("phys_index"), nullptr, 16) * nr_pages();
  }
  uint64_t nr_pages() const {
    std::ifstream file(path_.parent_path() / "block_size_bytes");
    uint64_t size = 0;
    file >> std::hex >> size;
    return size / kPageSize;
  }

 private:
  std::string Word(const std::string& name) const {
    std::ifstream file(path_ / name);
    std::string word;
    file >> word;
    return word;
  }

  fs::path path_;
};

Block FindBlock() { return Block("/sys/devices/system/memory"); }

// Anonymous memory that has so many pages in the block and no other.
class Filling {
 public:
  Filling(const Block& block, size_t nr_pages)
      : begin_(block.begin_pfn()),
        end_(begin_ + block.nr_pages()),
        data_(MapAnonymous(kPagesTouchedForBlock)) {
    Touch(data_, kPagesTouchedForBlock);
    const std::vector<uint64_t> pfns = ReadPfns(data_, kPagesTouchedForBlock);
    size_t within = 0;
    for (size_t i = 0; i < pfns.size(); ++i) {
      if (CountWithin({pfns[i]}, begin_, end_) && within++ < nr_pages)
        Keep(data_ + i * kPageSize);
      else if (madvise(data_ + i * kPageSize, kPageSize, MADV_DONTNEED) != 0)
        Fail("madvise(MADV_DONTNEED)", "report this");
    }
    DrainLruBatches();
    Require(PagesWithin() == nr_pages, "the block is filled",
            static_cast<int64_t>(within));
  }
  ~Filling() { munmap(data_, kPagesTouchedForBlock * kPageSize); }
  Filling(const Filling&) = delete;
  Filling& operator=(const Filling&) = delete;

  size_t PagesWithin() const {
    size_t within = 0;
    for (const auto& [data, nr_pages] : runs_)
      within += CountWithin(ReadPfns(data, nr_pages), begin_, end_);
    return within;
  }

  // The first of them.
  const char* first() const { return runs_.at(0).first; }

 private:
  void Keep(const char* page) {
    if (runs_.empty() ||
        runs_.back().first + runs_.back().second * kPageSize != page)
      runs_.push_back({page, 0});
    ++runs_.back().second;
  }

  uint64_t begin_;
  uint64_t end_;
  char* data_;
  std::vector<std::pair<const char*, size_t>> runs_;
};

// Sends this process a signal after kPatience, that interrupts what it waits
// in, unless it is gone by then.
class Alarm {
 public:
  Alarm() {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigaction(SIGALRM, &action, nullptr);
    const itimerval once{.it_interval = {}, .it_value = kPatience};
    setitimer(ITIMER_REAL, &once, nullptr);
  }
  ~Alarm() {
    const itimerval never{};
    setitimer(ITIMER_REAL, &never, nullptr);
  }
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;
};

}  // namespace

Result OfflineFull(const Options& options) {
  Block block = FindBlock();
  std::optional<Filling> filling;
  const Counted count = Count(Clock::kThread, options.Samples(9),
                              {.prepare =
                                   [&] {
                                     block.SetState("online_movable");
                                     block.RequireState("online");
                                     filling.emplace(block, kBlockPages);
                                   },
                               .run = [&] { block.SetState("offline"); },
                               .undo =
                                   [&] {
                                     block.RequireState("offline");
                                     const size_t left = filling->PagesWithin();
                                     Require(left == 0, "all pages moved out",
                                             static_cast<int64_t>(left));
                                     filling.reset();
                                   }});
  return {count.instructions, {{"pages_moved", kBlockPages}}};
}

Result OnlineEmpty(const Options& options) {
  Block block = FindBlock();
  const Counted count = Count(Clock::kThread, options.Samples(51),
                              {.prepare = {},
                               .run = [&] { block.SetState("online_movable"); },
                               .undo =
                                   [&] {
                                     block.RequireState("online");
                                     block.SetState("offline");
                                     block.RequireState("offline");
                                   }});
  return {count.instructions, {{"pages", block.nr_pages()}}};
}

Result RetryOffline(const Options& options) {
  Block block = FindBlock();
  block.SetState("online_movable");
  block.RequireState("online");
  int64_t failed_before = 0, rounds = 0, all_rounds = 0;
  const auto failed = [] { return ReadVmstat()["pgmigrate_fail"]; };
  const Filling filling(block, 1);
  const PageInPipe held(filling.first());
  const Counted count =
      Count(Clock::kThread, options.Samples(9),
            {.prepare = [&] { failed_before = failed(); },
             .run =
                 [&] {
                   const Alarm alarm;
                   const int error = block.TryState("offline");
                   Require(error == EINTR, "the attempt is interrupted", error);
                 },
             .undo =
                 [&] {
                   rounds = failed() - failed_before;
                   all_rounds += rounds;
                   Require(rounds > 100, "it comes round many times", rounds);
                   Require(filling.PagesWithin() == 1, "the page stays", 0);
                 },
             .units = [&] { return static_cast<double>(rounds); }});
  return {count.instructions, {{"rounds", all_rounds}}};
}

}  // namespace bench
