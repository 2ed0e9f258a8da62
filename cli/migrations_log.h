// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_MIGRATIONS_LOG_H_
#define PINWATCH_CLI_MIGRATIONS_LOG_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// What `pinwatch migrations --watch` prints: a summary, then a line for each
// reason and mode that moved pages or did not, and one for each page that did
// not move, again when it is met again. At most 80 columns of printable ASCII.
class MigrationsLog {
 public:
  explicit MigrationsLog(absl::TimeZone zone) : time_zone_(zone) {}

  // The lines for an answer of that moment. A page is told once it is known who
  // holds it, or after three seconds: the daemon looks after it was met.
  std::string Lines(const v1::ListMigrationsResponse& migrations,
                    absl::Time now);

 private:
  using Key = std::pair<std::string, std::string>;  // reason and mode

  void AddLine(absl::string_view line);
  void AddSummary(const v1::ListMigrationsResponse& migrations);
  void AddCounts(const v1::Migrations& migrations);
  void AddFailure(const v1::MigrationFailure& failure,
                  const v1::ListMigrationsResponse& migrations);

  const absl::TimeZone time_zone_;
  std::string text_;
  absl::Time time_;
  // What was told.
  bool begun_ = false;
  std::map<Key, v1::Migrations> counts_;
  std::map<uint32_t, uint64_t> times_met_;  // of failures by id
};

}  // namespace pinwatch

#endif  // PINWATCH_CLI_MIGRATIONS_LOG_H_
