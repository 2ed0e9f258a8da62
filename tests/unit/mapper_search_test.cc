// SPDX-License-Identifier: Apache-2.0
#include "daemon/mapper_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

using testing::UnorderedElementsAre;

constexpr int64_t kSecondNs = 1'000'000'000;

constexpr char kMaps[] =
    "1000-2000 rw-p 00000000 00:00 0 \n"
    "2000-3000 rw-s 00000000 00:01 4711 /memfd:a b\n"
    "3000-4000 r--p 00000000 fe:01 42 /usr/bin/x\n"
    "junk\n";

std::string Kept(uint8_t mapping, uint64_t inode) {
  return MapsThatMayHave({.ino = inode, .mapping = mapping}, kMaps);
}

TEST(MapperSearch, ReadsOnlyMappingsThatMayHaveThePage) {
  EXPECT_EQ(Kept(PAGE_MAPPING_FILE, 4711),
            "2000-3000 rw-s 00000000 00:01 4711 /memfd:a b\n");
  EXPECT_EQ(Kept(PAGE_MAPPING_ANON, 0),
            "1000-2000 rw-p 00000000 00:00 0 \n"
            "3000-4000 r--p 00000000 fe:01 42 /usr/bin/x\n")
      << "a private mapping of a file has copies";
  const std::string all(kMaps);
  EXPECT_EQ(Kept(PAGE_MAPPING_NONE, 0), all.substr(0, all.find("junk")));
}

class FindMappersTest : public testing::Test {
 protected:
  void AddProcess(uint32_t pid, const std::vector<uint64_t>& pfns) const {
    const std::string directory = absl::StrCat("/proc/", pid);
    tree_.Write(directory + "/stat",
                absl::StrCat(pid, " (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 ",
                             "0 ", pid * 100, " 4096 1\n"));
    tree_.Write(directory + "/maps",
                absl::StrCat("1000-", absl::Hex((pfns.size() + 1) << 12),
                             " rw-p 0 00:00 0\n"));
    std::string pagemap(8, '\0');
    for (const uint64_t pfn : pfns) {
      const uint64_t entry = uint64_t{1} << 63 | pfn;
      pagemap.append(reinterpret_cast<const char*>(&entry), sizeof(entry));
    }
    tree_.Write(directory + "/pagemap", pagemap);
  }

  PageMappers Find(uint64_t pfn, int32_t mapcount,
                   int64_t most_cpu_ns = kSecondNs) const {
    const page_facts page = {.mapcount = mapcount,
                             .mapping = PAGE_MAPPING_ANON};
    return FindMappers(tree_.root(), {42, 43, 44}, {{pfn, page}}, most_cpu_ns)
        .at(pfn);
  }

  static std::vector<uint32_t> Pids(const PageMappers& mappers) {
    std::vector<uint32_t> pids;
    for (const Process& process : mappers.processes)
      pids.push_back(process.pid);
    return pids;
  }

  TempTree tree_;
};

TEST_F(FindMappersTest, NamesAllThatMapThePage) {
  AddProcess(42, {700, 900});
  AddProcess(43, {900});
  AddProcess(44, {800});
  const PageMappers found = Find(900, 2);
  EXPECT_THAT(Pids(found), UnorderedElementsAre(42u, 43u));
  EXPECT_TRUE(found.complete);
  // More than there are: those of a process that has ended meanwhile.
  EXPECT_FALSE(Find(900, 3).complete) << "it counts more than were found";
  EXPECT_TRUE(Pids(Find(901, 1)).empty());
}

TEST_F(FindMappersTest, SaysWhereOthersMayMapIt) {
  AddProcess(42, {700});
  EXPECT_FALSE(Find(700, 1, 0).complete) << "no time is left";
  AddProcess(43, {700});
  tree_.MakeDirectory("/proc/44/maps");  // cannot be read
  EXPECT_FALSE(Find(700, 3).complete);
  EXPECT_TRUE(Find(700, 2).complete) << "so many the page counts";
}

}  // namespace
}  // namespace pinwatch
