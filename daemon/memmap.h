// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_MEMMAP_H_
#define PINWATCH_DAEMON_MEMMAP_H_

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace pinwatch {

// Pages in a row that hold struct pages, those of pages in a row.
struct MemmapPiece {
  uint64_t pfn = 0;
  uint64_t nr_pages = 0;
  uint64_t of_pfn = 0;  // the first page whose struct page stands there
};

// Pages whose struct pages one page holds.
inline constexpr uint64_t kPagesAMemmapPage = 64;

// The kernel's record of each page, the struct page, stands in memory too: at
// boot it is reserved, for memory that is added later it is taken from memory
// that is there, or from the new block itself (memmap_on_memory). Of huge pages
// it may keep one page alone, and share others among them, which are nobody's
// here (hugetlb_free_vmemmap).
class Memmap {
 public:
  Memmap() = default;
  Memmap(std::vector<MemmapPiece> pieces, uint64_t block_pages);

  // The memory block whose struct pages a page holds; nothing if it holds none.
  std::optional<uint64_t> BlockOf(uint64_t pfn) const;

  // How many pages at the start of a memory block hold its own struct pages,
  // in order: all of these, if the kernel took them from the block itself. What
  // was reserved at boot stands elsewhere.
  uint64_t OwnPages(uint64_t block_id) const;

  // How many pages of a memory block hold struct pages, by whose these are: the
  // block's own are among them.
  std::map<uint64_t, uint64_t> In(uint64_t block_id) const;

 private:
  std::vector<MemmapPiece> pieces_;  // by pfn
  uint64_t block_pages_ = 0;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_MEMMAP_H_
