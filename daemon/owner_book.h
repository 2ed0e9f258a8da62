// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_OWNER_BOOK_H_
#define PINWATCH_DAEMON_OWNER_BOOK_H_

#include <cstdint>
#include <map>
#include <vector>

#include "daemon/attribution.h"
#include "daemon/snapshot.h"
#include "daemon/source.h"

namespace pinwatch {

// The owners of claims: what the kernel's side counts of them, and who they
// are. It does no I/O.
class OwnerBook {
 public:
  // Brings the counts up to date and forgets owners that are not among
  // `readings`. The result are those that are new: Add() them.
  std::vector<OwnerReading> Update(const std::vector<OwnerReading>& readings);

  // Tells who an owner is.
  void Add(const OwnerReading& reading, PinOwner identity);

  // The owner's process, or the one that asked for it, has ended.
  void SetEnded(uint32_t id);
  void SetViaEnded(uint32_t id);

  OwnerState StateOf(uint32_t id) const;
  std::vector<uint32_t> Ended() const;
  const std::map<uint32_t, PinOwner>& owners() const { return owners_; }

 private:
  std::map<uint32_t, PinOwner> owners_;  // by id; without holdings
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_OWNER_BOOK_H_
