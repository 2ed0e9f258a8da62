// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_KEPT_STATE_H_
#define PINWATCH_DAEMON_KEPT_STATE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/source.h"

struct bpf_map;
struct bpf_object;

namespace pinwatch {

// What the daemon leaves to the next one beside the maps. Each word is written
// at once and is true by itself, wherever the daemon is killed.
struct KeptWords {
  uint64_t schema = 0;
  char boot_id[40] = {};
  // CLOCK_MONOTONIC since when no program is attached; 0: they are.
  int64_t unattached_since_ns = 0;
  int64_t unattached_ns = 0;  // of all such times that have ended
  int64_t aged_ns = 0;        // when the claims last were
  int64_t long_ago_ns = 0;    // of the table of claims
  ClaimGaps gaps;
  uint64_t recursion_misses = 0;  // of programs that have been replaced
};

// A program on a pin function, and what keeps it there: file descriptors, -1
// for none.
struct Hook {
  std::string name;
  int program = -1;
  int link = -1;
};

// Closes what they have.
void Close(std::vector<Hook>& hooks);

// A directory of bpffs in which claims outlive the daemon:
//
//   v1/links/GENERATION_BUILD/PROGRAM     what is attached
//   v1/programs/GENERATION_BUILD/PROGRAM
//   v1/maps/MAP
//   v1/chunks/SECTION                     claims of one section
//   v1/words                              KeptWords; made last
//
// An inner map has a file of its own, since none can be had by its number
// without CAP_SYS_ADMIN. BUILD tells programs of different make apart, so that
// a daemon need not load what is attached already.
class KeptState {
 public:
  // Takes the directory for this process, and makes it if need be.
  // AlreadyExists when another daemon has it; other errors say why nothing can
  // be kept there.
  static absl::StatusOr<std::unique_ptr<KeptState>> Open(
      const std::string& directory);
  ~KeptState();
  KeptState(const KeptState&) = delete;
  KeptState& operator=(const KeptState&) = delete;

  std::string path() const;

  // What is said of the last daemon's state where it could not be used.
  const std::string& refused() const { return refused_; }

  // Has the object, which is not loaded yet, use the maps that are kept, all
  // but those of `own`. False if there are none of the wanted schema and boot;
  // what there is else is then removed.
  absl::StatusOr<bool> TakeOverMaps(bpf_object* object,
                                    const std::set<std::string>& own,
                                    const KeptWords& wanted);
  // Keeps the maps of an object that has been loaded.
  absl::Status KeepMaps(const bpf_object* object,
                        const std::set<std::string>& own);
  // The last to be kept: what has none is not complete.
  absl::Status KeepWords(KeptWords words);
  // Those kept; null before that.
  KeptWords* words() const { return words_; }

  // The hooks of a generation, all of them attached; empty if one is missing.
  std::vector<Hook> TakeOverHooks(uint32_t generation) const;
  // Whether its programs are of that make.
  bool IsOfBuild(uint32_t generation, uint64_t build) const;
  // One that no files are of.
  uint32_t NextGeneration() const;

  absl::Status KeepPrograms(uint32_t generation, uint64_t build,
                            const std::vector<Hook>& hooks);
  absl::Status KeepLinks(uint32_t generation, const std::vector<Hook>& hooks);
  void RemoveLinks(uint32_t generation);
  void RemoveLink(uint32_t generation, const std::string& hook);
  // Links first: what is not referred to any more is detached.
  void RemoveAllGenerationsBut(uint32_t generation);

  // File descriptors by section; the caller's.
  std::map<uint64_t, int> OpenChunks() const;
  absl::Status KeepChunk(uint64_t section, int fd);

  // Takes everything out of the directory.
  void Remove();

 private:
  KeptState(std::string directory, int lock);

  // The folder of a generation in `links` or `programs`; empty if there is
  // none.
  std::string FolderOf(const char* kind, uint32_t generation) const;
  absl::Status MapWords(int fd);

  const std::string directory_;
  const std::string root_;
  const int lock_;
  KeptWords* words_ = nullptr;
  std::string refused_;
};

// Stands for names and layout of the object's maps, but for those of `own`. Of
// one that is not loaded yet.
uint64_t SchemaOf(const bpf_object* object, const std::set<std::string>& own);

// Tells contents apart, not adversaries.
uint64_t Fingerprint(absl::string_view text);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_KEPT_STATE_H_
