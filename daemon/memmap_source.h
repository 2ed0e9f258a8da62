// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_MEMMAP_SOURCE_H_
#define PINWATCH_DAEMON_MEMMAP_SOURCE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bpf/events.h"
#include "daemon/deleter.h"
#include "daemon/kernel_addresses.h"
#include "daemon/memmap.h"

struct memmap_bpf;

namespace pinwatch {

// Which pages hold struct pages, by the kernel's own page table. For one
// thread.
class MemmapSource {
 public:
  explicit MemmapSource(const KernelAddresses& addresses);
  ~MemmapSource();

  // Of the struct pages of [start_pfn, end_pfn), which are whole memory blocks;
  // where there are none, nothing. Of more than 131,072 pieces the last are
  // left out. FailedPrecondition where the kernel hides
  // its page table.
  absl::StatusOr<std::vector<MemmapPiece>> Read(uint64_t start_pfn,
                                                uint64_t end_pfn);

 private:
  static void Destroy(memmap_bpf* programs);

  absl::Status Open();

  const KernelAddresses addresses_;
  absl::Status refused_;  // what cannot be had is not tried again
  std::unique_ptr<memmap_bpf, Deleter<Destroy>> programs_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_MEMMAP_SOURCE_H_
