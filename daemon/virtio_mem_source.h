// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_VIRTIO_MEM_SOURCE_H_
#define PINWATCH_DAEMON_VIRTIO_MEM_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "bpf/events.h"
#include "daemon/deleter.h"
#include "daemon/kernel_addresses.h"
#include "daemon/snapshot.h"

struct virtio_mem_bpf;

namespace pinwatch {

// What the host asks the devices of virtio-mem to have, from the driver's own
// memory. For one thread.
class VirtioMemSource {
 public:
  explicit VirtioMemSource(const KernelAddresses& addresses);
  ~VirtioMemSource();

  // Sets `requested_bytes` of those that the driver has. FailedPrecondition
  // where this kernel does not tell how the driver keeps it: before v5.11
  // modules have no type information.
  absl::Status Read(std::vector<MemoryDevice>& devices);

 private:
  static void Destroy(virtio_mem_bpf* programs);

  absl::Status Open();

  const uint64_t chain_at_;
  // What cannot be had is not tried again: types are long to read.
  absl::Status refused_;
  virtio_mem_request request_{};
  std::unique_ptr<virtio_mem_bpf, Deleter<Destroy>> programs_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_VIRTIO_MEM_SOURCE_H_
