// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_PIPE_SEARCH_H_
#define PINWATCH_DAEMON_PIPE_SEARCH_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/deleter.h"
#include "daemon/kernel_addresses.h"
#include "daemon/source.h"

struct bpf_link;
struct holders_bpf;

namespace pinwatch {

// Searches the pipes of all processes for pages. For one thread.
class PipeSearch {
 public:
  // FailedPrecondition where this kernel lets nobody go through open files.
  static absl::StatusOr<std::unique_ptr<PipeSearch>> Open(
      const KernelAddresses& addresses);
  ~PipeSearch();

  // See Source::FindInPipes.
  absl::StatusOr<PipeReading> Find(const std::vector<uint64_t>& pfns);

 private:
  PipeSearch();

  static void Destroy(holders_bpf* programs);
  static void DestroyLink(bpf_link* link);

  std::unique_ptr<holders_bpf, Deleter<Destroy>> programs_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_PIPE_SEARCH_H_
