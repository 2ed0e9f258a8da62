// SPDX-License-Identifier: Apache-2.0
#include "daemon/reference_source.h"

#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/status/status.h"
#include "bpf/events.h"
#include "bpf/references.skel.h"
#include "daemon/clock.h"
#include "daemon/event_fields.h"

namespace pinwatch {

ReferenceSource::ReferenceSource() = default;
ReferenceSource::~ReferenceSource() = default;

void ReferenceSource::Destroy(references_bpf* programs) {
  references_bpf__destroy(programs);
}

absl::StatusOr<std::unique_ptr<ReferenceSource>> ReferenceSource::Open(
    const KernelLayout& layout, const KernelAddresses& addresses) {
  if (absl::Status status = RequireKernelReads(""); !status.ok()) return status;
  if (absl::Status status = addresses.Require({"vmemmap_base"}); !status.ok())
    return status;
  if (!layout.has_get_user_pages_fast)
    return absl::FailedPreconditionError(
        "the kernel has no get_user_pages_fast of the form that is known here");
  auto source = std::unique_ptr<ReferenceSource>(new ReferenceSource);
  LIBBPF_OPTS(bpf_object_open_opts, open, .btf_custom_path = KernelTypesPath());
  source->programs_.reset(references_bpf__open_opts(&open));
  references_bpf* programs = source->programs_.get();
  if (!programs)
    return absl::ErrnoToStatus(errno, "open the program for references");
  programs->rodata->vmemmap_base_at = addresses.At("vmemmap_base");
  bpf_program__set_autoload(programs->progs.references__fexit, true);
  if (const int error = references_bpf__load(programs))
    return absl::ErrnoToStatus(
        -error, "the kernel refuses the program on get_user_pages_fast");
  if (const int error = source->Attach())
    return absl::ErrnoToStatus(-error, "attach to get_user_pages_fast");
  return source;
}

int ReferenceSource::Attach() {
  return references_bpf__attach(programs_.get());
}

void ReferenceSource::Detach() {
  references_bpf__detach(programs_.get());
  std::ranges::fill(programs_->bss->taken_references, taken_reference{});
}

std::vector<ReferenceTaker> ReferenceSource::Find(
    const std::vector<uint64_t>& pfns, Timestamp now) const {
  std::vector<ReferenceTaker> takers;
  for (const uint64_t pfn : pfns) {
    const taken_reference& slot =
        programs_->bss->taken_references[pfn % PINWATCH_TAKEN_REFERENCES];
    // It may be written meanwhile, and two who write at once may leave
    // something of each.
    taken_reference taken;
    std::memcpy(&taken, &slot, sizeof(taken));
    if (taken.pfn != pfn || taken.check != check_of(&taken) ||
        taken.taken_ns <
            __atomic_load_n(&programs_->bss->references_left_out_ns,
                            __ATOMIC_RELAXED))
      continue;
    takers.push_back({.pfn = pfn,
                      .pid = taken.tgid,
                      .start_boottime_ns = taken.start_ns,
                      .comm = Comm(taken.comm),
                      .taken = At(taken.taken_ns, now)});
  }
  return takers;
}

}  // namespace pinwatch
