// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_OWNER_BOOK_H_
#define PINWATCH_DAEMON_OWNER_BOOK_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "daemon/attribution.h"
#include "daemon/snapshot.h"
#include "daemon/source.h"

namespace pinwatch {

// The owners of claims: what the kernel's side counts of them, who they are and
// what they hold. A host may have many: only what changes costs anything. It
// does no I/O.
class OwnerBook {
 public:
  using Held = std::map<uint32_t, std::vector<PinHolding>>;  // by owner's id

  // Brings the counts up to date. The result are owners that are new: Add()
  // them.
  std::vector<OwnerReading> Update(std::vector<OwnerReading> readings);

  // Tells who an owner is.
  void Add(const OwnerReading& reading, PinOwner identity);

  void Forget(const std::vector<uint32_t>& ids);

  // The owner's process, or the one that asked for it, has ended.
  void SetEnded(uint32_t id);
  void SetViaEnded(uint32_t id);

  // What all of them hold. The result are those for whom that has changed.
  std::vector<uint32_t> SetHoldings(Held held);
  void SetGrowth(uint32_t id, const std::optional<PinGrowth>& growth);

  OwnerState StateOf(uint32_t id) const;
  const std::set<uint32_t>& ended() const { return ended_; }
  // Null where there is none.
  const PinOwner* Find(uint32_t id) const;
  const OwnerList& owners() const;

  // Rises with whatever attribution goes by.
  uint64_t version() const { return version_; }

 private:
  struct ByContent {
    bool operator()(const Shared<CallStack>& a,
                    const Shared<CallStack>& b) const {
      return *a < *b;
    }
  };

  void Share(Shared<CallStack>& stack);

  // Changes what those who have the owner do not see change.
  template <typename Change>
  void Edit(uint32_t id, Change change);

  OwnerList::Owners
      by_id_;  // at the place of their id; null where there is none
  std::set<uint32_t> ended_;
  std::set<Shared<CallStack>, ByContent> stacks_;  // of all owners
  uint64_t version_ = 0;
  mutable OwnerList list_;
  mutable bool list_is_old_ = false;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_OWNER_BOOK_H_
