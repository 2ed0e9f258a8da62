// SPDX-License-Identifier: Apache-2.0
//
// How tables call owners, what is known of them, and pages in the way.
#ifndef PINWATCH_CLI_WORDS_H_
#define PINWATCH_CLI_WORDS_H_

#include <google/protobuf/repeated_field.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

inline constexpr double kPageBytes = 4096;

// "4,097 pages (16.0 MiB)", "1 page (4 KiB)".
std::string PagesAndSize(uint64_t pages);

// "held", "shared", "one of", "probable", "inferred", "unattributed", or "?".
const char* Word(v1::Certainty certainty);

// "unattributed: 3 pages (12 KiB): pinned before pinwatchd started": a line for
// each certainty and reason, over all zones.
std::vector<std::string> AttributionTexts(
    const google::protobuf::RepeatedPtrField<v1::PinAttribution>& attributions);

// "sh(4711)" in at most `width` columns, of which there are 13 or more: the
// name is cut, the number never.
std::string NameWithPid(absl::string_view name, uint32_t pid, size_t width);

// The same of a process, in at most 27 columns.
std::string ProcessName(const v1::Process& process);

// What it holds, each page as often as it has a holding with it.
uint64_t PagesHeld(const v1::PinOwner& owner);

using OwnersById = std::map<uint32_t, const v1::PinOwner*>;

// `owners` must outlive it.
OwnersById ById(const google::protobuf::RepeatedPtrField<v1::PinOwner>& owners);

// "memory3, memory7-memory9", in order.
std::string BlockRanges(std::vector<uint64_t> blocks);

// "cgroup /a", "cgroup /a, removed since", "a removed cgroup", "no cgroup", or
// the number of one whose path is not known.
std::string CgroupText(const v1::MemoryCgroup& cgroup);

// "mapped by qemu(812), bash(7) and perhaps others".
std::string MappersText(const v1::PageMappers& mappers);

// "pfn 0x12d680 pinned_large, 512 pages, held by qemu(812)". Printable.
std::string BlockerText(const v1::BlockingPage& page, const OwnersById& owners);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_WORDS_H_
