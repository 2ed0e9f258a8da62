// SPDX-License-Identifier: Apache-2.0
#include "daemon/devices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Optional;

// Process 42, whose open files are devices that every host has, under such
// names as the test says.
class Devices : public testing::Test {
 protected:
  Devices() { tree_.MakeDirectory("/proc/42/fd"); }

  void Open(int fd, const std::string& path) {
    std::filesystem::create_symlink(
        path, tree_.root() + "/proc/42/fd/" + std::to_string(fd));
  }
  void Name(const std::string& number, const std::string& name) {
    tree_.Write("/sys/dev/char/" + number + "/uevent",
                "MAJOR=1\nMINOR=3\nDEVNAME=" + name + "\nDEVMODE=0666\n");
  }
  auto Of(const std::string& subsystem) {
    return DevicesOf(tree_.root(), 42, subsystem);
  }

  TempTree tree_;
};

TEST_F(Devices, AreThoseOfTheSubsystemByTheKernelsNames) {
  Open(0, "/dev/null");
  Open(3, "/dev/zero");
  Open(4, "/dev/null");
  Name("1:3", "vfio/16");
  Name("1:5", "infiniband/uverbs0");
  EXPECT_THAT(Of("vfio"), Optional(ElementsAre("/dev/vfio/16")));
  EXPECT_THAT(Of("rdma"), Optional(ElementsAre("/dev/infiniband/uverbs0")));
  EXPECT_THAT(Of("udmabuf"), Optional(IsEmpty()));
  EXPECT_THAT(Of("io_uring"), Optional(IsEmpty()));
}

TEST_F(Devices, AreAllThatMayBeTheOne) {
  Open(3, "/dev/zero");
  Open(4, "/dev/null");
  Name("1:3", "vfio/17");
  Name("1:5", "vfio/16");
  EXPECT_THAT(Of("vfio"),
              Optional(ElementsAre("/dev/vfio/16", "/dev/vfio/17")));
}

TEST_F(Devices, ThatAllGroupsShareTellNothing) {
  Open(3, "/dev/null");
  Name("1:3", "vfio/vfio");
  EXPECT_THAT(Of("vfio"), Optional(IsEmpty()));
}

TEST_F(Devices, AreNoFilesThatOnlyBearTheName) {
  tree_.Write("/dev/vfio/16", "");
  Open(3, tree_.root() + "/dev/vfio/16");
  EXPECT_THAT(Of("vfio"), Optional(IsEmpty()));
}

TEST_F(Devices, AreUnknownWhereTheFilesCannotBeRead) {
  EXPECT_EQ(DevicesOf(tree_.root(), 43, "vfio"), std::nullopt);
}

}  // namespace
}  // namespace pinwatch
