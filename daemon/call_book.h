// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_CALL_BOOK_H_
#define PINWATCH_DAEMON_CALL_BOOK_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "daemon/owner_book.h"
#include "daemon/snapshot.h"
#include "daemon/source.h"

namespace pinwatch {

// Adds up what calls of the pin functions came to, by subsystem and kind of
// pin: the owners who made them come and go.
class CallBook {
 public:
  // Calls whose owner may not be in the book of owners yet.
  void Add(std::vector<OwnerCalls> calls);

  // By subsystem, then kind. Calls of owners that are not in the book are those
  // of "unknown".
  std::vector<SubsystemCalls> AddUp(const OwnerBook& owners);

 private:
  std::vector<OwnerCalls> pending_;
  std::map<std::pair<std::string, bool>, PinCalls> totals_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_CALL_BOOK_H_
