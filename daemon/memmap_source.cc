// SPDX-License-Identifier: Apache-2.0
#include "daemon/memmap_source.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>

#include "bpf/memmap.skel.h"
#include "daemon/probes.h"

namespace pinwatch {
namespace {

constexpr uint64_t kPageBytes = 4096;
// 3 MiB. A host has few, but for huge pages that keep one page each.
constexpr size_t kMostPieces = 131'072;

constexpr uint64_t kStructPageBytes = kPageBytes / kPagesAMemmapPage;

}  // namespace

MemmapSource::MemmapSource(const KernelAddresses& addresses)
    : addresses_(addresses) {}

MemmapSource::~MemmapSource() = default;

void MemmapSource::Destroy(memmap_bpf* programs) {
  memmap_bpf__destroy(programs);
}

absl::Status MemmapSource::Open() {
  if (absl::Status status =
          addresses_.Require({"init_mm", "page_offset_base", "vmemmap_base"});
      !status.ok())
    return status;
  LIBBPF_OPTS(bpf_object_open_opts, open, .btf_custom_path = KernelTypesPath());
  memmap_bpf* programs = memmap_bpf__open_opts(&open);
  if (!programs)
    return absl::ErrnoToStatus(errno, "open the program for struct pages");
  std::unique_ptr<memmap_bpf, Deleter<Destroy>> opened(programs);
  programs->rodata->init_mm_at = addresses_.At("init_mm");
  programs->rodata->page_offset_base_at = addresses_.At("page_offset_base");
  programs->rodata->vmemmap_base_at = addresses_.At("vmemmap_base");
  programs->rodata->pgdir_shift_at = addresses_.At("pgdir_shift");
  programs->rodata->sme_me_mask_at = addresses_.At("sme_me_mask");
  if (const int error = memmap_bpf__load(programs))
    return absl::ErrnoToStatus(
        -error, "the kernel refuses the program for struct pages");
  programs_ = std::move(opened);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<MemmapPiece>> MemmapSource::Read(uint64_t start_pfn,
                                                            uint64_t end_pfn) {
  if (!programs_ && refused_.ok()) refused_ = Open();
  if (!refused_.ok()) return refused_;
  std::vector<MemmapPiece> pieces;
  memmap_request request{.start = start_pfn * kStructPageBytes,
                         .end = end_pfn * kStructPageBytes};
  const memmap_found& found = programs_->bss->memmap_found;
  LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &request,
              .ctx_size_in = sizeof(request));
  for (; request.start < request.end; request.start = found.next) {
    const int error = bpf_prog_test_run_opts(
        bpf_program__fd(programs_->progs.memmap__read), &options);
    if (error || options.retval)
      return absl::ErrnoToStatus(error ? -error : EFAULT,
                                 "read the kernel's page table");
    for (uint32_t i = 0; i < found.count && i < PINWATCH_MEMMAP_PIECES; ++i) {
      const memmap_piece& piece = found.pieces[i];
      if (pieces.size() < kMostPieces)
        pieces.push_back({.pfn = piece.pfn,
                          .nr_pages = piece.nr_pages,
                          .of_pfn = piece.index * kPagesAMemmapPage});
    }
  }
  return pieces;
}

}  // namespace pinwatch
