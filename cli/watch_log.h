// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_WATCH_LOG_H_
#define PINWATCH_CLI_WATCH_LOG_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// What `pinwatch watch` prints: a summary, then a line for each change, each
// with the time of the daemon's snapshot and at most 80 columns of printable
// ASCII.
class WatchLog {
 public:
  explicit WatchLog(absl::TimeZone zone) : time_zone_(zone) {}

  // The lines for the next message of the stream. None when what changed is
  // not for a reader's eyes: pages that are free or movable, looks, calls.
  std::string Lines(const v1::WatchResponse& message);

 private:
  using ZoneKey = std::pair<uint32_t, std::string>;  // nid and name
  struct ZonePins {
    uint64_t pinned = 0;
    uint64_t possible = 0;
  };
  struct Attempt {
    bool ended = false;
    absl::Duration next_told;  // how long it has run by then
    bool blockers_told = false;
  };

  void AddLine(absl::string_view line);
  void AddSummary(const v1::Snapshot& snapshot);
  void AddDifference(const v1::Difference& difference);
  void AddZone(const v1::Zone& zone);
  void AddAttribution(const v1::PinAttribution& attribution);
  void AddOwner(const v1::PinOwner& owner);
  void AddOwnerGone(uint32_t id);
  void AddAttempt(const v1::Attempt& attempt);
  void AddRetry(const v1::PinRetry& retry);
  void AddBlocker(absl::string_view what, const v1::BlockingPage& page);
  void AddBlocks(const v1::BlockCount& count);
  void AddMigrations(const v1::Migrations& migrations);
  void AddNode(const v1::Node& node);

  const absl::TimeZone time_zone_;
  std::string text_;
  absl::Time time_;
  // What was told, as far as lines are made of it.
  std::map<ZoneKey, ZonePins> zones_;
  std::map<std::pair<ZoneKey, std::string>, uint64_t> unattributed_;
  std::map<uint32_t, v1::PinOwner> owners_;
  std::map<std::pair<uint64_t, uint32_t>, Attempt> attempts_;  // begin, tid
  std::map<std::string, uint64_t> blocks_;
  std::map<std::pair<std::string, std::string>, v1::Migrations> migrations_;
  std::map<uint32_t, uint64_t> node_references_;
};

}  // namespace pinwatch

#endif  // PINWATCH_CLI_WATCH_LOG_H_
