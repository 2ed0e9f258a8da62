/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attempts to take memory blocks offline and online that are under way, and what
 * stands in their way. Of hotplug.bpf.c; rounds of migration, and which pages
 * those left where they were, migrate.bpf.c notes here.
 */
#ifndef PINWATCH_ATTEMPTS_H
#define PINWATCH_ATTEMPTS_H

#include <bpf/bpf_helpers.h>

#include "events.h"
#include "page_facts.h"

/* By thread: a thread makes one at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct hotplug_attempt);
} hotplug_running SEC(".maps");

/*
 * Pages that stood in the way of attempts. The daemon takes them away once it
 * has told of the attempt.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct hotplug_blocker_key);
	__type(value, struct hotplug_blocker);
} hotplug_blockers SEC(".maps");

static __always_inline struct hotplug_attempt *running_attempt(void)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&hotplug_running, &tid);
}

/*
 * Notes that the page stood in the way. Not static, so that the verifier goes
 * through it once and not for every turn of the loop that calls it.
 */
__noinline int note_blocker(__u64 begin_ns, __u64 pfn, __u32 step, __u32 no_target)
{
	struct hotplug_blocker_key key = {.begin_ns = begin_ns, .pfn = pfn};
	struct hotplug_blocker *known = bpf_map_lookup_elem(&hotplug_blockers, &key);
	struct hotplug_blocker fresh = {.times_met = 1, .step = step, .no_target = no_target};

	fresh.first_ns = fresh.last_ns = bpf_ktime_get_ns();
	if (!read_page_facts(pfn, &fresh.page))
		return -1;
	if (known) {
		fresh.first_ns = known->first_ns;
		fresh.times_met = known->times_met + 1;
		*known = fresh;
		return 0;
	}
	return bpf_map_update_elem(&hotplug_blockers, &key, &fresh, BPF_NOEXIST) ? -1 : 1;
}

#endif
