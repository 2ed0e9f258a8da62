// SPDX-License-Identifier: Apache-2.0
#include "daemon/holder_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <memory>

#include "absl/strings/str_cat.h"
#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr uint64_t kPresent = uint64_t{1} << 63;

class HolderSearchTest : public testing::Test {
 protected:
  // A process that maps these pages from the address 0x1000 on.
  void AddProcess(uint32_t pid, uint64_t pinned_pages,
                  const std::vector<uint64_t>& pfns) {
    const std::string directory = absl::StrCat("/proc/", pid);
    tree_.Write(directory + "/status",
                absl::StrCat("Name:\tx\nVmPin:\t", pinned_pages * 4, " kB\n"));
    tree_.Write(directory + "/stat",
                absl::StrCat(pid, " (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 ",
                             "0 ", pid * 100, " 4096 1\n"));
    tree_.Write(directory + "/maps",
                absl::StrCat("1000-", absl::Hex((pfns.size() + 1) << 12),
                             " rw-p 0 00:00 0\n"));
    std::string pagemap(8, '\0');
    for (const uint64_t pfn : pfns) {
      const uint64_t entry = pfn ? kPresent | pfn : 0;
      pagemap.append(reinterpret_cast<const char*>(&entry), sizeof(entry));
    }
    tree_.Write(directory + "/pagemap", pagemap);
    tree_.MakeDirectory(directory + "/fd");
  }

  void AddFile(uint32_t pid, const std::string& target,
               const std::string& fdinfo) {
    std::filesystem::create_symlink(
        target, absl::StrCat(tree_.root(), "/proc/", pid, "/fd/3"));
    tree_.Write(absl::StrCat("/proc/", pid, "/fdinfo/3"), fdinfo);
  }

  const Inference& Search(std::vector<UnclaimedFolio> folios) {
    if (!cgroups_) cgroups_ = std::make_unique<MemoryCgroups>(tree_.root());
    search_.emplace(tree_.root(), cgroups_.get(),
                    [this](const auto& pfns) { return ReadCgroups(pfns); });
    search_->Begin(std::move(folios));
    for (int steps = 0; search_->running() && steps < 1000; ++steps)
      search_->Step();
    EXPECT_FALSE(search_->running());
    return search_->found();
  }

  TempTree tree_;
  std::unique_ptr<MemoryCgroups> cgroups_;
  std::map<uint64_t, uint64_t> charged_;  // cgroups' ids by pfn
  std::optional<HolderSearch> search_;

 private:
  std::vector<std::optional<MemoryCgroup>> ReadCgroups(
      const std::vector<uint64_t>& pfns) const {
    std::vector<std::optional<MemoryCgroup>> cgroups(pfns.size());
    for (size_t i = 0; i < pfns.size(); ++i)
      if (charged_.count(pfns[i])) cgroups[i] = {.id = charged_.at(pfns[i])};
    return cgroups;
  }
};

TEST_F(HolderSearchTest, FindsWhoMapsWhatIsPinnedOfThoseThatPin) {
  AddProcess(42, 2, {700, 0, 900, 1000});
  AddProcess(43, 0, {700, 900});  // maps the same and pins nothing
  const Inference& found = Search({{900, 1, 1}, {700, 1, 1}, {800, 1, 1}});
  ASSERT_EQ(found.candidates.size(), 1u);
  const Candidate& candidate = found.candidates[0];
  EXPECT_EQ(candidate.holder.process.pid, 42u);
  EXPECT_FALSE(candidate.holder.process.ended);
  EXPECT_THAT(candidate.holder.evidence, ElementsAre("VmPin 8 kB"));
  EXPECT_FALSE(candidate.MapsMoreThanItPins());
  EXPECT_THAT(found.mapped_by,
              ElementsAre(Pair(700, ElementsAre(0u)), Pair(800, IsEmpty()),
                          Pair(900, ElementsAre(0u))));
  EXPECT_EQ(found.pages_read, 4u);
  EXPECT_TRUE(found.IsComplete());
}

TEST_F(HolderSearchTest, SaysWhatSpeaksForAndAgainstACandidate) {
  tree_.Write("/proc/self/mountinfo",
              "29 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  const auto make_cgroup = [&](const std::string& path) {
    tree_.Write("/sys/fs/cgroup" + path + "/memory.current", "0");
    struct stat status;
    EXPECT_EQ(stat((tree_.root() + "/sys/fs/cgroup" + path).c_str(), &status),
              0);
    return status.st_ino;
  };
  const uint64_t own = make_cgroup("/own");
  const uint64_t other = make_cgroup("/other");
  AddProcess(42, 5, {700, 800, 900, 1000, 1100});
  tree_.Write("/proc/42/cgroup", "0::/own\n");
  charged_ = {{700, own}, {800, own}, {900, own}, {1000, other}};
  cgroups_ = std::make_unique<MemoryCgroups>(tree_.root());
  const Inference& found = Search(
      {{700, 1, 1}, {800, 1, 1}, {900, 1, 1}, {1000, 1, 1}, {1100, 1, 1}});
  ASSERT_EQ(found.candidates.size(), 1u);
  EXPECT_THAT(found.candidates[0].holder.evidence,
              ElementsAre("VmPin 20 kB", "3 pages charged to its cgroup /own",
                          "but 1 page charged to other cgroups"));
  EXPECT_EQ(found.Attribute(900).reason, "mapped_by_one");
  EXPECT_EQ(found.Attribute(1000).reason, "charged_elsewhere");
}

TEST_F(HolderSearchTest, FindsAFolioByAnyOfItsPages) {
  AddProcess(42, 512, {1535});
  const Inference& found = Search({{1024, 512, 1}});
  EXPECT_THAT(found.mapped_by, ElementsAre(Pair(1024, ElementsAre(0u))));
  EXPECT_THAT(Search({{1024, 511, 1}}).mapped_by,
              ElementsAre(Pair(1024, IsEmpty())));
}

TEST_F(HolderSearchTest, SeesWhoMapsMoreThanItPins) {
  AddProcess(42, 1, {700, 900});
  EXPECT_TRUE(
      Search({{700, 1, 1}, {900, 1, 1}}).candidates.at(0).MapsMoreThanItPins());
}

TEST_F(HolderSearchTest, TakesOpenFilesForEvidence) {
  AddProcess(42, 0, {700});
  AddFile(42, "/dev/vfio/17", "");
  AddProcess(43, 0, {900});
  AddFile(43, "anon_inode:[io_uring]", "UserBufs:\t0\n");
  const Inference& found = Search({{700, 1, 1}, {900, 1, 1}});
  ASSERT_EQ(found.candidates.size(), 1u);
  EXPECT_THAT(found.candidates[0].holder.evidence, ElementsAre("vfio"));
  EXPECT_EQ(found.Attribute(900).reason, "no_candidate");
}

TEST_F(HolderSearchTest, CountsWhatItCannotRead) {
  AddProcess(42, 1, {700});
  const std::string pagemap = tree_.root() + "/proc/42/pagemap";
  std::filesystem::remove(pagemap);
  std::filesystem::create_symlink(pagemap, pagemap);
  const Inference& found = Search({{700, 1, 1}});
  EXPECT_EQ(found.processes_left_out, 1u);
  EXPECT_FALSE(found.IsComplete());
}

TEST_F(HolderSearchTest, FindsNobodyOnAHostWithoutProcesses) {
  EXPECT_THAT(Search({{700, 1, 1}}).candidates, IsEmpty());
}

}  // namespace
}  // namespace pinwatch
