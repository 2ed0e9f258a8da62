// SPDX-License-Identifier: Apache-2.0
#include "daemon/memmap.h"

#include <algorithm>
#include <utility>

namespace pinwatch {
namespace {

uint64_t EndOf(const MemmapPiece& piece) { return piece.pfn + piece.nr_pages; }

uint64_t Described(const MemmapPiece& piece, uint64_t pfn) {
  return piece.of_pfn + (pfn - piece.pfn) * kPagesAMemmapPage;
}

// Removes those that overlap: they hold the struct pages of several.
void RemoveShared(std::vector<MemmapPiece>& pieces) {
  std::vector<MemmapPiece> kept;
  uint64_t end = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const bool is_shared =
        pieces[i].pfn < end ||
        (i + 1 < pieces.size() && pieces[i + 1].pfn < EndOf(pieces[i]));
    end = std::max(end, EndOf(pieces[i]));
    if (!is_shared) kept.push_back(pieces[i]);
  }
  pieces = std::move(kept);
}

}  // namespace

Memmap::Memmap(std::vector<MemmapPiece> pieces, uint64_t block_pages)
    : pieces_(std::move(pieces)), block_pages_(block_pages) {
  std::ranges::sort(pieces_, {}, &MemmapPiece::pfn);
  RemoveShared(pieces_);
}

std::optional<uint64_t> Memmap::BlockOf(uint64_t pfn) const {
  const auto piece = std::ranges::upper_bound(pieces_, pfn, {}, &EndOf);
  if (piece == pieces_.end() || pfn < piece->pfn) return std::nullopt;
  return Described(*piece, pfn) / block_pages_;
}

uint64_t Memmap::OwnPages(uint64_t block_id) const {
  const uint64_t start = block_id * block_pages_;
  const uint64_t pages = block_pages_ / kPagesAMemmapPage;
  const auto piece = std::ranges::upper_bound(pieces_, start, {}, &EndOf);
  const bool has_own = piece != pieces_.end() && piece->pfn <= start &&
                       start + pages <= EndOf(*piece) &&
                       Described(*piece, start) == start;
  return has_own ? pages : 0;
}

std::map<uint64_t, uint64_t> Memmap::In(uint64_t block_id) const {
  std::map<uint64_t, uint64_t> pages;
  const uint64_t start = block_id * block_pages_;
  const uint64_t end = start + block_pages_;
  auto piece = std::ranges::upper_bound(pieces_, start, {}, &EndOf);
  for (; piece != pieces_.end() && piece->pfn < end; ++piece)
    for (uint64_t pfn = std::max(piece->pfn, start);
         pfn < std::min(EndOf(*piece), end); ++pfn)
      ++pages[Described(*piece, pfn) / block_pages_];
  return pages;
}

}  // namespace pinwatch
