// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_MIGRATION_BOOK_H_
#define PINWATCH_DAEMON_MIGRATION_BOOK_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/snapshot.h"
#include "daemon/source.h"

namespace pinwatch {

// What migration has come to, and the last 128 pages that did not move, with
// who holds them.
class MigrationBook {
 public:
  // `place` sets node and zone of a page that is new.
  void Set(MigrationReading reading,
           const std::function<void(MigrationFailure&)>& place);

  const MigrationReading& reading() const { return reading_; }
  // Of each of the zones, and what was counted elsewhere, if it was.
  std::vector<MigrationPlace> Places(const std::vector<Zone>& zones) const;
  const std::vector<MigrationFailure>& failures() const { return failures_; }

  // Pinned pages that nobody has looked at for their holders, at most so many,
  // the newest first.
  std::vector<uint64_t> Unlooked(size_t most) const;

  // Calls `set` with each failure of that page that was not looked at.
  void Look(uint64_t pfn, const std::function<void(BlockingPage&)>& set);

  // Calls `visit` with the page of each.
  void ForEachPage(const std::function<void(BlockingPage&)>& visit);

 private:
  MigrationReading reading_;                // without failures
  std::vector<MigrationFailure> failures_;  // by id
  uint32_t last_id_ = 0;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_MIGRATION_BOOK_H_
