// SPDX-License-Identifier: Apache-2.0
//
// Calls that come round and round, since a page does not let them. It takes a
// disk that writes once a second.
#include <sys/mman.h>
#include <sys/swap.h>

#include <csignal>
#include <cstring>
#include <memory>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Retries = OwnDaemonTest;

constexpr seconds kPatience(60);

constexpr int kLru = 5;  // bits of /proc/kpageflags
constexpr int kWriteback = 8;

// Space to swap to, where each page takes a second.
class SlowSwap {
 public:
  SlowSwap() {
    constexpr uint32_t kVersion = 1, kLastPage = 16383;
    std::string header(kPageBytes, '\0');
    std::memcpy(&header[1024], &kVersion, sizeof(kVersion));
    std::memcpy(&header[1028], &kLastPage, sizeof(kLastPage));
    std::memcpy(&header[kPageBytes - 10], "SWAPSPACE2", 10);
    WriteFile(kDisk, header);
    if (swapon(kDisk, 0) != 0) Fail("swapon " + std::string(kDisk));
  }
  ~SlowSwap() { swapoff(kDisk); }

 private:
  static constexpr char kDisk[] = "/dev/nvme0n1";
};

// Memory of this process, some of which lies in many blocks.
class Spread {
 public:
  Spread() {
    if (data_ == MAP_FAILED) Fail("map memory");
    std::memset(data_, 'x', kBytes);
  }
  ~Spread() { munmap(data_, kBytes); }

  // Starts to write out that many of its pages that lie in the block, one after
  // the other, and tells their pfns; nothing where there are fewer.
  std::vector<uint64_t> WriteOut(uint64_t block, size_t pages) {
    std::vector<std::pair<char*, uint64_t>> found;
    for (char* page = data_; page < data_ + kBytes && found.size() < pages;
         page += 2 * kPageBytes)
      if (const uint64_t pfn = PfnOf(page); pfn / BlockPages() == block)
        found.emplace_back(page, pfn);
    std::vector<uint64_t> pfns;
    if (found.size() < pages) return pfns;
    for (const auto& [page, pfn] : found) {
      if (madvise(page, kPageBytes, MADV_PAGEOUT) != 0) Fail("page out");
      pfns.push_back(pfn);
    }
    return pfns;
  }

 private:
  static constexpr size_t kBytes = 512 << 20;
  char* const data_ = static_cast<char*>(
      mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
};

// Whether `pinwatch watch` says that of the process next, between other lines.
bool Tells(Process& watch, const std::string& process,
           const std::string& words) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < deadline) {
    const auto line = watch.NextLine(kPatience);
    if (!line) return false;
    if (line->find(process) != std::string::npos &&
        line->find(words) != std::string::npos)
      return true;
  }
  return false;
}

// An attempt to take a block offline has all its pages off their lists until
// the last one that it waits for is written out. Who pins one of them for long
// comes round until it has that page itself, and fails, as it does not move.
TEST_F(Retries, AreToldWhileTheyLast) {
  const Daemon daemon(ToFollowMoves());
  const SlowSwap swap;
  Spread spread;
  // The kernel refuses a block with a part of its image in it at once: the
  // pages of the next holder lie in another.
  std::vector<std::unique_ptr<Process>> holders, offlines;
  Json held;
  uint64_t pfn = 0;
  const auto begin = [&] {
    holders.push_back(std::make_unique<Process>(std::vector<std::string>{
        "hold-vmsplice", "--pages", "4097", "--references", "1", "--register",
        "1", "--later"}));
    held = Json::parse(holders.back()->ReadLine(kPatience));
    pfn = held.at("pfns").at(0).get<uint64_t>();
    const uint64_t block = pfn / BlockPages();
    const std::vector<uint64_t> written = spread.WriteOut(block, 11);
    if (written.empty()) return false;
    EXPECT_TRUE(PageFlags(written.back()) >> kWriteback & 1);
    offlines.push_back(std::make_unique<Process>(std::vector<std::string>{
        "memory-block", "offline", std::to_string(block)}));
    return Eventually(seconds(3),
                      [&] { return !(PageFlags(pfn) >> kLru & 1); }) &&
           !offlines.back()->Wait(seconds(0));
  };
  while (!begin()) ASSERT_LT(holders.size(), 7u);
  Process& holder = *holders.back();
  Process& offline = *offlines.back();
  Process watch({"pinwatch", "watch"});
  watch.ReadLine(kPatience);
  holder.WriteLine();
  Json retry;
  EXPECT_TRUE(Eventually(kPatience, [&] {
    const Json snapshot = FreshSnapshot();
    for (const Json& one : snapshot.value("pin_retries", Json::array()))
      if (one.at("process").at("pid") == held.at("pid")) retry = one;
    // A look may have met the call's own pin; the next one mends that.
    return !retry.is_null() && retry.at("page").at("pins") == 0;
  }));
  const std::string caller =
      "hold-vmsplice(" + std::to_string(held.at("pid").get<int>()) + "): ";
  const std::string door = retry.value("door", "");
  EXPECT_TRUE(Tells(watch, caller, " rounds so far in " + door));
  offline.Signal(SIGTERM);
  EXPECT_EQ(Json::parse(holder.ReadLine(kPatience)).at("register_error"),
            ENOMEM);
  offline.Wait(kPatience);
  EXPECT_TRUE(Tells(watch, caller, "done after some "));
  ASSERT_TRUE(retry.is_object());
  EXPECT_GT(retry.at("rounds"), 1) << retry;
  EXPECT_EQ(retry.at("page").at("pfn"), pfn) << retry;
  // It has both ends of the pipe open.
  const Json& behind = retry.at("page").at("reference_holders");
  EXPECT_EQ(behind.size(), 2u) << retry;
  for (const Json& end : behind)
    EXPECT_EQ(end.at("process").at("pid"), held.at("pid")) << retry;
  EXPECT_TRUE(FreshSnapshot().value("pin_retries", Json::array()).empty());
}

}  // namespace
}  // namespace pinwatch::guest
