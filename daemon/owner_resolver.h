// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_OWNER_RESOLVER_H_
#define PINWATCH_DAEMON_OWNER_RESOLVER_H_

#include <string>

#include "daemon/snapshot.h"
#include "daemon/source.h"

namespace pinwatch {

// Finds out from /proc who owners are and what their call stacks mean.
class OwnerResolver {
 public:
  // `root` is the directory that /proc is in.
  explicit OwnerResolver(std::string root);

  // What can be known of a new owner; what its process took with it when it
  // ended stays empty.
  PinOwner Identify(const OwnerReading& reading);

  bool HasEnded(const Process& process) const;

 private:
  Process ReadProcess(uint32_t pid, uint64_t start_boottime_ns,
                      const std::string& comm) const;

  const std::string root_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_OWNER_RESOLVER_H_
