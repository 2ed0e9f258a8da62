// SPDX-License-Identifier: GPL-2.0-only
/* Counts what migrate_pages() achieves, by reason and mode. */
#include "kernel.h"

#include <bpf/bpf_helpers.h>

#include "events.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PINWATCH_MAX_MIGRATE_REASONS *PINWATCH_MAX_MIGRATE_MODES);
	__type(key, __u32);
	__type(value, struct migrate_counters);
} migrate_counters SEC(".maps");

static __always_inline int count_migration(const __u64 *ctx, __u32 mode, __u32 reason)
{
	struct migrate_counters *counters;
	__u32 key;

	/* What does not fit is counted under the last, which no kernel uses. */
	if (mode >= PINWATCH_MAX_MIGRATE_MODES)
		mode = PINWATCH_MAX_MIGRATE_MODES - 1;
	if (reason >= PINWATCH_MAX_MIGRATE_REASONS)
		reason = PINWATCH_MAX_MIGRATE_REASONS - 1;
	key = reason * PINWATCH_MAX_MIGRATE_MODES + mode;
	counters = bpf_map_lookup_elem(&migrate_counters, &key);
	if (!counters)
		return 0;
	__sync_fetch_and_add(&counters->calls, 1);
	__sync_fetch_and_add(&counters->succeeded_pages, ctx[0]);
	__sync_fetch_and_add(&counters->failed_pages, ctx[1]);
	__sync_fetch_and_add(&counters->thp_succeeded, ctx[2]);
	__sync_fetch_and_add(&counters->thp_failed, ctx[3]);
	__sync_fetch_and_add(&counters->thp_split, ctx[4]);
	return 0;
}

/* Succeeded, failed, three of THPs, mode, reason. */
SEC("?tp_btf/mm_migrate_pages")
int migrate__tp_btf_7_args(__u64 *ctx)
{
	return count_migration(ctx, ctx[5], ctx[6]);
}

/* From Linux v6.12 on splits of large folios come before the mode. */
SEC("?tp_btf/mm_migrate_pages")
int migrate__tp_btf_8_args(__u64 *ctx)
{
	return count_migration(ctx, ctx[6], ctx[7]);
}
