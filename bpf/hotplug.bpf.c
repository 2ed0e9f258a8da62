// SPDX-License-Identifier: GPL-2.0-only
/*
 * Follows attempts to take memory blocks offline and online: who asked and by
 * which road, how far each came, which pages stood in its way, and how it
 * ended. All roads (sysfs, ACPI, virtio-mem, dax) come through the bus's two
 * functions, and only one at a time: the kernel holds a lock.
 */
#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <linux/ptrace.h>

#include "attempts.h"
#include "events.h"
#include "page_facts.h"
#include "pageblock.h"

char LICENSE[] SEC("license") = "GPL";

/* Set by the daemon: the argument that is the result of start_isolate_page_range(). */
const volatile __u32 isolate_result_arg = 4;

/* The same: where a page's flags have its node and zone, and the pages of a block. */
const volatile __u32 nid_shift = 54;
const volatile __u32 zone_shift = 51;
const volatile __u32 zone_mask = 7;
const volatile __u64 block_pages;

/* Attempts that have ended. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} hotplug_ended SEC(".maps");

/* How attempts ended, by errno. Exact, whatever becomes of the stories. */
__u64 hotplug_results[NR_HOTPLUG_OPERATIONS][PINWATCH_MAX_ERRNO];
__u64 hotplug_stories_lost;

/* What hotplug_running holds: most of the time nothing, and hooks may be on busy functions. */
__u64 hotplug_nr_running;

/* Node and zone as a page's flags have them; -1 where it cannot be read. */
static __always_inline __s64 place_of(__u64 pfn)
{
	char page[STRUCT_PAGE];

	if (!vmemmap_base_at ||
	    bpf_probe_read_kernel(page, sizeof(page),
				  (void *)(vmemmap_start() + pfn * STRUCT_PAGE)))
		return -1;
	return page_flags(page) >> zone_shift;
}

/* Of a block that is online: what is offline has the flags of the last time, or none. */
static __always_inline void note_place(struct hotplug_attempt *attempt)
{
	const __u64 start_pfn = attempt->section_nr << SECTION_SHIFT;
	const __s64 first = place_of(start_pfn);
	const __s64 last = place_of(start_pfn + block_pages - 1);
	const __u32 nid_at = nid_shift - zone_shift;

	if (!block_pages || first < 0 || last < 0)
		return;
	if (first >> nid_at == last >> nid_at)
		attempt->nid = first >> nid_at;
	attempt->zone = first == last ? first & zone_mask : PINWATCH_ZONES_SEVERAL;
}

static __always_inline int attempt_begins(__u64 *ctx, __u32 operation)
{
	struct hotplug_attempt attempt = {
		.begin_ns = bpf_ktime_get_ns(),
		.cgroup_id = bpf_get_current_cgroup_id(),
		.operation = operation,
		.tgid = bpf_get_current_pid_tgid() >> 32,
		.tid = (__u32)bpf_get_current_pid_tgid(),
		.nid = -1,
		.zone = PINWATCH_ZONE_UNKNOWN,
	};
	struct memory_block *block;
	__u64 dev = 0;

	/* Read as a number: the verifier lets nobody subtract from a typed pointer. */
	bpf_probe_read_kernel(&dev, sizeof(dev), ctx);
	block = (struct memory_block *)(dev - bpf_core_field_offset(struct memory_block, dev));
	bpf_probe_read_kernel(&attempt.section_nr, sizeof(attempt.section_nr),
			      &block->start_section_nr);
	if (operation == HOTPLUG_OFFLINE)
		note_place(&attempt);
	attempt.step_since_ns = attempt.begin_ns;
	bpf_get_stack(ctx, attempt.kernel_stack, sizeof(attempt.kernel_stack), 0);
	bpf_get_current_comm(attempt.comm, sizeof(attempt.comm));
	if (!bpf_map_update_elem(&hotplug_running, &attempt.tid, &attempt, BPF_NOEXIST))
		__sync_fetch_and_add(&hotplug_nr_running, 1);
	else /* one whose end was not seen, or the map is full */
		bpf_map_update_elem(&hotplug_running, &attempt.tid, &attempt, BPF_EXIST);
	return 0;
}

/* An attempt of this thread to take a block offline. */
static __always_inline struct hotplug_attempt *running_offline(void)
{
	struct hotplug_attempt *attempt = hotplug_nr_running ? running_attempt() : NULL;

	return attempt && attempt->operation == HOTPLUG_OFFLINE ? attempt : NULL;
}

/* The time since the last change of step is of the step that ends. */
static __always_inline void enter_step(struct hotplug_attempt *attempt, __u32 step)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 at = attempt->step;

	barrier_var(at);
	at &= NR_HOTPLUG_STEPS - 1;
	attempt->step_ns[at] += now - attempt->step_since_ns;
	attempt->step_since_ns = now;
	attempt->step = step;
}

static __always_inline int attempt_ends(__s32 result, __u32 operation)
{
	struct hotplug_attempt *attempt = running_attempt();
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
	enter_step(attempt, attempt->step);
	attempt->duration_ns = bpf_ktime_get_ns() - attempt->begin_ns;
	attempt->result = result;
	if (operation == HOTPLUG_ONLINE && !result)
		note_place(attempt);
	if (bpf_ringbuf_output(&hotplug_ended, attempt, sizeof(*attempt), 0))
		__sync_fetch_and_add(&hotplug_stories_lost, 1);
	if (!bpf_map_delete_elem(&hotplug_running, &attempt->tid))
		__sync_fetch_and_add(&hotplug_nr_running, -1);
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

#define ENOMEM 12

/*
 * Why migrate_pages() left pages behind its tracepoint does not tell. Attached
 * only while an attempt fails to move some: thousands of others need not pay.
 */
SEC("?kretprobe/migrate_pages")
int round__kretprobe(struct pt_regs *ctx)
{
	struct hotplug_attempt *attempt = running_offline();

	if (attempt)
		attempt->no_target = (__s32)ctx->rax == -ENOMEM;
	return 0;
}

/* Steps of offline_pages(), by the functions that begin or end them. */

SEC("?fentry/offline_pages")
int step__offline_pages(__u64 *ctx)
{
	struct hotplug_attempt *attempt = running_offline();

	if (attempt)
		enter_step(attempt, HOTPLUG_CHECKING);
	return 0;
}

SEC("?fentry/start_isolate_page_range")
int step__isolate_enter(__u64 *ctx)
{
	struct hotplug_attempt *attempt = running_offline();

	if (attempt)
		enter_step(attempt, HOTPLUG_ISOLATING);
	return 0;
}

/* The result is a notifier's word: OK and DONE let it go on. */
SEC("?fexit/memory_notify")
int step__notify_exit(__u64 *ctx)
{
	struct hotplug_attempt *attempt = running_offline();

	if (attempt && attempt->step == HOTPLUG_NOTIFYING && (__s32)ctx[2] <= 1)
		enter_step(attempt, HOTPLUG_MIGRATING);
	return 0;
}

static __always_inline int dissolving(void)
{
	struct hotplug_attempt *attempt = running_offline();

	if (attempt)
		enter_step(attempt, HOTPLUG_DISSOLVING);
	return 0;
}

SEC("?fentry/dissolve_free_huge_pages")
int step__dissolve_huge_pages(__u64 *ctx)
{
	return dissolving();
}

/* Of Linux v6.12. */
SEC("?fentry/dissolve_free_hugetlb_folios")
int step__dissolve_hugetlb_folios(__u64 *ctx)
{
	return dissolving();
}

/* Blockers but those that migrate.bpf.c meets. */

/*
 * The kernel prints the page that cannot be isolated. It also prints those that
 * were not migrated, with a reason that begins with another letter: "unmovable
 * page", "isolation failed", "migration failure".
 */
SEC("?fentry/dump_page")
int blockers__dumped(__u64 *ctx)
{
	struct hotplug_attempt *attempt = running_offline();
	__u64 page = 0, reason = 0;
	char first = 0;

	if (!attempt)
		return 0;
	bpf_probe_read_kernel(&page, sizeof(page), ctx);
	bpf_probe_read_kernel(&reason, sizeof(reason), ctx + 1);
	bpf_probe_read_kernel(&first, sizeof(first), (void *)reason);
	if (first == 'm')
		return 0;
	attempt->pages_named++;
	if (note_blocker(attempt->begin_ns, pfn_of(page), attempt->step, 0) < 0)
		attempt->blockers_lost++;
	return 0;
}

/* Whether the page's folio reaches beyond the block and nobody isolates it; as above. */
__noinline int reaches_beyond(__u64 start_pfn, __u64 pfn)
{
	struct page_facts facts;
	__u64 usage = 0;

	if (!read_page_facts(pfn, &facts) || !section_flags(pfn, &usage) ||
	    migratetype_of(pfn, usage) == bpf_core_enum_value(enum migratetype, MIGRATE_ISOLATE))
		return 0;
	return facts.head_pfn < start_pfn ||
	       facts.head_pfn + (1ULL << (facts.order & 63)) > start_pfn + block_pages;
}

/*
 * The kernel names the page that it does not isolate, but for a huge page of
 * which only a part lies in the block, where it does not isolate such (v6.1).
 */
SEC("?fexit/start_isolate_page_range")
int step__isolate_exit(__u64 *ctx)
{
	struct hotplug_attempt *attempt = running_offline();
	__u64 result = 1;

	if (!attempt)
		return 0;
	bpf_probe_read_kernel(&result, sizeof(result), (char *)ctx + 8 * isolate_result_arg);
	if (!(__s32)result) {
		enter_step(attempt, HOTPLUG_NOTIFYING);
	} else if (block_pages && mem_section_at && !attempt->pages_named) {
		const __u64 start_pfn = attempt->section_nr << SECTION_SHIFT;
		const __u64 last_pfn = start_pfn + block_pages - 1;

		if (reaches_beyond(start_pfn, start_pfn))
			note_blocker(attempt->begin_ns, start_pfn, HOTPLUG_ISOLATING, 0);
		else if (reaches_beyond(start_pfn, last_pfn))
			note_blocker(attempt->begin_ns, last_pfn, HOTPLUG_ISOLATING, 0);
	}
	return 0;
}

/* From start_pfn to end_pfn, fin_pfn is the first page that is not free yet. */
SEC("?tp_btf/test_pages_isolated")
int blockers__not_free(__u64 *ctx)
{
	struct hotplug_attempt *attempt = running_offline();

	if (!attempt)
		return 0;
	if (ctx[2] >= ctx[1]) {
		enter_step(attempt, HOTPLUG_FINISHING);
		return 0;
	}
	if (note_blocker(attempt->begin_ns, ctx[2], HOTPLUG_FINISHING, 0) < 0)
		attempt->blockers_lost++;
	enter_step(attempt, HOTPLUG_MIGRATING);
	return 0;
}
