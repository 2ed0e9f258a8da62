// SPDX-License-Identifier: Apache-2.0
#include "daemon/subsystem.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace pinwatch {
namespace {

using Symbol = KernelSymbols::Symbol;

// What the kernel itself puts between a stack and the one that wants pages:
// tracing first, then get_user_pages and its inner functions.
constexpr absl::string_view kPassedOver[] = {
    "bpf_",
    "__bpf_",
    "ftrace_",
    "fprobe_",
    "kprobe_",
    "kretprobe_",
    "rethook_",
    "arch_rethook_",
    "get_user_pages",
    "__get_user_pages",
    "pin_user_pages",
    "__pin_user_pages",
    "gup_",
    "__gup_",
    "internal_get_user_pages",
    "lockless_pages_from_mm",
    "follow_page_",
    "faultin_page",
    "try_grab_",
    "memfd_pin_folios",
};

struct Rule {
  absl::string_view prefix;
  absl::string_view subsystem;
};

constexpr Rule kByFunction[] = {
    {"io_pin_pages", "io_uring"},
    {"io_sqe_buffer", "io_uring"},
    {"io_uring_", "io_uring"},
    {"__io_uring_", "io_uring"},
    {"io_register_", "io_uring"},
    {"io_rsrc_", "io_uring"},
    {"io_region_", "io_uring"},
    {"io_create_region", "io_uring"},
    {"vaddr_get_pfn", "vfio"},
    {"vfio_", "vfio"},
    {"iopt_", "iommufd"},
    {"pfn_reader_", "iommufd"},
    {"iommufd_", "iommufd"},
    {"ib_umem_", "rdma"},
    {"__ib_umem_", "rdma"},
    {"ib_uverbs_", "rdma"},
    {"xdp_umem_", "af_xdp"},
    {"udmabuf_", "udmabuf"},
    {"iov_iter_extract_", "direct_io"},
    {"bio_iov_iter_get_pages", "direct_io"},
    {"blkdev_direct_IO", "direct_io"},
    {"__blkdev_direct_IO", "direct_io"},
    {"dio_", "direct_io"},
    {"iomap_dio_", "direct_io"},
    {"process_vm_", "process_vm"},
    {"vhost_", "vhost"},
    {"user_event_", "user_events"},
    {"user_events_", "user_events"},
    {"ublk_", "ublk"},
};

constexpr Rule kByModule[] = {
    {"vfio", "vfio"},   {"iommufd", "iommufd"}, {"ib_", "rdma"},
    {"rdma_", "rdma"},  {"mlx4_ib", "rdma"},    {"mlx5_ib", "rdma"},
    {"hfi1", "rdma"},   {"siw", "rdma"},        {"usnic_verbs", "rdma"},
    {"vhost", "vhost"}, {"ublk_drv", "ublk"},   {"udmabuf", "udmabuf"},
};

// The subsystem of the first rule that `name` begins with, or empty.
template <size_t size>
absl::string_view Match(const Rule (&rules)[size], absl::string_view name) {
  const auto* rule = std::find_if(
      std::begin(rules), std::end(rules),
      [&](const Rule& rule) { return absl::StartsWith(name, rule.prefix); });
  return rule == std::end(rules) ? "" : rule->subsystem;
}

// BPF programs and trampolines, and what ftrace and kprobes make up.
bool IsTracing(absl::string_view module) {
  return module == "bpf" || absl::StartsWith(module, "__builtin__");
}

// A function of a module is its own, whatever its name.
bool IsPassedOver(const Symbol& frame) {
  if (!frame.known || IsTracing(frame.module)) return true;
  return frame.module.empty() &&
         std::any_of(std::begin(kPassedOver), std::end(kPassedOver),
                     [&](absl::string_view prefix) {
                       return absl::StartsWith(frame.name, prefix);
                     });
}

// Empty if the frame does not tell.
absl::string_view SubsystemOf(const Symbol& frame) {
  if (IsPassedOver(frame)) return "";
  if (const auto name = Match(kByFunction, frame.name); !name.empty())
    return name;
  if (const auto name = Match(kByModule, frame.module); !name.empty())
    return name;
  return frame.module;
}

// "process_vm_rw_core" of "process_vm_rw_core.constprop.0": which copies of a
// function the compiler makes differs from build to build.
absl::string_view WithoutSuffix(absl::string_view name) {
  return name.substr(0, name.find('.', 1));
}

}  // namespace

CallSite FindCallSite(const std::vector<Symbol>& stack) {
  CallSite site{.subsystem = "unknown"};
  auto frame = std::find_if_not(stack.begin(), stack.end(), IsPassedOver);
  if (frame == stack.end()) return site;
  site.function = std::string(WithoutSuffix(frame->name));
  site.module = frame->module;
  for (; frame != stack.end(); ++frame) {
    const absl::string_view subsystem = SubsystemOf(*frame);
    if (subsystem.empty()) continue;
    site.subsystem = std::string(subsystem);
    break;
  }
  return site;
}

}  // namespace pinwatch
