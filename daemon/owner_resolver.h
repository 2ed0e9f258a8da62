// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_OWNER_RESOLVER_H_
#define PINWATCH_DAEMON_OWNER_RESOLVER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/kernel_symbols.h"
#include "daemon/snapshot.h"
#include "daemon/source.h"
#include "daemon/user_symbols.h"

namespace pinwatch {

// Finds out from /proc who owners are and what their call stacks mean. For one
// thread.
class OwnerResolver {
 public:
  // `root` is the directory that /proc is in.
  explicit OwnerResolver(std::string root);

  // What can be known of a new owner; what its process took with it when it
  // ended stays empty. `now_ns` is CLOCK_MONOTONIC.
  PinOwner Identify(const OwnerReading& reading, int64_t now_ns);

  // A process that was seen to bear that name; of one that has ended nothing
  // more is known.
  Process Find(uint32_t pid, uint64_t start_boottime_ns,
               const std::string& comm) const;

  bool HasEnded(const Process& process) const;

  // See pinwatch::FindRoad.
  std::string FindRoad(const std::vector<uint64_t>& kernel_stack,
                       int64_t now_ns);

  // Gives back memory that nothing has needed for a while.
  void FreeIfIdle(int64_t now_ns) { kernel_symbols_.FreeIfIdle(now_ns); }

 private:
  std::vector<KernelSymbols::Symbol> Resolve(
      const std::vector<uint64_t>& addresses, int64_t now_ns);
  void NameKernelStack(const OwnerReading& reading, int64_t now_ns,
                       PinOwner& owner);
  void NameDevices(const OwnerReading& reading, PinOwner& owner) const;
  void NameUserStack(const OwnerReading& reading, PinOwner& owner);

  const std::string root_;
  KernelSymbols kernel_symbols_;
  UserSymbols user_symbols_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_OWNER_RESOLVER_H_
