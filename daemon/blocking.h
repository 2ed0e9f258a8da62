// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_BLOCKING_H_
#define PINWATCH_DAEMON_BLOCKING_H_

#include <cstdint>
#include <optional>
#include <string>

#include "bpf/events.h"
#include "daemon/snapshot.h"

namespace pinwatch {

// What the page is charged to, without its path; nothing where that is not
// known.
std::optional<MemoryCgroup> CgroupOf(const page_facts& facts);

// A page that stays where it is, by what its struct pages said. `isolated`: who
// wanted it to move had taken a reference.
BlockingPage ToBlockingPage(uint64_t pfn, const page_facts& facts,
                            bool isolated);

// What the kernel met in the way of an attempt, without the times. Who holds it
// a struct page does not say.
BlockingPage ToBlockingPage(uint64_t pfn, const hotplug_blocker& blocker);

// The step's name, from a closed set.
const char* StepName(hotplug_step step);

// Why an attempt to take a block offline ended as it did, by the step that
// failed: of kOfflineReasons. Empty for one that succeeded or still runs.
std::string WhyItEnded(const HotplugAttempt& attempt);

// Whether what stands in the block may have led to that reason.
bool IsAboutPages(const std::string& reason);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_BLOCKING_H_
