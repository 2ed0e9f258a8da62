// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_REFERENCE_SOURCE_H_
#define PINWATCH_DAEMON_REFERENCE_SOURCE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/deleter.h"
#include "daemon/kernel_addresses.h"
#include "daemon/probes.h"
#include "daemon/source.h"

struct references_bpf;

namespace pinwatch {

// Who took plain references through get_user_pages_fast(). For one thread.
class ReferenceSource {
 public:
  // FailedPrecondition where this kernel lets the function not be followed.
  static absl::StatusOr<std::unique_ptr<ReferenceSource>> Open(
      const KernelLayout& layout, const KernelAddresses& addresses);
  ~ReferenceSource();

  // See Source::FindTakers.
  std::vector<ReferenceTaker> Find(const std::vector<uint64_t>& pfns,
                                   Timestamp now) const;

  // Takes the program off, and puts it there again: 0 or -errno. What was noted
  // before is forgotten: others may have come meanwhile.
  void Detach();
  int Attach();

 private:
  ReferenceSource();

  static void Destroy(references_bpf* programs);

  std::unique_ptr<references_bpf, Deleter<Destroy>> programs_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_REFERENCE_SOURCE_H_
