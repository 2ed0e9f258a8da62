// SPDX-License-Identifier: Apache-2.0
#include "daemon/memory_cgroups.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

constexpr char kUnified[] =
    "22 1 0:21 / /proc rw - proc proc rw\n"
    "29 1 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
constexpr char kHybrid[] =
    "29 1 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    "30 1 0:27 / /sys/fs/cgroup/a\\040b rw - cgroup cgroup rw,memory\n"
    "31 1 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";

class MemoryCgroupsTest : public testing::Test {
 protected:
  void SetUp() override { tree_.Write("/proc/self/mountinfo", kUnified); }

  std::filesystem::path Directory(const std::string& path) const {
    return tree_.root() + "/sys/fs/cgroup" + path;
  }

  uint64_t Make(const std::string& path) const {
    std::filesystem::create_directories(Directory(path));
    struct stat status;
    EXPECT_EQ(stat(Directory(path).c_str(), &status), 0);
    return status.st_ino;
  }

  MemoryCgroup Name(uint64_t id) {
    MemoryCgroup cgroup{.id = id};
    cgroups_->Name({&cgroup});
    return cgroup;
  }

  // The uppermost directory as that of a cgroup namespace: it is another's.
  void Start(bool in_namespace = false) {
    struct stat status {};
    stat(Directory("").c_str(), &status);
    cgroups_.emplace(tree_.root(), status.st_ino + in_namespace);
  }

  TempTree tree_;
  std::optional<MemoryCgroups> cgroups_;
};

TEST(MemoryCgroups, AreMountedWhereTheirControllerIs) {
  EXPECT_EQ(FindMemoryMount(kUnified), (CgroupMount{.path = "/sys/fs/cgroup"}));
  EXPECT_EQ(FindMemoryMount(kHybrid),
            (CgroupMount{.path = "/sys/fs/cgroup/a b", .unified = false}));
  EXPECT_EQ(FindMemoryMount("22 1 0:21 / /proc rw - proc proc rw\n- \n - \n"),
            CgroupMount{});
}

TEST(MemoryCgroups, StandToEachOtherByTheirPaths) {
  EXPECT_EQ(Relate("/a", "/a"), CgroupRelation::kSame);
  EXPECT_EQ(Relate("/a/b", "/a"), CgroupRelation::kRelated);
  EXPECT_EQ(Relate("/a", "/a/b"), CgroupRelation::kRelated);
  EXPECT_EQ(Relate("/", "/a"), CgroupRelation::kRelated);
  EXPECT_EQ(Relate("/a", "/ab"), CgroupRelation::kOther);
  EXPECT_EQ(Relate("/a", ""), CgroupRelation::kUnknown);
  EXPECT_EQ(Relate("", "/a"), CgroupRelation::kUnknown);
}

TEST_F(MemoryCgroupsTest, HaveTheNamesOfTheirDirectories) {
  const uint64_t root = Make("");
  const uint64_t deep = Make("/a.slice/b\x1b[7m");
  Start();
  EXPECT_EQ(Name(root), (MemoryCgroup{.id = root, .path = "/"}));
  EXPECT_EQ(Name(deep),
            (MemoryCgroup{.id = deep, .path = "/a.slice/b\x1b[7m"}));
  const uint64_t late = Make("/late");
  EXPECT_EQ(Name(late), (MemoryCgroup{.id = late, .path = "/late"}));
  EXPECT_EQ(Name(0), MemoryCgroup{});
}

TEST_F(MemoryCgroupsTest, ThatAreGoneKeepTheNameThatWasKnown) {
  const uint64_t seen = Make("/seen");
  Make("/other");
  Start();
  EXPECT_EQ(Name(seen).path, "/seen");
  std::filesystem::remove(Directory("/seen"));
  EXPECT_EQ(Name(seen),
            (MemoryCgroup{.id = seen, .path = "/seen", .removed = true}));
  const uint64_t never = uint64_t{1} << 60;
  EXPECT_EQ(Name(never), (MemoryCgroup{.id = never, .removed = true}));
}

TEST_F(MemoryCgroupsTest, OutsideOfANamespaceAreNotSaidToBeGone) {
  const uint64_t seen = Make("/seen");
  Start(true);
  EXPECT_EQ(Name(seen).path, "/seen");
  EXPECT_EQ(Name(uint64_t{1} << 60), MemoryCgroup{.id = uint64_t{1} << 60});
}

TEST_F(MemoryCgroupsTest, WithoutAMountAreNotSaidToBeGone) {
  tree_.Write("/proc/self/mountinfo", "");
  Start();
  EXPECT_EQ(Name(7), MemoryCgroup{.id = 7});
}

TEST_F(MemoryCgroupsTest, OfAProcessIsTheNextThatHasTheController) {
  Make("/a/b/c");
  tree_.Write("/sys/fs/cgroup/a/memory.current", "0");
  tree_.Write("/proc/42/cgroup", "1:name=x:/y\n0::/a/b/c\n");
  tree_.Write("/proc/43/cgroup", "0::/x (deleted)\n");
  Start();
  EXPECT_EQ(cgroups_->OfProcess(42), "/a");
  EXPECT_EQ(cgroups_->OfProcess(43), "");
  EXPECT_EQ(cgroups_->OfProcess(44), "");
}

TEST_F(MemoryCgroupsTest, OfAProcessIsThatOfItsOwnHierarchyInVersionOne) {
  tree_.Write("/proc/self/mountinfo", kHybrid);
  tree_.Write("/proc/42/cgroup", "4:cpu,memory:/m\n3:cpuset:/n\n0::/u\n");
  Start();
  EXPECT_EQ(cgroups_->OfProcess(42), "/m");
}

}  // namespace
}  // namespace pinwatch
