// SPDX-License-Identifier: GPL-2.0-only
/*
 * Follows attempts to have a range of physical memory as a whole, for CMA or a
 * huge page of 1 GiB: how each ended, how long it took, and the first page that
 * was not free in the end.
 */
#include "kernel.h"

#include <bpf/bpf_helpers.h>

#include "events.h"
#include "latency.h"
#include "page_facts.h"
#include "page_stays.h"

char LICENSE[] SEC("license") = "GPL";

/* Attempts under way, by thread. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct contig_attempt);
} contig_running SEC(".maps");

/* How attempts ended, by errno. */
__u64 contig_results[PINWATCH_MAX_ERRNO];
__u64 contig_measured_ns;
__u64 contig_calls[PINWATCH_LATENCY_BUCKETS]; /* by how long they took */
__u64 contig_unmeasured;		      /* their begin was not seen */

/* The last ones; each says its number, which is set last. */
struct contig_attempt contig_recent[PINWATCH_CONTIG_RECENT];
__u64 contig_ended;

/* By area. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINWATCH_CMA_AREAS);
	__type(key, struct cma_name);
	__type(value, struct cma_area);
} cma_areas SEC(".maps");

static __always_inline struct contig_attempt *running_attempt(void)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&contig_running, &tid);
}

static __always_inline int attempt_begins(const __u64 *ctx)
{
	struct contig_attempt attempt = {
		.begin_ns = bpf_ktime_get_ns(),
		.start_pfn = ctx[0],
		.end_pfn = ctx[1],
		.tgid = bpf_get_current_pid_tgid() >> 32,
	};
	__u32 tid = (__u32)bpf_get_current_pid_tgid();

	bpf_get_current_comm(attempt.comm, sizeof(attempt.comm));
	bpf_map_update_elem(&contig_running, &tid, &attempt, BPF_ANY);
	return 0;
}

static __always_inline int attempt_ends(__s32 result)
{
	struct contig_attempt *attempt = running_attempt();
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	__u32 error = result < 0 ? -result : 0, at, bucket;
	struct contig_attempt *kept;
	__u64 number;

	if (error >= PINWATCH_MAX_ERRNO)
		error = PINWATCH_MAX_ERRNO - 1;
	/* The verifier forgets the bound; the mask, which changes nothing, it believes. */
	barrier_var(error);
	error &= PINWATCH_MAX_ERRNO - 1;
	__sync_fetch_and_add(&contig_results[error], 1);
	if (!attempt) {
		__sync_fetch_and_add(&contig_unmeasured, 1);
		return 0;
	}
	attempt->duration_ns = bpf_ktime_get_ns() - attempt->begin_ns;
	attempt->result = result;
	__sync_fetch_and_add(&contig_measured_ns, attempt->duration_ns);
	bucket = latency_bucket(attempt->duration_ns);
	barrier_var(bucket);
	if (bucket < PINWATCH_LATENCY_BUCKETS)
		__sync_fetch_and_add(&contig_calls[bucket], 1);
	/* Few at once: two that get one number cost a story, not a count. */
	number = contig_ended + 1;
	contig_ended = number;
	at = number;
	barrier_var(at);
	kept = &contig_recent[at & (PINWATCH_CONTIG_RECENT - 1)];
	kept->number = 0;
	*kept = *attempt;
	kept->number = number;
	bpf_map_delete_elem(&contig_running, &tid);
	return 0;
}

SEC("?fentry/alloc_contig_range")
int plain__fentry_enter(__u64 *ctx)
{
	return attempt_begins(ctx);
}

SEC("?fexit/alloc_contig_range")
int plain__fexit_exit(__u64 *ctx)
{
	return attempt_ends((__s32)ctx[4]);
}

/* Of Linux v6.10. */
SEC("?fentry/alloc_contig_range_noprof")
int noprof__fentry_enter(__u64 *ctx)
{
	return attempt_begins(ctx);
}

SEC("?fexit/alloc_contig_range_noprof")
int noprof__fexit_exit(__u64 *ctx)
{
	return attempt_ends((__s32)ctx[4]);
}

/* Of Linux v7.0, where the other calls it. */
SEC("?fentry/alloc_contig_frozen_range_noprof")
int frozen__fentry_enter(__u64 *ctx)
{
	return attempt_begins(ctx);
}

SEC("?fexit/alloc_contig_frozen_range_noprof")
int frozen__fexit_exit(__u64 *ctx)
{
	return attempt_ends((__s32)ctx[4]);
}

/* From start_pfn to end_pfn, fin_pfn is the first page that is not free yet. */
SEC("?tp_btf/test_pages_isolated")
int blocker__not_free(__u64 *ctx)
{
	struct contig_attempt *attempt = running_attempt();
	struct page_finding found;
	struct page_facts page;

	if (!attempt || ctx[2] >= ctx[1] || !read_page_facts(ctx[2], &page))
		return 0;
	find_why_it_stays(&page, 0, &found);
	attempt->blocker_pfn = ctx[2];
	attempt->blocker_why = found.why;
	attempt->has_blocker = 1;
	return 0;
}

static __always_inline struct cma_area *area_of(__u64 name)
{
	struct cma_name key = {};
	struct cma_area none = {}, *area;

	bpf_probe_read_kernel_str(key.name, sizeof(key.name), (void *)name);
	area = bpf_map_lookup_elem(&cma_areas, &key);
	if (area)
		return area;
	bpf_map_update_elem(&cma_areas, &key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&cma_areas, &key);
}

/* name, pfn, page, count, align, errorno */
SEC("?tp_btf/cma_alloc_finish")
int cma__finish(__u64 *ctx)
{
	struct cma_area *area = area_of(ctx[0]);

	if (!area)
		return 0;
	if ((__s32)ctx[5]) {
		__sync_fetch_and_add(&area->failed, 1);
		__sync_fetch_and_add(&area->failed_pages, ctx[3]);
	} else {
		__sync_fetch_and_add(&area->succeeded, 1);
		__sync_fetch_and_add(&area->succeeded_pages, ctx[3]);
	}
	return 0;
}

/* name, pfn, page, count, align: the kernel goes on to the next place */
SEC("?tp_btf/cma_alloc_busy_retry")
int cma__busy(__u64 *ctx)
{
	struct cma_area *area = area_of(ctx[0]);

	if (area)
		__sync_fetch_and_add(&area->busy, 1);
	return 0;
}
