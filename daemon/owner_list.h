// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_OWNER_LIST_H_
#define PINWATCH_DAEMON_OWNER_LIST_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <vector>

namespace pinwatch {

class OwnerPage;
struct PinOwner;

// Owners by id. A host may have many: they are kept small, and each is made
// whole as it is asked for. A list never changes; lists share the pages that
// are the same in both.
class OwnerList {
 public:
  // By number; each has an owner.
  using Pages = std::vector<std::shared_ptr<const OwnerPage>>;

  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = PinOwner;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = PinOwner;

    Iterator() = default;
    // The first owner with that id or a higher one.
    Iterator(const Pages& pages, uint64_t id);

    PinOwner operator*() const;
    Iterator& operator++();
    Iterator operator++(int);
    bool operator==(const Iterator&) const = default;

    uint32_t id() const;
    const OwnerPage& page() const { return *(*pages_)[at_]; }

   private:
    void SkipMissing();

    const Pages* pages_ = nullptr;
    size_t at_ = 0;     // of the page
    uint32_t row_ = 0;  // in it
  };
  using value_type = PinOwner;
  using const_reference = PinOwner;
  using iterator = Iterator;
  using const_iterator = Iterator;

  OwnerList() = default;
  OwnerList(std::initializer_list<PinOwner> owners);
  explicit OwnerList(const std::vector<PinOwner>& owners);
  explicit OwnerList(Pages pages);

  Iterator begin() const { return From(0); }
  Iterator end() const;
  Iterator From(uint64_t id) const { return Iterator(pages(), id); }
  std::optional<PinOwner> Find(uint32_t id) const;
  PinOwner operator[](size_t at) const;
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  void clear() { *this = {}; }

  size_t nr_suspects() const;  // those that are told to grow

  const Pages& pages() const { return pages_ ? *pages_ : kNone; }

 private:
  static inline const Pages kNone;

  std::shared_ptr<const Pages> pages_;
  size_t size_ = 0;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_OWNER_LIST_H_
