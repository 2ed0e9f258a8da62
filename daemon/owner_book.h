// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_OWNER_BOOK_H_
#define PINWATCH_DAEMON_OWNER_BOOK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "daemon/attribution.h"
#include "daemon/owner_page.h"
#include "daemon/snapshot.h"
#include "daemon/source.h"

namespace pinwatch {

// The owners of claims: what the kernel's side counts of them, who they are and
// what they hold. A host may have many: only what changes costs anything. It
// does no I/O.
class OwnerBook {
 public:
  using Held =
      absl::btree_map<uint32_t, std::vector<PinHolding>>;  // by owner's id

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

  bool Has(uint32_t id) const { return PageOf(id) != nullptr; }
  OwnerState StateOf(uint32_t id) const;
  // Nothing where there is none.
  std::optional<bool> IsLongTerm(uint32_t id) const;
  std::optional<OwnerSpan> SpanOf(uint32_t id) const;
  std::optional<PinOwner> Find(uint32_t id) const;
  const absl::btree_set<uint32_t>& ended() const { return ended_; }
  size_t nr_holding_processes() const;
  const OwnerList& owners() const;

  // Rises with whatever attribution goes by.
  uint64_t version() const { return version_; }

 private:
  // Values that several owners have, each of which is there once.
  template <typename T>
  class Pool {
   public:
    Shared<T> Take(T value) { return *values_.insert(std::move(value)).first; }
    void DropUnused() {
      std::erase_if(values_, [](const auto& v) { return !v.has_copies(); });
    }

   private:
    std::set<Shared<T>> values_;
  };

  struct Slot {
    std::shared_ptr<OwnerPage> page;  // null: no owner was ever there
    bool is_listed = false;           // others may have it: it stays as it is
  };

  // The page that has the owner; null where none has.
  const OwnerPage* PageOf(uint32_t id) const;
  OwnerPage& PageToChange(uint32_t id);
  void Share(Shared<CallStack>& stack);

  // Changes what those who have the owner do not see change.
  template <typename Change>
  void Edit(uint32_t id, Change change);

  mutable std::vector<Slot> slots_;  // by id / OwnerPage::kOwners
  absl::btree_set<uint32_t> ended_;
  // Of all owners.
  Pool<ProcessNames> names_;
  Pool<PinOrigin> origins_;
  Pool<CallStack> stacks_;
  uint64_t version_ = 0;
  mutable OwnerList list_;
  mutable bool list_is_old_ = false;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_OWNER_BOOK_H_
