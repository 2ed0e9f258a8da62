// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_MIGRATION_SOURCE_H_
#define PINWATCH_DAEMON_MIGRATION_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bpf/events.h"
#include "daemon/deleter.h"
#include "daemon/kernel_addresses.h"
#include "daemon/probes.h"
#include "daemon/snapshot.h"
#include "daemon/source.h"

struct migrate_bpf;

namespace pinwatch {

// What page migration achieves, how long it takes and why pages did not move.
// For one thread.
class MigrationSource {
 public:
  // Tables of other programs, by file descriptor, in which it is noted what
  // migrations that are of interest there come to; -1: none.
  struct SharedTables {
    int attempts = -1;  // HotplugSource::running_fd
    int blockers = -1;  // HotplugSource::blockers_fd
    int moving = -1;    // PinSource::moving_fd
  };

  // `zones` are the kernel's words for zones, by number. FailedPrecondition
  // where this kernel lets nothing of it be counted.
  static absl::StatusOr<std::unique_ptr<MigrationSource>> Open(
      const KernelLayout& layout, const KernelAddresses& addresses,
      std::vector<std::string> zones, const SharedTables& tables);
  ~MigrationSource();

  // What the fact "migrations" lacks on this kernel; empty: nothing.
  const std::string& lacks() const { return lacks_; }

  // See Source::ReadMigrations.
  absl::StatusOr<MigrationReading> Read(Timestamp now);

  // Whether SharedTables are told what migrations come to.
  bool tells_others() const { return tells_details_ && !entry_error_; }

  // Pages moved for long-term calls that SharedTables::moving does not have.
  uint64_t pins_lost() const;

  // Takes the programs off, and puts them there again: 0 or -errno.
  void Detach();
  int Attach();

 private:
  MigrationSource() = default;

  static void Destroy(migrate_bpf* programs);

  void Lack(const std::string& what);
  absl::Status Share(const SharedTables& tables);
  int AttachEntry();
  std::string ReasonName(uint32_t reason) const;
  std::string ModeName(uint32_t mode) const;
  absl::Status ReadTotals(MigrationReading& reading);
  absl::Status ReadDetails(MigrationReading& reading);
  void ReadPlaces(MigrationReading& reading) const;
  void ReadFailures(Timestamp now, MigrationReading& reading);

  std::unique_ptr<migrate_bpf, Deleter<Destroy>> programs_;
  std::string lacks_;
  bool tells_details_ = false;
  int entry_error_ = 0;  // errno of attaching to the begin of migrate_pages
  bool tells_large_split_ = false;
  std::vector<std::string> reasons_;  // by number; holes are empty
  std::vector<std::string> modes_;
  std::vector<std::string> zones_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_MIGRATION_SOURCE_H_
