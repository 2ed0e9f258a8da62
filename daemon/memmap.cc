// SPDX-License-Identifier: Apache-2.0
#include "daemon/memmap.h"

#include <algorithm>
#include <utility>

namespace pinwatch {
namespace {

uint64_t EndOf(const MemmapPiece& piece) { return piece.pfn + piece.nr_pages; }

}  // namespace

Memmap::Memmap(std::vector<MemmapPiece> pieces, uint64_t block_pages)
    : pieces_(std::move(pieces)), block_pages_(block_pages) {
  std::ranges::sort(pieces_, {}, &MemmapPiece::pfn);
}

std::optional<uint64_t> Memmap::BlockOf(uint64_t pfn) const {
  auto piece = std::ranges::upper_bound(pieces_, pfn, {}, &MemmapPiece::pfn);
  if (piece == pieces_.begin() || pfn >= EndOf(*--piece)) return std::nullopt;
  return (piece->of_pfn + (pfn - piece->pfn) * kPagesAMemmapPage) /
         block_pages_;
}

uint64_t Memmap::OwnPages(uint64_t block_id) const {
  const uint64_t start = block_id * block_pages_;
  const auto piece =
      std::ranges::lower_bound(pieces_, start, {}, &MemmapPiece::pfn);
  const uint64_t pages = block_pages_ / kPagesAMemmapPage;
  const bool own = piece != pieces_.end() && piece->pfn == start &&
                   piece->of_pfn == start && piece->nr_pages >= pages;
  return own ? pages : 0;
}

std::map<uint64_t, uint64_t> Memmap::In(uint64_t block_id) const {
  std::map<uint64_t, uint64_t> pages;
  const uint64_t start = block_id * block_pages_;
  const uint64_t end = start + block_pages_;
  auto piece = std::ranges::upper_bound(pieces_, start, {}, &EndOf);
  for (; piece != pieces_.end() && piece->pfn < end; ++piece) {
    uint64_t pfn = std::max(piece->pfn, start);
    const uint64_t last = std::min(EndOf(*piece), end);
    while (pfn < last) {
      const uint64_t of_pfn =
          piece->of_pfn + (pfn - piece->pfn) * kPagesAMemmapPage;
      const uint64_t block = of_pfn / block_pages_;
      const uint64_t left =
          ((block + 1) * block_pages_ - of_pfn) / kPagesAMemmapPage;
      const uint64_t taken = std::min(left, last - pfn);
      pages[block] += taken;
      pfn += taken;
    }
  }
  return pages;
}

}  // namespace pinwatch
