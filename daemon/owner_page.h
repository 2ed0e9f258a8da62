// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_OWNER_PAGE_H_
#define PINWATCH_DAEMON_OWNER_PAGE_H_

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "daemon/snapshot.h"

namespace pinwatch {

// What many processes have in common.
struct ProcessNames {
  std::string comm;
  std::string exe;
  std::string cgroup;
  std::string unit;

  // clang-tidy 14 takes the 0 that this compares with for a pointer.
  // NOLINTNEXTLINE(modernize-use-nullptr)
  auto operator<=>(const ProcessNames&) const = default;
};

// What owners have in common that pin in the same way.
struct PinOrigin {
  std::string door;
  std::string subsystem;
  std::string call_site;
  std::optional<std::vector<std::string>> devices;
  Shared<CallStack> kernel_stack;
  Shared<CallStack> user_stack;

  // NOLINTNEXTLINE(modernize-use-nullptr): as above
  auto operator<=>(const PinOrigin&) const = default;
};

ProcessNames NamesOf(const PinOwner& owner);
PinOrigin OriginOf(const PinOwner& owner);

// Which process it is, and when it pinned: of an owner what is asked for often.
struct OwnerSpan {
  uint32_t pid = 0;
  Timestamp first;
  Timestamp last;
};

// Owners of neighbouring ids, in as few bytes as can be: what is each one's own
// is packed, what several have in common is shared.
class OwnerPage {
 public:
  static constexpr uint32_t kOwners = 64;

  // Of the ids from number * kOwners on.
  explicit OwnerPage(uint32_t number) : number_(number) {}

  uint32_t number() const { return number_; }
  size_t size() const;
  size_t nr_suspects() const;

  // `id` is one of the page's.
  bool Has(uint32_t id) const { return RowOf(id).known; }
  // Of one that it has.
  bool IsLongTerm(uint32_t id) const { return RowOf(id).long_term; }
  bool HasEnded(uint32_t id) const { return RowOf(id).ended; }
  bool Holds(uint32_t id) const { return RowOf(id).holds; }
  OwnerSpan SpanOf(uint32_t id) const;
  PinOwner Get(uint32_t id) const;

  // In place of the one with its id, if there is one. The names and the origin
  // are the owner's.
  void Set(const PinOwner& owner, Shared<ProcessNames> names,
           Shared<PinOrigin> origin);
  // The same owner, whose names and origin have not changed.
  void Change(const PinOwner& owner);
  void Erase(uint32_t id);

 private:
  struct Row {
    uint32_t end = 0;  // in bytes_: it begins where the row before ends
    // Of what is shared, by place.
    uint8_t names = 0;
    uint8_t origin = 0;
    uint8_t via = 0;
    bool known : 1 = false;
    bool long_term : 1 = false;
    bool ended : 1 = false;
    bool holds : 1 = false;
    bool suspect : 1 = false;
  };

  // Values with how many rows have each.
  template <typename T>
  class Places {
   public:
    uint8_t Take(Shared<T> value);
    void Drop(uint8_t place);
    const Shared<T>& At(uint8_t place) const { return entries_[place].value; }

   private:
    struct Entry {
      Shared<T> value;
      uint8_t uses = 0;
    };
    // Mostly there are few.
    absl::InlinedVector<Entry, 2> entries_;
  };

  const Row& RowOf(uint32_t id) const { return rows_[id % kOwners]; }
  size_t BeginOf(uint32_t id) const;
  std::string_view BytesOf(uint32_t id) const;
  void Write(uint32_t id, std::string_view bytes);

  uint32_t number_;
  std::array<Row, kOwners> rows_;
  std::string bytes_;
  Places<ProcessNames> names_;
  Places<PinOrigin> origins_;
  Places<Process> vias_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_OWNER_PAGE_H_
