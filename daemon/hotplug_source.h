// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_HOTPLUG_SOURCE_H_
#define PINWATCH_DAEMON_HOTPLUG_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bpf/events.h"
#include "daemon/deleter.h"
#include "daemon/kernel_addresses.h"
#include "daemon/probes.h"
#include "daemon/snapshot.h"
#include "daemon/source.h"

struct bpf_map;
struct hotplug_bpf;
struct ring_buffer;

namespace pinwatch {

// Attempts to take memory blocks offline and online, as the programs on the
// kernel's functions tell them. For one thread.
class HotplugSource {
 public:
  // `zones` are the kernel's words for zones, by number. FailedPrecondition
  // where this kernel lets attempts not be followed.
  static absl::StatusOr<std::unique_ptr<HotplugSource>> Open(
      const KernelLayout& layout, const KernelAddresses& addresses,
      std::vector<std::string> zones, uint64_t block_size_bytes);
  ~HotplugSource();

  // What the fact "hotplug" lacks on this kernel; empty: nothing.
  const std::string& lacks() const { return lacks_; }

  // See Source::ReadHotplug.
  absl::StatusOr<HotplugReading> Read(Timestamp now);

  // Takes the programs off, and puts them there again: 0 or -errno.
  void Detach();
  int Attach();

  // The tables of attempts under way and of pages in their way, in which
  // MigrationSource notes what rounds of migration come to.
  int running_fd() const;
  int blockers_fd() const;

  // Readable when an attempt has ended.
  int ring_fd() const;

 private:
  HotplugSource();

  static void Destroy(hotplug_bpf* programs);
  static void FreeRing(ring_buffer* ring);
  static int TakeEnded(void* source, void* data, size_t size);

  // Puts the program that tells why migrate_pages() stopped there, or off.
  void FollowResults(bool wanted);
  HotplugAttempt ToAttempt(const hotplug_attempt& from, Timestamp now) const;
  void ReadRunning(Timestamp now, HotplugReading& reading);
  absl::Status ReadEnded(Timestamp now, HotplugReading& reading);
  void ReadBlockers(Timestamp now, HotplugReading& reading);

  std::unique_ptr<hotplug_bpf, Deleter<Destroy>> programs_;
  std::unique_ptr<ring_buffer, Deleter<FreeRing>> ring_;
  std::vector<std::string> zones_;
  std::string lacks_;
  bool tells_steps_ = false;            // every program on them is attached
  bool tells_results_ = false;          // the one on them can be attached
  std::vector<hotplug_attempt> ended_;  // drained, not yet read
  // Of those seen running, by thread: an asker is often gone at the end.
  std::map<uint32_t, std::string> running_cgroups_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_HOTPLUG_SOURCE_H_
