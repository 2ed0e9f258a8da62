// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counts what migrate_pages() achieves, by reason and mode, how long it takes,
 * and why pages did not move. A program at its entry notes the list of folios
 * and the time, the tracepoint at its end looks at what is left on the list.
 */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <linux/ptrace.h>

#include "attempts.h"
#include "direct.h"
#include "events.h"
#include "latency.h"
#include "page_facts.h"
#include "page_stays.h"
#include "pin_moving.h"

char LICENSE[] SEC("license") = "GPL";

#define NR_PLACES (PINWATCH_MAX_MIGRATE_REASONS * PINWATCH_MAX_MIGRATE_MODES)

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NR_PLACES);
	__type(key, __u32);
	__type(value, struct migrate_counters);
} migrate_counters SEC(".maps");

/* By reason. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PINWATCH_MAX_MIGRATE_REASONS);
	__type(key, __u32);
	__type(value, struct migrate_details);
} migrate_details SEC(".maps");

/* Pages that did not move. The daemon takes them away when they get old. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct migrate_failure_key);
	__type(value, struct migrate_failure);
} migrate_failures SEC(".maps");

/* The daemon clears it when it detaches: who has begun may end unseen then. */
struct migrate_begin migrate_begins[PINWATCH_MIGRATE_BEGINS];

/* By node and zone; the last is for what is not known. */
struct migrate_place migrate_places[PINWATCH_MIGRATE_PLACES + 1];

/* Set by the daemon: where a page's flags have its node and zone. */
const volatile __u32 nid_shift = 54;
const volatile __u32 zone_shift = 51;
const volatile __u32 zone_mask = 7;

/* The same: whether pin_moving is that of pin.bpf.c. */
const volatile __u32 tells_pins;

/* Pages that moved for long-term calls which are not in pin_moving. */
__u64 migrate_pins_lost;

__u64 migrate_listed_second; /* the second in which so many were listed */
__u64 migrate_listed;
__u64 migrate_unlisted; /* times a page was met and not listed */

static __always_inline struct migrate_begin *begin_of(__u64 task)
{
	/* Tasks are some KiB apart: the multiplication spreads them. */
	__u32 at = (__u32)(task >> 6) * 2654435761U >> 20;

	barrier_var(at);
	return &migrate_begins[at & (PINWATCH_MIGRATE_BEGINS - 1)];
}

/*
 * Of two calls that meet in one place the later one stays, and so does the
 * inner one of two of the same task: a target page may be had by migrating.
 */
static __always_inline int call_begins(__u64 from, __u64 first)
{
	__u64 task = bpf_get_current_task();
	struct migrate_begin *begin = begin_of(task);
	__u64 now = bpf_ktime_get_ns();

	begin->task = task;
	begin->from = from;
	begin->first = first;
	begin->ns = now;
	begin->check = task ^ from ^ first ^ now;
	return 0;
}

SEC("?fentry/migrate_pages")
int begin__fentry(__u64 *ctx)
{
	/* Read as a number: the verifier lets nobody calculate with a typed pointer. */
	const __u64 from = read_number((__u64)ctx);

	return call_begins(from, read_number(from));
}

/* A function with more than six arguments takes no fentry before Linux v6.6. */
SEC("?kprobe/migrate_pages")
int begin__kprobe(struct pt_regs *ctx)
{
	return call_begins(ctx->rdi, read_number(ctx->rdi));
}

/* Its begin, which nobody finds again; false where it was not seen. */
static __always_inline bool take_begin(struct migrate_begin *taken)
{
	__u64 task = bpf_get_current_task();
	struct migrate_begin *begin = begin_of(task);

	*taken = *begin;
	if (taken->task != task || taken->check != (task ^ taken->from ^ taken->first ^ taken->ns))
		return false;
	begin->task = 0;
	return true;
}

/* What does not fit is counted under the last, which no kernel uses. */
static __always_inline __u32 place_of(__u32 mode, __u32 reason)
{
	if (mode >= PINWATCH_MAX_MIGRATE_MODES)
		mode = PINWATCH_MAX_MIGRATE_MODES - 1;
	if (reason >= PINWATCH_MAX_MIGRATE_REASONS)
		reason = PINWATCH_MAX_MIGRATE_REASONS - 1;
	return reason * PINWATCH_MAX_MIGRATE_MODES + mode;
}

static __always_inline void count_call(const __u64 *ctx, __u64 large_split, __u32 place)
{
	struct migrate_counters *counters = bpf_map_lookup_elem(&migrate_counters, &place);

	if (!counters)
		return;
	__sync_fetch_and_add(&counters->calls, 1);
	__sync_fetch_and_add(&counters->succeeded_pages, ctx[0]);
	__sync_fetch_and_add(&counters->failed_pages, ctx[1]);
	__sync_fetch_and_add(&counters->thp_succeeded, ctx[2]);
	__sync_fetch_and_add(&counters->thp_failed, ctx[3]);
	__sync_fetch_and_add(&counters->thp_split, ctx[4]);
	/* Of a constant 0 clang makes an atomic or, which Linux v5.10 lacks. */
	if (large_split)
		__sync_fetch_and_add(&counters->large_split, large_split);
}

/* Which does not change while the struct page is there, wherever the folio has gone. */
static __always_inline __u32 place_of_first(const struct migrate_begin *begin)
{
	const __u64 page = begin->first - bpf_core_field_offset(struct page, lru);
	__u64 flags;

	if (!begin->first || begin->first == begin->from)
		return PINWATCH_MIGRATE_PLACES;
	/* The flags are what a struct page begins with; none are set where it cannot be read. */
	flags = read_number(page);
	if (!flags || flags >> nid_shift >= PINWATCH_MIGRATE_NODES)
		return PINWATCH_MIGRATE_PLACES;
	return (flags >> nid_shift) * PINWATCH_MIGRATE_ZONES + (flags >> zone_shift & zone_mask);
}

static __always_inline void count_place(const __u64 *ctx, __u32 place)
{
	struct migrate_place *counted;

	barrier_var(place);
	if (place > PINWATCH_MIGRATE_PLACES)
		return;
	counted = &migrate_places[place];
	__sync_fetch_and_add(&counted->calls, 1);
	__sync_fetch_and_add(&counted->succeeded_pages, ctx[0]);
	if (ctx[1])
		__sync_fetch_and_add(&counted->failed_pages, ctx[1]);
}

static __always_inline bool may_list(void)
{
	__u64 second = bpf_ktime_get_ns() >> 30;

	if (migrate_listed_second != second) {
		migrate_listed_second = second;
		migrate_listed = 0;
	}
	return migrate_listed++ < PINWATCH_MIGRATE_LISTED;
}

static __always_inline void read_asker(struct migrate_failure *failure)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct task_struct *leader = NULL;

	failure->tgid = bpf_get_current_pid_tgid() >> 32;
	bpf_probe_read_kernel(&leader, sizeof(leader), &task->group_leader);
	bpf_probe_read_kernel(&failure->start_ns, sizeof(failure->start_ns),
			      &leader->start_boottime);
	bpf_get_current_comm(failure->comm, sizeof(failure->comm));
}

/* `fresh` has what the page said, and when. */
static __always_inline void list_failure(const struct migrate_failure_key *key,
					 struct migrate_failure *known,
					 struct migrate_failure *fresh)
{
	/* Attempts to take a block offline have a list of their own. */
	if (key->reason == bpf_core_enum_value(enum migrate_reason, MR_MEMORY_HOTPLUG))
		return;
	if (!known && !may_list()) {
		__sync_fetch_and_add(&migrate_unlisted, 1);
		return;
	}
	fresh->first_ns = fresh->last_ns;
	fresh->times_met = 1;
	read_asker(fresh);
	if (known) {
		fresh->first_ns = known->first_ns;
		fresh->times_met = known->times_met + 1;
		*known = *fresh;
	} else if (bpf_map_update_elem(&migrate_failures, key, fresh, BPF_NOEXIST)) {
		__sync_fetch_and_add(&migrate_unlisted, 1);
	}
}

/* False where it cannot be read. All 0 for a page of a large folio, which has more to it. */
static __always_inline bool see(__u64 page_at, struct migrate_failure_seen *seen)
{
	char page[STRUCT_PAGE];

	if (bpf_probe_read_kernel(page, sizeof(page), (void *)page_at))
		return false;
	if (page_flags(page) & PG(PG_head) || compound_head_of(page) & 1)
		return true;
	seen->task = bpf_get_current_task();
	seen->flags = page_flags(page);
	seen->mapping = FIELD(__u64, page, ((struct page *)0)->mapping);
	seen->counts = FIELD(__u64, page, ((struct page *)0)->_mapcount);
	seen->memcg = memcg_word(page);
	return true;
}

/* The same task has met the same page before, which has not changed since. */
static __always_inline bool is_same(const struct migrate_failure_seen *seen,
				    const struct migrate_failure_seen *before)
{
	return seen->flags && seen->task == before->task && seen->flags == before->flags &&
	       seen->mapping == before->mapping && seen->counts == before->counts &&
	       seen->memcg == before->memcg;
}

static __always_inline void count_why(__u32 reason, __u32 why, __u64 nr_pages)
{
	struct migrate_details *details = bpf_map_lookup_elem(&migrate_details, &reason);

	if (!details)
		return;
	barrier_var(why);
	__sync_fetch_and_add(&details->failed_pages[why & (PINWATCH_MAX_PAGE_STAYS - 1)], nr_pages);
}

static __always_inline int take_apart(const struct migrate_failure_key *key,
				      struct migrate_failure *known,
				      const struct migrate_failure_seen *seen, __u64 room,
				      __u64 now)
{
	struct migrate_failure fresh = {.last_ns = now, .seen = *seen};
	struct page_finding found;
	__u64 nr_pages;

	if (!read_page_facts(key->pfn, &fresh.page))
		return 0;
	find_why_it_stays(&fresh.page, 1, &found);
	nr_pages = 1ULL << (fresh.page.order & 31);
	if (nr_pages > room)
		nr_pages = room;
	fresh.why = found.why;
	count_why(key->reason, found.why, nr_pages);
	list_failure(key, known, &fresh);
	return nr_pages;
}

/*
 * How many pages, at most `room`, the folio that was left over counts for; 0
 * where it cannot be read. One stuck page may fail thousands of times a second:
 * as long as it says the same, it is not taken apart again. Not static, so that
 * the verifier goes through it once and not for every turn of the loop that calls it.
 */
__noinline int note_failure(__u64 page_at, __u32 place, __u64 room, __u64 now)
{
	struct migrate_failure_key key = {
		.pfn = pfn_of(page_at),
		.mode = place % PINWATCH_MAX_MIGRATE_MODES,
		.reason = place / PINWATCH_MAX_MIGRATE_MODES,
	};
	struct migrate_failure *known = bpf_map_lookup_elem(&migrate_failures, &key);
	struct migrate_failure_seen seen = {};

	if (!see(page_at, &seen))
		return 0;
	if (!known || !is_same(&seen, &known->seen))
		return take_apart(&key, known, &seen, room, now);
	known->last_ns = now;
	known->times_met++;
	count_why(key.reason, known->why, 1);
	return 1;
}

/*
 * Those that failed stand first; after an abort those follow that were not tried.
 * Linux v5.10 has put back itself the pages that it takes to never move.
 */
static __always_inline __u64 classify(__u64 from, __u64 failed, __u32 place, __u64 now,
				      struct hotplug_attempt *attempt)
{
	__u64 done = 0, at = from, page;
	int i, nr_pages;

	for (i = 0; i < PINWATCH_MIGRATE_WALK && done < failed; i++) {
		at = read_number(at);
		if (!at || at == from)
			break;
		page = at - bpf_core_field_offset(struct page, lru);
		/* Whether there was memory to move to is told after this: of the round before. */
		if (attempt && note_blocker(attempt->begin_ns, pfn_of(page), HOTPLUG_MIGRATING,
					    attempt->no_target) < 0)
			attempt->blockers_lost++;
		nr_pages = note_failure(page, place, failed - done, now);
		if (nr_pages <= 0)
			break;
		done += nr_pages;
	}
	return done;
}

/* A round of an attempt to take a block offline, which the same thread makes. */
static __always_inline struct hotplug_attempt *count_round(const __u64 *ctx)
{
	struct hotplug_attempt *attempt = running_attempt();

	if (!attempt)
		return NULL;
	attempt->migrate_calls++;
	attempt->succeeded_pages += ctx[0];
	attempt->failed_pages += ctx[1];
	return attempt;
}

/* A round of a long-term call. */
static __always_inline void tell_pins(const __u64 *ctx)
{
	const __u64 task = bpf_get_current_task();
	struct pin_moving *moving = bpf_map_lookup_elem(&pin_moving, &task);

	/* One without a round is of a call whose end was not seen. */
	if (!moving || !moving->round.begin_ns) {
		__sync_fetch_and_add(&migrate_pins_lost, ctx[0]);
		return;
	}
	note_moved(moving, ctx[0], ctx[1]);
	moving->round.has_isolated = 1;
}

static __always_inline int call_ends(const __u64 *ctx, __u64 large_split, __u32 mode, __u32 reason)
{
	__u32 place = place_of(mode, reason);
	__u64 failed = ctx[1], done = 0, now = bpf_ktime_get_ns(), ns;
	struct hotplug_attempt *attempt = NULL;
	struct migrate_details *details;
	struct migrate_begin begin;
	__u32 key = place / PINWATCH_MAX_MIGRATE_MODES;
	bool seen = take_begin(&begin);

	if (reason == bpf_core_enum_value(enum migrate_reason, MR_MEMORY_HOTPLUG))
		attempt = count_round(ctx);
	else if (tells_pins && reason == bpf_core_enum_value(enum migrate_reason, MR_LONGTERM_PIN))
		tell_pins(ctx);
	count_call(ctx, large_split, place);
	count_place(ctx, seen ? place_of_first(&begin) : PINWATCH_MIGRATE_PLACES);
	details = bpf_map_lookup_elem(&migrate_details, &key);
	if (!details)
		return 0;
	if (!seen) {
		__sync_fetch_and_add(&details->unmeasured_calls, 1);
	} else {
		__u32 bucket;

		ns = now - begin.ns;
		bucket = latency_bucket(ns);
		__sync_fetch_and_add(&details->measured_calls, 1);
		__sync_fetch_and_add(&details->measured_ns, ns);
		barrier_var(bucket);
		if (bucket < PINWATCH_LATENCY_BUCKETS)
			__sync_fetch_and_add(&details->calls[bucket], 1);
	}
	if (!failed)
		return 0;
	if (seen)
		done = classify(begin.from, failed, place, now, attempt);
	if (done < failed) {
		__sync_fetch_and_add(&details->unclassified, failed - done);
		if (attempt)
			attempt->blockers_lost++;
	}
	return 0;
}

/* Succeeded, failed, three of THPs, mode, reason. */
SEC("?tp_btf/mm_migrate_pages")
int end__7_args(__u64 *ctx)
{
	return call_ends(ctx, 0, ctx[5], ctx[6]);
}

/* From Linux v6.12 on splits of large folios come before the mode. */
SEC("?tp_btf/mm_migrate_pages")
int end__8_args(__u64 *ctx)
{
	return call_ends(ctx, ctx[5], ctx[6], ctx[7]);
}

/* Where no program may read the kernel's memory. */
SEC("?tp_btf/mm_migrate_pages")
int count__7_args(__u64 *ctx)
{
	count_call(ctx, 0, place_of(ctx[5], ctx[6]));
	return 0;
}

SEC("?tp_btf/mm_migrate_pages")
int count__8_args(__u64 *ctx)
{
	count_call(ctx, ctx[5], place_of(ctx[6], ctx[7]));
	return 0;
}
