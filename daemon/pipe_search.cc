// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipe_search.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <tuple>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "bpf/events.h"
#include "bpf/holders.skel.h"
#include "daemon/event_fields.h"
#include "daemon/probes.h"

namespace pinwatch {

PipeSearch::PipeSearch() = default;
PipeSearch::~PipeSearch() = default;

void PipeSearch::Destroy(holders_bpf* programs) {
  holders_bpf__destroy(programs);
}

void PipeSearch::DestroyLink(bpf_link* link) { bpf_link__destroy(link); }

absl::StatusOr<std::unique_ptr<PipeSearch>> PipeSearch::Open(
    const KernelAddresses& addresses) {
  if (absl::Status status = RequireKernelReads(""); !status.ok()) return status;
  if (absl::Status status =
          addresses.Require({"vmemmap_base", "pipefifo_fops"});
      !status.ok())
    return status;
  auto search = std::unique_ptr<PipeSearch>(new PipeSearch);
  LIBBPF_OPTS(bpf_object_open_opts, open, .btf_custom_path = KernelTypesPath());
  search->programs_.reset(holders_bpf__open_opts(&open));
  holders_bpf* programs = search->programs_.get();
  if (!programs) return absl::ErrnoToStatus(errno, "open the search of pipes");
  programs->rodata->vmemmap_base_at = addresses.At("vmemmap_base");
  programs->rodata->pipefifo_fops_at = addresses.At("pipefifo_fops");
  programs->rodata->pipeanon_fops_at = addresses.At("pipeanon_fops");
  bpf_program__set_autoload(programs->progs.pipes__iter, true);
  if (const int error = holders_bpf__load(programs))
    return absl::ErrnoToStatus(
        -error, "the kernel refuses to go through open files (iter/task_file)");
  return search;
}

absl::StatusOr<PipeReading> PipeSearch::Find(
    const std::vector<uint64_t>& pfns) {
  const bpf_map* searched = programs_->maps.searched_pfns;
  const size_t nr_searched =
      std::min<size_t>(pfns.size(), PINWATCH_MAX_SEARCHED);
  const absl::Cleanup forget = [&] {
    for (size_t i = 0; i < nr_searched; ++i)
      bpf_map__delete_elem(searched, &pfns[i], sizeof(pfns[i]), 0);
  };
  for (size_t i = 0; i < nr_searched; ++i) {
    const uint8_t one = 1;
    if (const int error = bpf_map__update_elem(
            searched, &pfns[i], sizeof(pfns[i]), &one, sizeof(one), BPF_ANY))
      return absl::ErrnoToStatus(-error, "note the pages to search for");
  }
  const uint64_t cut_short_before = programs_->bss->pipes_cut_short;
  const std::unique_ptr<bpf_link, Deleter<DestroyLink>> link(
      bpf_program__attach_iter(programs_->progs.pipes__iter, nullptr));
  if (!link) return absl::ErrnoToStatus(errno, "attach to iter/task_file");
  const int fd = bpf_iter_create(bpf_link__fd(link.get()));
  if (fd < 0) return absl::ErrnoToStatus(errno, "go through open files");
  const absl::Cleanup closer = [fd] { close(fd); };

  PipeReading reading;
  // Whole records: the kernel gives what one file wrote, or nothing of it.
  std::array<pipe_page, 512> buffer;
  for (;;) {
    const ssize_t size = read(fd, buffer.data(), sizeof(buffer));
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (size < 0) return absl::ErrnoToStatus(errno, "read open files");
    if (size == 0) break;
    const size_t nr_read = static_cast<size_t>(size) / sizeof(pipe_page);
    for (size_t i = 0; i < nr_read; ++i) {
      const pipe_page& page = buffer[i];
      reading.pages.push_back({.pfn = page.pfn,
                               .pid = page.tgid,
                               .start_boottime_ns = page.start_ns,
                               .comm = Comm(page.comm),
                               .fd = static_cast<int>(page.fd)});
    }
  }
  // Threads share their files.
  const auto key = [](const PipePage& page) {
    return std::tuple(page.pfn, page.pid, page.fd);
  };
  std::ranges::sort(reading.pages, {}, key);
  // Not std::ranges::unique: clang 14 cannot read what g++ 12 has it return.
  const auto same = [&](const PipePage& a, const PipePage& b) {
    return key(a) == key(b);
  };
  const auto end =
      std::unique(reading.pages.begin(), reading.pages.end(), same);
  reading.pages.erase(end, reading.pages.end());
  reading.complete = nr_searched == pfns.size() &&
                     programs_->bss->pipes_cut_short == cut_short_before;
  return reading;
}

}  // namespace pinwatch
