// SPDX-License-Identifier: Apache-2.0
#include "daemon/subsystem.h"

#include <gtest/gtest.h>

#include <array>

namespace pinwatch {
namespace {

using Symbol = KernelSymbols::Symbol;

Symbol Frame(const std::string& name, const std::string& module = "") {
  return {.name = name, .module = module, .offset = 0x5c, .known = true};
}

const Symbol kHidden = {.name = "[ksym hidden]"};
const Symbol kUnknown = {.name = "0xffffffffc0201000"};

TEST(CallSite, IsBehindTracingAndGetUserPages) {
  const CallSite site = FindCallSite(
      {Frame("bpf_prog_6deef7357e7b4530_pin__fexit", "bpf"),
       Frame("bpf_trampoline_6442536467", "bpf"), Frame("pin_user_pages_fast"),
       Frame("io_pin_pages"), Frame("io_sqe_buffer_register"),
       Frame("io_sqe_buffers_register"), Frame("__x64_sys_io_uring_register"),
       Frame("do_syscall_64")});
  EXPECT_EQ(site.function, "io_pin_pages");
  EXPECT_EQ(site.module, "");
  EXPECT_EQ(site.subsystem, "io_uring");
}

TEST(CallSite, IsFoundBehindProgramsThatHaveNoName) {
  const CallSite site =
      FindCallSite({kUnknown, kUnknown, Frame("__gup_longterm_locked"),
                    Frame("pin_user_pages"), Frame("xdp_umem_create")});
  EXPECT_EQ(site.function, "xdp_umem_create");
  EXPECT_EQ(site.subsystem, "af_xdp");
}

TEST(CallSite, PassesOverEveryFormOfGetUserPages) {
  for (const char* name :
       {"pin_user_pages", "pin_user_pages_fast", "pin_user_pages_remote",
        "pin_user_pages_unlocked", "__gup_longterm_locked",
        "internal_get_user_pages_fast", "internal_get_user_pages_fast.isra.0",
        "gup_fast_fallback", "memfd_pin_folios", "get_user_pages_fast",
        "__get_user_pages", "__get_user_pages_remote",
        "__get_user_pages.part.0", "bpf_get_stackid_raw_tp",
        "ftrace_caller_op_ptr"})
    EXPECT_EQ(FindCallSite({Frame(name), Frame("udmabuf_create")}).function,
              "udmabuf_create")
        << name;
}

TEST(CallSite, IsNotPassedOverForItsNameInAModule) {
  const CallSite site = FindCallSite(
      {Frame("get_user_pages_of_gpu", "nogpu"), Frame("vfio_main")});
  EXPECT_EQ(site.function, "get_user_pages_of_gpu");
  EXPECT_EQ(site.module, "nogpu");
  EXPECT_EQ(site.subsystem, "nogpu");
}

TEST(CallSite, HasNoCompilersSuffix) {
  const CallSite site = FindCallSite({Frame("process_vm_rw_core.constprop.0")});
  EXPECT_EQ(site.function, "process_vm_rw_core");
  EXPECT_EQ(site.subsystem, "process_vm");
}

TEST(CallSite, OfDirectIoIsWhereThePagesAreTakenFromTheIterator) {
  const CallSite site = FindCallSite(
      {Frame("pin_user_pages_fast"), Frame("iov_iter_extract_pages"),
       Frame("bio_iov_iter_get_pages"), Frame("__blkdev_direct_IO_simple"),
       Frame("io_write"), Frame("__x64_sys_io_uring_enter")});
  EXPECT_EQ(site.function, "iov_iter_extract_pages");
  EXPECT_EQ(site.subsystem, "direct_io");
}

TEST(CallSite, OfNothingKnownIsUnknown) {
  for (const std::vector<Symbol>& stack :
       {std::vector<Symbol>{}, {kHidden, kHidden}, {Frame("pin_user_pages")}}) {
    const CallSite site = FindCallSite(stack);
    EXPECT_EQ(site.function, "");
    EXPECT_EQ(site.module, "");
    EXPECT_EQ(site.subsystem, "unknown");
  }
}

TEST(Subsystem, IsToldByFunctionAndModule) {
  for (const auto& [function, module, subsystem] :
       std::vector<std::array<const char*, 3>>{
           {"io_sqe_buffer_register", "", "io_uring"},
           {"vaddr_get_pfns", "vfio_iommu_type1", "vfio"},
           {"vaddr_get_pfns", "", "vfio"},
           {"vaddr_get_pfn", "vfio_iommu_type1", "vfio"},
           {"hold", "vfio_pci_core", "vfio"},
           {"pfn_reader_user_pin", "iommufd", "iommufd"},
           {"iopt_pages_rw_access", "", "iommufd"},
           {"ib_umem_get", "ib_uverbs", "rdma"},
           {"ib_umem_get", "", "rdma"},
           {"__ib_umem_get_va", "ib_core", "rdma"},
           {"__ib_umem_get_va", "", "rdma"},
           {"rxe_mr_init_user", "rdma_rxe", "rdma"},
           {"hfi1_acquire_user_pages", "hfi1", "rdma"},
           {"xdp_umem_create", "", "af_xdp"},
           {"udmabuf_create", "udmabuf", "udmabuf"},
           {"iov_iter_extract_pages", "", "direct_io"},
           {"bio_iov_iter_get_pages", "", "direct_io"},
           {"dio_refill_pages", "", "direct_io"},
           {"iomap_dio_bio_iter", "", "direct_io"},
           {"process_vm_rw_core.constprop.0", "", "process_vm"},
           {"vhost_vdpa_pa_map", "vhost_vdpa", "vhost"},
           {"user_event_enabler_write", "", "user_events"},
           {"ublk_ch_mmap", "ublk_drv", "ublk"},
           {"rds_pin_pages", "rds", "rds"},
           {"sev_pin_memory", "kvm_amd", "kvm_amd"}})
    EXPECT_EQ(FindCallSite({Frame(function, module)}).subsystem, subsystem)
        << function << " [" << module << "]";
}

TEST(Subsystem, IsThatOfTheNearestCallerWhereTheCallSiteDoesNotTell) {
  const CallSite site = FindCallSite(
      {Frame("pin_user_pages"), Frame("some_helper"), kUnknown,
       Frame("vfio_pin_map_dma", "vfio_iommu_type1"), Frame("ksys_ioctl")});
  EXPECT_EQ(site.function, "some_helper");
  EXPECT_EQ(site.subsystem, "vfio");
}

TEST(Subsystem, IsUnknownWhereOnlyTheKernelItselfCalled) {
  const CallSite site =
      FindCallSite({Frame("get_futex_key"), Frame("do_futex"),
                    Frame("bpf_trampoline_64", "bpf"), Frame("do_syscall_64")});
  EXPECT_EQ(site.function, "get_futex_key");
  EXPECT_EQ(site.subsystem, "unknown");
}

}  // namespace
}  // namespace pinwatch
