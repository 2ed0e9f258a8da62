// SPDX-License-Identifier: GPL-2.0-only
/*
 * Follows attempts to take memory blocks offline and online: who asked, how
 * long it took, what migration achieved meanwhile, and how it ended. All ways
 * (sysfs, ACPI, virtio-mem, dax) come through the bus's two functions.
 */
#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "events.h"

char LICENSE[] SEC("license") = "GPL";

/* Attempts under way, by thread: a thread makes one at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct hotplug_attempt);
} hotplug_running SEC(".maps");

/* Attempts that have ended. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} hotplug_ended SEC(".maps");

/* How attempts ended, by errno. Exact, whatever becomes of the stories. */
__u64 hotplug_results[NR_HOTPLUG_OPERATIONS][PINWATCH_MAX_ERRNO];
__u64 hotplug_stories_lost;

static __always_inline int attempt_begins(__u64 *ctx, __u32 operation)
{
	struct hotplug_attempt attempt = {
		.begin_ns = bpf_ktime_get_ns(),
		.cgroup_id = bpf_get_current_cgroup_id(),
		.operation = operation,
		.tgid = bpf_get_current_pid_tgid() >> 32,
		.tid = (__u32)bpf_get_current_pid_tgid(),
	};
	struct memory_block *block;
	__u64 dev = 0;

	/* Read as a number: the verifier lets nobody subtract from a typed pointer. */
	bpf_probe_read_kernel(&dev, sizeof(dev), ctx);
	block = (struct memory_block *)(dev - bpf_core_field_offset(struct memory_block, dev));
	bpf_probe_read_kernel(&attempt.section_nr, sizeof(attempt.section_nr),
			      &block->start_section_nr);
	bpf_get_current_comm(attempt.comm, sizeof(attempt.comm));
	bpf_map_update_elem(&hotplug_running, &attempt.tid, &attempt, BPF_ANY);
	return 0;
}

static __always_inline int attempt_ends(__s32 result, __u32 operation)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct hotplug_attempt *attempt = bpf_map_lookup_elem(&hotplug_running, &tid);
	__u32 error = result < 0 ? -result : 0;

	if (error >= PINWATCH_MAX_ERRNO)
		error = PINWATCH_MAX_ERRNO - 1;
	/* The verifier forgets the bound; the mask, which changes nothing, it believes. */
	barrier_var(error);
	error &= PINWATCH_MAX_ERRNO - 1;
	__sync_fetch_and_add(&hotplug_results[operation][error], 1);
	if (!attempt) {
		/* It began before us, or more ran at once than the map holds. */
		__sync_fetch_and_add(&hotplug_stories_lost, 1);
		return 0;
	}
	attempt->duration_ns = bpf_ktime_get_ns() - attempt->begin_ns;
	attempt->result = result;
	if (bpf_ringbuf_output(&hotplug_ended, attempt, sizeof(*attempt), 0))
		__sync_fetch_and_add(&hotplug_stories_lost, 1);
	bpf_map_delete_elem(&hotplug_running, &tid);
	return 0;
}

SEC("?fentry/memory_subsys_offline")
int offline__fentry_enter(__u64 *ctx)
{
	return attempt_begins(ctx, HOTPLUG_OFFLINE);
}

SEC("?fexit/memory_subsys_offline")
int offline__fexit_exit(__u64 *ctx)
{
	return attempt_ends((__s32)ctx[1], HOTPLUG_OFFLINE);
}

SEC("?fentry/memory_subsys_online")
int online__fentry_enter(__u64 *ctx)
{
	return attempt_begins(ctx, HOTPLUG_ONLINE);
}

SEC("?fexit/memory_subsys_online")
int online__fexit_exit(__u64 *ctx)
{
	return attempt_ends((__s32)ctx[1], HOTPLUG_ONLINE);
}

/* A round of migration within an attempt, which the same thread makes. */
static __always_inline int count_round(const __u64 *ctx, __u32 reason)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct hotplug_attempt *attempt;

	if (reason != bpf_core_enum_value(enum migrate_reason, MR_MEMORY_HOTPLUG))
		return 0;
	attempt = bpf_map_lookup_elem(&hotplug_running, &tid);
	if (!attempt)
		return 0;
	attempt->migrate_calls++;
	attempt->succeeded_pages += ctx[0];
	attempt->failed_pages += ctx[1];
	return 0;
}

SEC("?tp_btf/mm_migrate_pages")
int round__tp_btf_7_args(__u64 *ctx)
{
	return count_round(ctx, ctx[6]);
}

/* From Linux v6.12 on splits of large folios come before mode and reason. */
SEC("?tp_btf/mm_migrate_pages")
int round__tp_btf_8_args(__u64 *ctx)
{
	return count_round(ctx, ctx[7]);
}
