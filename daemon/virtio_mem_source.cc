// SPDX-License-Identifier: Apache-2.0
#include "daemon/virtio_mem_source.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "bpf/virtio_mem.skel.h"
#include "daemon/probes.h"

namespace pinwatch {
namespace {

// Where the kernel tells how a module lays out its types.
constexpr char kModuleTypes[] = "/sys/kernel/btf/virtio_mem";

using Types = std::unique_ptr<btf, Deleter<btf__free>>;

// Byte offset of a field of struct virtio_mem, or nothing.
bool FindField(const btf* types, const btf_type* record, std::string_view name,
               __u64& offset) {
  for (uint16_t i = 0; i < btf_vlen(record); ++i)
    if (btf__name_by_offset(types, btf_members(record)[i].name_off) == name) {
      offset = btf_member_bit_offset(record, i) / 8;
      return true;
    }
  return false;
}

absl::Status ReadOffsets(virtio_mem_request& request) {
  if (access(kModuleTypes, R_OK) != 0)
    return absl::FailedPreconditionError(
        "the kernel has no type information of the module virtio_mem "
        "(/sys/kernel/btf/virtio_mem, from v5.11 on)");
  const Types kernel(btf__parse(KernelTypesPath(), nullptr));
  const Types module(kernel ? btf__parse_split(kModuleTypes, kernel.get())
                            : nullptr);
  if (!module)
    return absl::ErrnoToStatus(errno,
                               "read the types of the module virtio_mem");
  const int id =
      btf__find_by_name_kind(module.get(), "virtio_mem", BTF_KIND_STRUCT);
  const btf_type* record = id > 0 ? btf__type_by_id(module.get(), id) : nullptr;
  if (!record ||
      !FindField(module.get(), record, "memory_notifier",
                 request.notifier_offset) ||
      !FindField(module.get(), record, "addr", request.start_offset) ||
      !FindField(module.get(), record, "region_size", request.size_offset) ||
      !FindField(module.get(), record, "requested_size",
                 request.requested_offset))
    return absl::FailedPreconditionError(
        "the module virtio_mem has no struct virtio_mem of a form that is "
        "known here");
  return absl::OkStatus();
}

}  // namespace

VirtioMemSource::VirtioMemSource(const KernelAddresses& addresses)
    : chain_at_(addresses.At("memory_chain")) {}

VirtioMemSource::~VirtioMemSource() = default;

void VirtioMemSource::Destroy(virtio_mem_bpf* programs) {
  virtio_mem_bpf__destroy(programs);
}

// Only where there is such a device, whose driver is there by then.
absl::Status VirtioMemSource::Open() {
  if (!chain_at_)
    return absl::FailedPreconditionError("/proc/kallsyms lacks memory_chain");
  request_.chain_at = chain_at_;
  if (absl::Status status = ReadOffsets(request_); !status.ok()) return status;
  LIBBPF_OPTS(bpf_object_open_opts, open, .btf_custom_path = KernelTypesPath());
  virtio_mem_bpf* programs = virtio_mem_bpf__open_opts(&open);
  if (!programs)
    return absl::ErrnoToStatus(errno, "open the program for virtio-mem");
  std::unique_ptr<virtio_mem_bpf, Deleter<Destroy>> opened(programs);
  if (const int error = virtio_mem_bpf__load(programs))
    return absl::ErrnoToStatus(-error,
                               "the kernel refuses the program for virtio-mem");
  programs_ = std::move(opened);
  return absl::OkStatus();
}

absl::Status VirtioMemSource::Read(std::vector<MemoryDevice>& devices) {
  if (devices.empty()) return absl::OkStatus();
  if (!programs_ && refused_.ok()) refused_ = Open();
  if (!refused_.ok()) return refused_;
  LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &request_,
              .ctx_size_in = sizeof(request_));
  const int error = bpf_prog_test_run_opts(
      bpf_program__fd(programs_->progs.virtio_mem__chain), &options);
  if (error || options.retval)
    return absl::ErrnoToStatus(error ? -error : EFAULT,
                               "read the driver's memory");
  const virtio_mem_chain& chain = programs_->bss->virtio_mem_chain;
  for (MemoryDevice& device : devices)
    for (uint32_t i = 0; i < chain.count && i < PINWATCH_NOTIFIERS; ++i)
      if (chain.devices[i].start == device.start &&
          chain.devices[i].size == device.size)
        device.requested_bytes = chain.devices[i].requested;
  return absl::OkStatus();
}

}  // namespace pinwatch
