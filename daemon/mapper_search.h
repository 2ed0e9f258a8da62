// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_MAPPER_SEARCH_H_
#define PINWATCH_DAEMON_MAPPER_SEARCH_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "bpf/events.h"
#include "daemon/snapshot.h"

namespace pinwatch {

// The lines of a /proc/PID/maps in which the page may be, by what it says of
// itself: of a file, that one's; of anonymous memory, private ones.
std::string MapsThatMayHave(const page_facts& page, absl::string_view maps);

// Which of the processes have the pages, each by what it says of itself, in
// their page tables: by pfn. It looks at one after the other and ends when so
// many entries as the pages count were found, or when it has taken that much
// CPU time, and takes what HolderSearch does. `root` is the directory that
// /proc is in.
std::map<uint64_t, PageMappers> FindMappers(
    const std::string& root, const std::vector<uint32_t>& pids,
    const std::map<uint64_t, page_facts>& pages, int64_t most_cpu_ns);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_MAPPER_SEARCH_H_
