// SPDX-License-Identifier: Apache-2.0
//
// Which programs are loaded on which kernel, by what the types of Debian's
// kernels say (tests/unit/kernels).
#include "daemon/doors.h"

#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <sstream>

#include "bpf/events.h"
#include "bpf/pin.skel.h"
#include "daemon/probes.h"
#include "tests/unit/kernel_types.h"

namespace pinwatch {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::Not;

// The layout of a recorded kernel, through the code that reads a live one's.
KernelLayout LayoutOf(const std::string& kernel) {
  Types types;
  types.AddAll();
  std::ifstream file(std::string(PINWATCH_SOURCE_DIR) + "/tests/unit/kernels/" +
                     kernel);
  EXPECT_TRUE(file) << kernel << " is not recorded";
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string kind, name;
    words >> kind >> name;
    std::vector<std::string> rest;
    for (std::string word; words >> word;) rest.push_back(word);
    if (kind == "func") types.AddFunction(name.c_str(), rest);
    if (kind != "enum") continue;
    std::vector<std::pair<std::string, int>> values;
    for (const std::string& value : rest) {
      const size_t equals = value.find('=');
      values.emplace_back(value.substr(0, equals),
                          std::stoi(value.substr(equals + 1)));
    }
    types.AddEnum(name == "(anon)" ? nullptr : name.c_str(), values);
  }
  const auto layout = ReadLayout(types.get());
  EXPECT_TRUE(layout.ok()) << layout.status();
  return layout.value_or(KernelLayout{});
}

Doors DoorsOf(const std::string& kernel,
              const std::set<std::string>& without = {}) {
  const KernelLayout layout = LayoutOf(kernel);
  return ChooseDoors(layout.pin_functions, !layout.pin_helpers, without);
}

// The programs without those that run when calls begin; each has such a one.
std::set<std::string> ExitsOf(const Doors& doors) {
  std::set<std::string> exits;
  size_t entries = 0;
  for (const std::string& program : doors.programs) {
    if (!IsEntry(program)) exits.insert(program);
    entries += IsEntry(program);
  }
  EXPECT_EQ(entries, exits.size());
  return exits;
}

TEST(Doors, OnLinux5_10AllAreOfTheBoundedForm) {
  const Doors doors = DoorsOf("5.10");
  EXPECT_THAT(ExitsOf(doors),
              ElementsAre("gup_longterm_locked__fexit_bounded",
                          "pin_user_pages_fast__fexit_bounded",
                          "pin_user_pages_fast_only__fexit_bounded",
                          "pin_user_pages_locked__fexit_bounded",
                          "pin_user_pages_unlocked__fexit_bounded"));
  EXPECT_THAT(doors.followed,
              ElementsAre("pin_user_pages", "pin_user_pages_fast",
                          "pin_user_pages_fast_only", "pin_user_pages_locked",
                          "pin_user_pages_remote", "pin_user_pages_unlocked"));
  EXPECT_THAT(doors.not_followed, IsEmpty());
  EXPECT_THAT(doors.implied, IsEmpty());
}

TEST(Doors, OnLinux6_1PinUserPagesIsFollowedInside) {
  const Doors doors = DoorsOf("6.1");
  EXPECT_EQ(doors.inner, "pin_user_pages");
  EXPECT_THAT(ExitsOf(doors), ElementsAre("gup_longterm_locked__fexit",
                                          "pin_user_pages_fast__fexit",
                                          "pin_user_pages_fast_only__fexit",
                                          "pin_user_pages_unlocked__fexit"));
  EXPECT_THAT(doors.followed,
              ElementsAre("pin_user_pages", "pin_user_pages_fast",
                          "pin_user_pages_fast_only", "pin_user_pages_remote",
                          "pin_user_pages_unlocked"));
  EXPECT_THAT(doors.not_followed, IsEmpty());
  EXPECT_THAT(doors.implied, IsEmpty());
}

class NewerKernels : public testing::TestWithParam<const char*> {};

TEST_P(NewerKernels, AreFollowedAtEveryDoor) {
  const Doors doors = DoorsOf(GetParam());
  EXPECT_THAT(
      ExitsOf(doors),
      ElementsAre("memfd_pin_folios__fexit", "pin_user_pages__fexit_4",
                  "pin_user_pages_fast__fexit", "pin_user_pages_remote__fexit",
                  "pin_user_pages_unlocked__fexit"));
  EXPECT_THAT(
      doors.followed,
      ElementsAre("memfd_pin_folios", "pin_user_pages", "pin_user_pages_fast",
                  "pin_user_pages_remote", "pin_user_pages_unlocked"));
  EXPECT_THAT(doors.not_followed, IsEmpty());
  EXPECT_THAT(doors.implied, Contains("folio_add_pin"));
}

INSTANTIATE_TEST_SUITE_P(Recorded, NewerKernels,
                         testing::Values("6.12", "6.18", "7.3"),
                         [](const auto& test) {
                           std::string name = test.param;
                           name[name.find('.')] = '_';
                           return name;
                         });

TEST(Doors, ValuesOfTheFlagsAreThoseOfTheKernel) {
  for (const char* kernel : {"5.10", "6.1"}) {
    EXPECT_EQ(LayoutOf(kernel).foll_longterm, 0x10000u) << kernel;
    EXPECT_EQ(LayoutOf(kernel).foll_pin, 0x40000u) << kernel;
  }
  for (const char* kernel : {"6.12", "6.18", "7.3"}) {
    EXPECT_EQ(LayoutOf(kernel).foll_longterm, 0x100u) << kernel;
    EXPECT_EQ(LayoutOf(kernel).foll_pin, 0x80000u) << kernel;
  }
}

TEST(Doors, AFunctionWithOtherParametersIsNotFollowed) {
  KernelLayout layout = LayoutOf("6.12");
  std::vector<std::string>& parameters =
      layout.pin_functions.at("pin_user_pages_fast");
  std::swap(parameters[2], parameters[3]);
  const Doors doors = ChooseDoors(layout.pin_functions, false, {});
  EXPECT_THAT(doors.not_followed, ElementsAre("pin_user_pages_fast"));
  EXPECT_THAT(doors.programs, Not(Contains("pin_user_pages_fast__fexit")));
}

TEST(Doors, WithoutTheInnerFunctionRemotePinsOfLinux6_1AreNotFollowed) {
  KernelLayout layout = LayoutOf("6.1");
  layout.pin_functions.erase("__gup_longterm_locked");
  const Doors doors = ChooseDoors(layout.pin_functions, false, {});
  EXPECT_THAT(doors.programs, Contains("pin_user_pages__fexit_5"));
  EXPECT_EQ(doors.inner, "");
  EXPECT_THAT(doors.not_followed, ElementsAre("pin_user_pages_remote"));
}

TEST(Doors, ThoseSwitchedOffAreNamed) {
  EXPECT_THAT(DoorsOf("6.12", {"pin_user_pages_fast"}).not_followed,
              ElementsAre("pin_user_pages_fast"));
  // The inner function is entered for both.
  EXPECT_THAT(DoorsOf("6.1", {"pin_user_pages"}).not_followed,
              ElementsAre("pin_user_pages", "pin_user_pages_remote"));
  EXPECT_THAT(DoorsOf("5.10", {"pin_user_pages_remote"}).not_followed,
              ElementsAre("pin_user_pages_remote"));
}

TEST(Doors, AKernelWithoutPinFunctionsHasNone) {
  const Doors doors = ChooseDoors({}, false, {});
  EXPECT_THAT(doors.programs, IsEmpty());
  EXPECT_THAT(doors.followed, IsEmpty());
  EXPECT_THAT(doors.not_followed, IsEmpty());
}

TEST(Doors, TheirProgramsAreThere) {
  const std::unique_ptr<pin_bpf, void (*)(pin_bpf*)> programs(pin_bpf__open(),
                                                              pin_bpf__destroy);
  ASSERT_NE(programs, nullptr);
  for (const char* kernel : {"5.10", "6.1", "6.12", "6.18", "7.3"})
    for (const std::string& name : DoorsOf(kernel).programs)
      EXPECT_NE(bpf_object__find_program_by_name(programs->obj, name.c_str()),
                nullptr)
          << name;
}

TEST(Doors, EveryOneThatIsFollowedCanBeSwitchedOff) {
  for (const char* kernel : {"5.10", "6.1", "6.12", "6.18", "7.3"})
    EXPECT_THAT(DoorNames(), IsSupersetOf(DoorsOf(kernel).followed)) << kernel;
}

TEST(Doors, MovesAreFollowedByIsolationsWhereRoundsAreNotSeen) {
  const auto choose = [](bool at_any_cost) {
    return ChooseMovePrograms({"folio_isolate_lru", "folio_isolate_hugetlb",
                               "bpf_rdonly_cast", "alloc_migration_target"},
                              7, {"compaction", "longterm_pin"}, at_any_cost);
  };
  EXPECT_THAT(choose(true).programs,
              ElementsAre("folio_isolate_hugetlb__fexit", "isolate_lru__fexit",
                          "migration_target__fexit", "pages_moved__7_args"));
  EXPECT_FALSE(choose(true).sees_rounds);
  EXPECT_TRUE(choose(true).sees_targets);
  EXPECT_THAT(choose(false).programs, IsEmpty());
}

TEST(Doors, MovesAreFollowedByTheirRounds) {
  const auto choose = [](bool at_any_cost) {
    return ChooseMovePrograms(
        {"folio_isolate_lru", "isolate_hugetlb", "alloc_migration_target",
         "bpf_rdonly_cast", "migrate_longterm_unpinnable_folios"},
        8, {"compaction", "longterm_pin"}, at_any_cost);
  };
  EXPECT_THAT(choose(false).programs,
              ElementsAre("migrate_longterm__fexit", "migrate_longterm_entry"));
  EXPECT_TRUE(choose(false).sees_rounds);
  EXPECT_FALSE(choose(false).sees_targets);
  EXPECT_THAT(choose(true).programs,
              ElementsAre("migrate_longterm__fexit", "migrate_longterm_entry",
                          "migration_target__fexit"));
  EXPECT_TRUE(choose(true).sees_targets);
}

TEST(Doors, MovesAreNotFollowedWhereThereAreNoneOrTheyAreNotKnown) {
  const auto programs = [](const std::set<std::string>& functions, int args,
                           const std::vector<std::string>& reasons) {
    return ChooseMovePrograms(functions, args, reasons, true).programs;
  };
  EXPECT_THAT(programs({"folio_isolate_lru"}, 7, {"compaction"}), IsEmpty());
  EXPECT_THAT(programs({"folio_isolate_lru"}, 9, {"longterm_pin"}), IsEmpty());
  EXPECT_THAT(programs({"alloc_migration_target"}, 7, {"longterm_pin"}),
              IsEmpty());
}

TEST(Doors, APinProgramIsNoneThatFollowsMoves) {
  EXPECT_TRUE(IsMoveProgram("isolate_lru__fexit"));
  EXPECT_TRUE(IsMoveProgram("migrate_longterm_entry"));
  EXPECT_TRUE(IsMoveProgram("pages_moved__8_args"));
  EXPECT_FALSE(IsMoveProgram("pin_user_pages_fast__fexit"));
}

}  // namespace
}  // namespace pinwatch
