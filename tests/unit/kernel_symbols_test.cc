// SPDX-License-Identifier: Apache-2.0
#include "daemon/kernel_symbols.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

using testing::HasSubstr;

constexpr int64_t kSecond = 1'000'000'000;

// As on a live host: unsorted, aliases, data, per-CPU offsets, modules.
constexpr char kKallsyms[] =
    "0000000000000000 A fixed_percpu_data\n"
    "0000000000001000 A cpu_debug_store\n"
    "ffffffff81002000 T io_pin_pages\n"
    "ffffffff81000000 T _stext\n"
    "ffffffff81000000 T _text\n"
    "ffffffff81001000 t read.constprop.0\n"
    "ffffffff81001800 t read\n"
    "ffffffff81003000 W arch_weak\n"
    "ffffffff81003000 t arch_alias\n"
    "ffffffff82000000 D jiffies\n"
    "ffffffff81004000 T _etext\n"
    "ffffffff81004000 R __start_rodata\n"
    "ffffffff81005000 R table\n"
    "ffffffffc0201000 t vaddr_get_pfns\t[vfio_iommu_type1]\n"
    "ffffffffc0201400 t read\t[vfio_iommu_type1]\n"
    "ffffffffc0900000 t bpf_prog_6deef7357e7b4530_pin\t[bpf]\n";

constexpr char kModules[] =
    "vfio_iommu_type1 8192 2 vfio, Live 0xffffffffc0201000\n";

class KernelSymbolsTest : public testing::Test {
 protected:
  KernelSymbolsTest() {
    Kallsyms(kKallsyms);
    Modules(kModules);
  }

  void Kallsyms(const std::string& text) {
    tree_.Write("/proc/kallsyms", text);
  }
  void Modules(const std::string& text) { tree_.Write("/proc/modules", text); }
  std::string Text(uint64_t address, int64_t now_ns = 0) {
    return ToText(symbols_.Resolve(address, now_ns));
  }

  TempTree tree_;
  KernelSymbols symbols_{tree_.root()};
};

TEST_F(KernelSymbolsTest, NamesTheFunctionAnAddressIsIn) {
  const KernelSymbols::Symbol symbol = symbols_.Resolve(0xffffffff8100205c, 0);
  EXPECT_TRUE(symbol.known);
  EXPECT_EQ(symbol.name, "io_pin_pages");
  EXPECT_EQ(symbol.module, "");
  EXPECT_EQ(symbol.offset, 0x5cu);
  EXPECT_EQ(Text(0xffffffff81002000), "io_pin_pages+0x0");
  EXPECT_EQ(Text(0xffffffff81001fff), "read+0x7ff");
  EXPECT_EQ(Text(0xffffffff810017ff), "read.constprop.0+0x7ff");
  EXPECT_TRUE(symbols_.status().ok()) << symbols_.status();
}

TEST_F(KernelSymbolsTest, NamesTheModule) {
  EXPECT_EQ(Text(0xffffffffc0201010), "vaddr_get_pfns+0x10 [vfio_iommu_type1]");
  EXPECT_EQ(Text(0xffffffffc0900020),
            "bpf_prog_6deef7357e7b4530_pin+0x20 [bpf]");
}

TEST_F(KernelSymbolsTest, TakesTheFirstOfSeveralNamesAsTheKernelDoes) {
  EXPECT_EQ(Text(0xffffffff81000008), "_stext+0x8");
  EXPECT_EQ(Text(0xffffffff81003008), "arch_weak+0x8");
}

TEST_F(KernelSymbolsTest, ShowsTheAddressOfWhatIsInNoFunction) {
  EXPECT_EQ(Text(0xffffffff80ffffff), "0xffffffff80ffffff") << "before all";
  EXPECT_EQ(Text(0xffffffff81005010), "0xffffffff81005010") << "data";
  EXPECT_EQ(Text(0xffffffff82000010), "0xffffffff82000010") << "data";
  EXPECT_EQ(Text(0xffffffffc0203000), "0xffffffffc0203000") << "past a module";
  EXPECT_EQ(Text(0xffffffffc0a00000), "0xffffffffc0a00000") << "past the last";
  EXPECT_EQ(Text(0x55d0deadbeef), "0x55d0deadbeef") << "of a process";
  EXPECT_EQ(Text(0), "0x0");
  EXPECT_FALSE(symbols_.Resolve(0xffffffff81005010, 0).known);
}

TEST_F(KernelSymbolsTest, SaysThatAddressesAreHidden) {
  Kallsyms(
      "0000000000000000 T _stext\n"
      "0000000000000000 t vaddr_get_pfns\t[vfio_iommu_type1]\n");
  const KernelSymbols::Symbol symbol = symbols_.Resolve(0xffffffff81000008, 0);
  EXPECT_FALSE(symbol.known);
  EXPECT_EQ(symbol.name, "[ksym hidden]");
  EXPECT_EQ(ToText(symbol), "[ksym hidden]");
  EXPECT_EQ(symbols_.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(symbols_.Find("_stext", 0).status(), symbols_.status());
}

TEST_F(KernelSymbolsTest, KnowsNothingByAFileThatIsNotUnderstood) {
  for (const char* bad :
       {"ffffffff81000000", "ffffffff81000000 T", "ffffffff81000000 T \n",
        "text T _stext\n", "\n", "ffffffff81000000 TT _stext\n",
        "ffffffff81000000 t f\tvfio\n", "fffffffff81000000 T too_long\n"}) {
    Kallsyms(std::string("ffffffff80000000 T fine\n") + bad);
    KernelSymbols symbols(tree_.root());
    EXPECT_EQ(ToText(symbols.Resolve(0xffffffff80000000, 0)),
              "0xffffffff80000000")
        << bad;
    EXPECT_EQ(symbols.status().code(), absl::StatusCode::kDataLoss) << bad;
    EXPECT_THAT(std::string(symbols.status().message()),
                HasSubstr("/proc/kallsyms line 2: not understood"));
  }
}

TEST_F(KernelSymbolsTest, KnowsNothingWithoutTheFileOrByAnEmptyOne) {
  Kallsyms("");
  EXPECT_EQ(Text(0xffffffff81000000), "0xffffffff81000000");
  EXPECT_EQ(symbols_.status().code(), absl::StatusCode::kDataLoss);
  TempTree empty;
  KernelSymbols none(empty.root());
  EXPECT_EQ(ToText(none.Resolve(0xffffffff81000000, 0)), "0xffffffff81000000");
  EXPECT_EQ(none.status().code(), absl::StatusCode::kNotFound);
}

TEST_F(KernelSymbolsTest, WorksWithoutModules) {
  std::filesystem::remove(tree_.root() + "/proc/modules");
  EXPECT_EQ(Text(0xffffffff81002000), "io_pin_pages+0x0");
}

TEST_F(KernelSymbolsTest, ReadsAgainForAnUnknownAddressAfterFiveSeconds) {
  constexpr uint64_t kNew = 0xffffffffc0b00004;
  EXPECT_EQ(Text(kNew, 100 * kSecond), "0xffffffffc0b00004");
  Kallsyms(std::string(kKallsyms) + "ffffffffc0b00000 t bpf_prog_1\t[bpf]\n");
  EXPECT_EQ(Text(kNew, 105 * kSecond - 1), "0xffffffffc0b00004");
  EXPECT_EQ(Text(kNew, 105 * kSecond), "bpf_prog_1+0x4 [bpf]");
}

TEST_F(KernelSymbolsTest, ReadsAgainAtOnceForAnUnknownAddressIfAModuleCame) {
  EXPECT_EQ(Text(0xffffffff81002000, 100 * kSecond), "io_pin_pages+0x0");
  Kallsyms(std::string(kKallsyms) + "ffffffffc0b00000 t rxe_init\t[rxe]\n");
  EXPECT_EQ(Text(0xffffffffc0b00004, 101 * kSecond), "0xffffffffc0b00004");
  Modules(std::string(kModules) + "rxe 8192 0 - Live 0xffffffffc0b00000\n");
  EXPECT_EQ(Text(0xffffffffc0b00004, 102 * kSecond), "rxe_init+0x4 [rxe]");
}

TEST_F(KernelSymbolsTest, DoesNotReadAgainForAnAddressOfAProcess) {
  EXPECT_EQ(Text(0x1000, 0), "0x1000");
  Kallsyms("ffffffff81002000 T other\n");
  EXPECT_EQ(Text(0x1000, 100 * kSecond), "0x1000");
  EXPECT_EQ(Text(0xffffffff81002000, 100 * kSecond), "io_pin_pages+0x0");
}

TEST_F(KernelSymbolsTest, ReadsAgainWhenAModuleCameInTheOldOnesPlace) {
  EXPECT_EQ(Text(0xffffffffc0201010, 0),
            "vaddr_get_pfns+0x10 [vfio_iommu_type1]");
  Kallsyms(
      "ffffffff81000000 T _stext\n"
      "ffffffffc0201000 t ublk_init\t[ublk_drv]\n");
  Modules("ublk_drv 8192 0 - Live 0xffffffffc0201000\n");
  EXPECT_EQ(Text(0xffffffffc0201010, 1), "ublk_init+0x10 [ublk_drv]");
}

TEST_F(KernelSymbolsTest, LooksAtModulesSeldomForAnAddressOfTheKernel) {
  EXPECT_EQ(Text(0xffffffff81002000, 0), "io_pin_pages+0x0");
  Kallsyms("ffffffff81002000 T other\n");
  Modules("");
  EXPECT_EQ(Text(0xffffffff81002000, 5 * kSecond - 1), "io_pin_pages+0x0");
  EXPECT_EQ(Text(0xffffffff81002000, 5 * kSecond), "other+0x0");
}

TEST_F(KernelSymbolsTest, DoesNotReadAgainWhenAModuleIsOnlyUsedMore) {
  EXPECT_EQ(Text(0xffffffff81002000, 0), "io_pin_pages+0x0");
  Kallsyms("ffffffff81002000 T other\n");
  Modules("vfio_iommu_type1 8192 7 vfio,kvm, Live 0xffffffffc0201000\n");
  EXPECT_EQ(Text(0xffffffff81002000, 100 * kSecond), "io_pin_pages+0x0");
}

TEST_F(KernelSymbolsTest, FreesWhatIsIdleAndReadsItAgain) {
  EXPECT_EQ(Text(0xffffffff81002000, 0), "io_pin_pages+0x0");
  Kallsyms("ffffffff81002000 T other\n");
  symbols_.FreeIfIdle(59 * kSecond);
  EXPECT_EQ(Text(0xffffffff81002000, 60 * kSecond), "io_pin_pages+0x0");
  symbols_.FreeIfIdle(119 * kSecond);
  EXPECT_EQ(Text(0xffffffff81002000, 119 * kSecond), "io_pin_pages+0x0");
  symbols_.FreeIfIdle(179 * kSecond);
  EXPECT_EQ(Text(0xffffffff81002000, 179 * kSecond), "other+0x0");
}

TEST_F(KernelSymbolsTest, FindsWhereAFunctionIs) {
  const auto range = symbols_.Find("io_pin_pages", 0);
  ASSERT_TRUE(range.ok()) << range.status();
  EXPECT_EQ(range->start, 0xffffffff81002000u);
  EXPECT_EQ(range->end, 0xffffffff81003000u);
  EXPECT_EQ(symbols_.Find("arch_alias", 0)->end, 0xffffffff81004000u)
      << "data ends it";
  EXPECT_EQ(symbols_.Find("vaddr_get_pfns", 0)->end, 0xffffffffc0201400u);
}

TEST_F(KernelSymbolsTest, FindsNoFunctionThatIsNotOne) {
  EXPECT_EQ(symbols_.Find("io_pin", 0).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(symbols_.Find("jiffies", 0).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(symbols_.Find("read", 0).status().code(),
            absl::StatusCode::kFailedPrecondition)
      << "there are two";
}

}  // namespace
}  // namespace pinwatch
