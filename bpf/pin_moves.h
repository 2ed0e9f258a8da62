/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What long-term calls have to move out of movable memory before they can pin.
 * These programs run when a page is to move, never for each call or page: they
 * find the call by the begin that its task has noted. Included by pin.bpf.c.
 */
#ifndef PINWATCH_PIN_MOVES_H
#define PINWATCH_PIN_MOVES_H

#include "direct.h"
#include "pageblock.h"
#include "pin_moving.h"

#define MOST_LOOPS (1 << 23) /* that bpf_loop() takes */

/* Set by the daemon from the kernel's types. */
const volatile __u32 zone_shift = 51;
const volatile __u32 zone_mask = 7;
/* Whether these return true for what they have isolated; before v6.3 they return 0. */
const volatile __u32 isolate_lru_tells_true;
const volatile __u32 isolate_hugetlb_tells_true;
/*
 * Whether begin and end of each round are seen, and so its list of folios. Where
 * they are not, each isolation is followed and rounds are derived.
 */
const volatile __u32 sees_rounds;

/* By owner's index: those whose calls had something to move. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINWATCH_MAX_MOVERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct pin_moved);
} pin_moved SEC(".maps");

/* Calls of pin_moving that have ended: the daemon reads pin_moved when it changes. */
__u64 pin_moves_ended;
/* Pages moved for long-term calls that are on nobody's account. */
__u64 pin_moves_lost;

/* The measured call that the task is in, through whatever door; 0: none. */
static __always_inline struct pin_begin *call_of(__u64 task)
{
	struct pin_begin *begin;

	if (!*(volatile __u32 *)&pin_begun)
		return 0;
#pragma clang loop unroll(full)
	for (__u32 door = 0; door < NR_PIN_DOORS; door++) {
		begin = begin_of(task, door);
		if (begin->task == task && begin->door == door)
			return begin;
	}
	return 0;
}

/* What the call has moved so far; 0 where it has had nothing to move. */
static __always_inline struct pin_moving *known_moving(const struct pin_begin *begin, __u64 task)
{
	struct pin_moving *moving = bpf_map_lookup_elem(&pin_moving, &task);

	/* One of before is of a call whose end was not seen. */
	return moving && moving->begin_ns == begin->ns ? moving : 0;
}

static __always_inline struct pin_moving *moving_of(struct pin_begin *begin, __u64 task)
{
	struct pin_moving *moving = known_moving(begin, task);
	struct task_struct *leader = 0;
	struct scratch *work;
	__u32 zero = 0;

	if (moving)
		return moving;
	work = bpf_map_lookup_elem(&scratch, &zero);
	if (!work || bpf_map_update_elem(&pin_moving, &task, &work->moving, BPF_ANY))
		return 0;
	moving = bpf_map_lookup_elem(&pin_moving, &task);
	if (!moving)
		return 0;
	begin->moving = 1;
	moving->begin_ns = begin->ns;
	moving->door = begin->door;
	moving->tgid = bpf_get_current_pid_tgid() >> 32;
	bpf_probe_read_kernel(&leader, sizeof(leader), &((struct task_struct *)task)->group_leader);
	bpf_probe_read_kernel(&moving->start_ns, sizeof(moving->start_ns), &leader->start_boottime);
	bpf_probe_read_kernel(moving->comm, sizeof(moving->comm), &leader->comm);
	return moving;
}

static __always_inline void drop_round(struct pin_moving *moving)
{
	__builtin_memset(&moving->round, 0, sizeof(moving->round));
}

/* The pages of this round have moved, or there was none to be had. */
static __always_inline void end_round(struct pin_moving *moving)
{
	struct pin_moved *sum = &moving->sum;

	if (!moving->round.begin_ns)
		return;
#pragma clang loop unroll(full)
	for (__u32 from = 0; from < NR_PIN_MOVES_FROM; from++) {
		sum->collected[from] += moving->round.collected[from];
		sum->isolated[from] += moving->round.isolated[from];
	}
	sum->rounds++;
	sum->ns += bpf_ktime_get_ns() - moving->round.begin_ns;
	drop_round(moving);
}

static __always_inline __u32 moves_from(__u64 flags, __u64 pfn)
{
	__u64 usage = 0;

	if (bpf_core_enum_value_exists(enum migratetype, MIGRATE_CMA) &&
	    section_flags(pfn, &usage) &&
	    migratetype_of(pfn, usage) == bpf_core_enum_value(enum migratetype, MIGRATE_CMA))
		return PIN_MOVES_FROM_CMA;
	return (flags >> zone_shift & zone_mask) ==
			       bpf_core_enum_value(enum zone_type, ZONE_MOVABLE)
		       ? PIN_MOVES_FROM_MOVABLE
		       : PIN_MOVES_FROM_OTHER;
}

static __always_inline void begin_round(struct pin_moving *moving)
{
	if (!moving->round.begin_ns)
		moving->round.begin_ns = bpf_ktime_get_ns();
}

static __always_inline void note_stuck(struct pin_moving *moving, __u64 pfn)
{
	if (!moving->round.stuck_pfn)
		moving->round.stuck_pfn = pfn;
	moving->stuck_pfn = pfn;
	moving->stuck_ns = bpf_ktime_get_ns();
}

/* Somebody tried to take a folio off its list, which is how a round begins. */
static __always_inline int isolation_tried(__u64 *ctx, bool isolated)
{
	const __u64 task = bpf_get_current_task();
	struct pin_begin *begin = call_of(task);
	__u64 folio = 0, flags, pfn, nr_pages;
	struct pin_moving *moving;
	char pair[2 * STRUCT_PAGE];
	__u32 from;

	/* As a number: the verifier lets nobody calculate with a typed pointer. */
	if (!begin || bpf_probe_read_kernel(&folio, sizeof(folio), ctx) ||
	    bpf_probe_read_kernel(pair, sizeof(pair), (void *)folio))
		return 0;
	moving = moving_of(begin, task);
	if (!moving)
		return 0;
	pfn = (folio - vmemmap) / STRUCT_PAGE;
	/* That page again and nothing to move meanwhile: another round has begun. */
	if (!isolated && moving->round.stuck_pfn == pfn && !moving->round.has_isolated)
		end_round(moving);
	flags = page_flags(pair);
	nr_pages = flags & PG(PG_head) ? 1UL << (folio_order(pair) & 31) : 1;
	from = moves_from(flags, pfn);
	barrier_var(from);
	if (from >= NR_PIN_MOVES_FROM)
		return 0;
	begin_round(moving);
	moving->round.collected[from] += nr_pages;
	if (isolated) {
		moving->round.isolated[from] += nr_pages;
		moving->round.has_isolated = 1;
	} else {
		note_stuck(moving, pfn);
	}
	return 0;
}

/* folio; a number, or since v6.3 a bool */
SEC("?fexit/folio_isolate_lru")
int isolate_lru__fexit(__u64 *ctx)
{
	return isolation_tried(ctx, isolate_lru_tells_true ? (__u8)ctx[1] : !(__u32)ctx[1]);
}

/* folio, list; the kernel's versions name it in two ways */
SEC("?fexit/isolate_hugetlb")
int isolate_hugetlb__fexit(__u64 *ctx)
{
	return isolation_tried(ctx, isolate_hugetlb_tells_true ? (__u8)ctx[2] : !(__u32)ctx[2]);
}

SEC("?fexit/folio_isolate_hugetlb")
int folio_isolate_hugetlb__fexit(__u64 *ctx)
{
	return isolation_tried(ctx, isolate_hugetlb_tells_true ? (__u8)ctx[2] : !(__u32)ctx[2]);
}

/* Gets a page to move another to; 0: there was none. */
SEC("?fexit/alloc_migration_target")
int migration_target__fexit(__u64 *ctx)
{
	const __u64 task = bpf_get_current_task();
	struct pin_begin *begin;
	struct pin_moving *moving;
	__u64 target = 1;

	bpf_probe_read_kernel(&target, sizeof(target), ctx + 2);
	if (target)
		return 0;
	begin = call_of(task);
	moving = begin ? known_moving(begin, task) : 0;
	if (moving)
		moving->sum.no_target++;
	return 0;
}

/* Goes through what a call has pinned, beside the list of what has been isolated of it. */
struct pinned_walk {
	struct pin_moving *moving;
	__u64 entries;	/* address of an array of pointers to pages or folios */
	__u64 list;	/* its head */
	__u64 next;	/* of the list: what of it the walk comes to next */
	__u64 next_pfn; /* of that folio */
	__u64 next_pages;
	__u64 done_pfn; /* the folio that the last entry belongs to, if it was to move */
	__u64 done_pages;
	__u64 block; /* the pageblock asked about last */
	__u64 block_from;
};

static __always_inline __u64 folio_pages_at(__u64 page, __u64 flags)
{
	const __u32 order_at = bpf_core_field_offset(struct folio, _flags_1);

	return flags & PG(PG_head) ? 1UL << (number_at(page + order_at) & 31) : 1;
}

static __always_inline void step_list(struct pinned_walk *walk)
{
	const __u64 page = walk->next - bpf_core_field_offset(struct page, lru);

	walk->next_pages = 0;
	if (!walk->next || walk->next == walk->list)
		return;
	walk->next_pfn = (page - vmemmap) / STRUCT_PAGE;
	walk->next_pages = folio_pages_at(page, number_at(page));
	walk->next = number_at(walk->next);
}

static __always_inline void note_not_isolated(struct pinned_walk *walk, __u64 pfn, __u32 from)
{
	char pair[2 * STRUCT_PAGE];
	__u64 head_pfn;
	__u32 order;

	if (bpf_probe_read_kernel(pair, sizeof(pair), (char *)vmemmap + pfn * STRUCT_PAGE))
		return;
	if (!find_folio(vmemmap, pair, pfn, &head_pfn, &order)) {
		head_pfn = pfn;
		order = 0;
	}
	walk->done_pfn = head_pfn;
	walk->done_pages = 1UL << (order & 31);
	walk->moving->round.collected[from] += walk->done_pages;
	note_stuck(walk->moving, head_pfn);
}

/* The kernel has gone through the entries in the same order. */
static long walk_pinned(__u32 i, struct pinned_walk *walk)
{
	const __u64 page = number_at(walk->entries + i * sizeof(page));
	const __u64 pfn = (page - vmemmap) / STRUCT_PAGE;
	struct pin_moving *moving = walk->moving;
	__u32 from;

	if (pfn - walk->done_pfn < walk->done_pages)
		return 0;
	if (pfn >> PAGEBLOCK_SHIFT != walk->block) {
		walk->block = pfn >> PAGEBLOCK_SHIFT;
		walk->block_from = moves_from(number_at(page), pfn);
	}
	from = walk->block_from;
	barrier_var(from);
	if (from >= NR_PIN_MOVES_FROM)
		return 0;
	if (pfn - walk->next_pfn < walk->next_pages) {
		moving->round.collected[from] += walk->next_pages;
		moving->round.isolated[from] += walk->next_pages;
		walk->done_pfn = walk->next_pfn;
		walk->done_pages = walk->next_pages;
		step_list(walk);
	} else if (from != PIN_MOVES_FROM_OTHER) {
		note_not_isolated(walk, pfn, from);
	}
	return 0;
}

/* list, pages or folios; a round, what could be isolated stands on the list */
SEC("?fentry/migrate_longterm_unpinnable_folios")
int migrate_longterm_entry(__u64 *ctx)
{
	const __u64 task = bpf_get_current_task();
	struct pin_begin *begin = call_of(task);
	struct pin_moving *moving = begin ? moving_of(begin, task) : 0;
	struct pinned_walk walk = {.moving = moving, .block = -1UL};
	__u64 pinned, nr_entries;

	if (!moving)
		return 0;
	drop_round(moving);
	begin_round(moving);
	/* As numbers: the verifier lets nobody calculate with a typed pointer. */
	walk.list = number_at((__u64)ctx);
	pinned = number_at((__u64)(ctx + 1));
	walk.next = number_at(walk.list);
	step_list(&walk);
	walk.entries = number_at(pinned + bpf_core_field_offset(struct pages_or_folios, entries));
	nr_entries = number_at(pinned + bpf_core_field_offset(struct pages_or_folios, nr_entries));
	bpf_loop(nr_entries < MOST_LOOPS ? nr_entries : MOST_LOOPS, walk_pinned, &walk, 0);
	return 0;
}

#define EAGAIN 11

/* migrate.bpf.c was not there to tell. That all have moved the result says. */
static __always_inline void infer_moved(struct pin_moving *moving, __s32 result)
{
#pragma clang loop unroll(full)
	for (__u32 from = 0; from < NR_PIN_MOVES_FROM; from++) {
		if (result == -EAGAIN)
			moving->sum.moved[from] += moving->round.isolated[from];
		else
			__sync_fetch_and_add(&pin_moves_lost, moving->round.isolated[from]);
	}
}

/* The same returns. */
SEC("?fexit/migrate_longterm_unpinnable_folios")
int migrate_longterm__fexit(__u64 *ctx)
{
	const __u64 task = bpf_get_current_task();
	struct pin_begin *begin = call_of(task);
	struct pin_moving *moving = begin ? known_moving(begin, task) : 0;

	if (!moving)
		return 0;
	if (!moving->round.has_isolated)
		infer_moved(moving, (__s32)ctx[2]);
	end_round(moving);
	return 0;
}

static __always_inline int migrated(const __u64 *ctx, __u32 reason)
{
	const bool ours = reason == bpf_core_enum_value(enum migrate_reason, MR_LONGTERM_PIN);
	const __u64 task = bpf_get_current_task();
	struct pin_begin *begin = call_of(task);
	struct pin_moving *moving = begin ? known_moving(begin, task) : 0;

	if (!moving) {
		if (ours)
			__sync_fetch_and_add(&pin_moves_lost, ctx[0]);
		return 0;
	}
	if (!ours) {
		/* A fault within the call moved a page of its own. */
		drop_round(moving);
		return 0;
	}
	note_moved(moving, ctx[0], ctx[1]);
	end_round(moving);
	return 0;
}

/* Succeeded, failed, three of THPs, mode, reason. */
SEC("?tp_btf/mm_migrate_pages")
int pages_moved__7_args(__u64 *ctx)
{
	return migrated(ctx, ctx[6]);
}

/* From Linux v6.12 on splits of large folios come before the mode. */
SEC("?tp_btf/mm_migrate_pages")
int pages_moved__8_args(__u64 *ctx)
{
	return migrated(ctx, ctx[7]);
}

/* Adds what the call has moved to the owner's account; false where it has none. */
static __always_inline bool add_moved(__u32 owner, const struct pin_moved *sum,
				      struct scratch *work)
{
	const __u64 *from = (const __u64 *)sum;
	struct pin_moved *account;
	__u64 *to;

	if (!owner)
		return false;
	account = bpf_map_lookup_elem(&pin_moved, &owner);
	if (!account) {
		bpf_map_update_elem(&pin_moved, &owner, &work->moving.sum, BPF_NOEXIST);
		account = bpf_map_lookup_elem(&pin_moved, &owner);
		if (!account)
			return false;
	}
	to = (__u64 *)account;
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < sizeof(*sum) / sizeof(__u64); i++)
		__sync_fetch_and_add(&to[i], from[i]);
	return true;
}

/*
 * Ends the call that the task has begun at the door and in which something had to
 * move. Global, so that no door has a copy of it and the verifier goes through it once.
 */
__noinline int end_moving(__u32 door, __u32 owner, __u64 call_ns)
{
	const __u64 task = bpf_get_current_task();
	struct pin_begin *begin = begin_of(task, door);
	struct pin_moving *moving = known_moving(begin, task);
	__u32 zero = 0;
	struct scratch *work = bpf_map_lookup_elem(&scratch, &zero);

	if (moving && work) {
		/* Not even that: what was tried last was of no round that moved. */
		if (!sees_rounds)
			end_round(moving);
		moving->sum.calls = 1;
		moving->sum.calls_ns = call_ns;
		if (moving->sum.rounds && !add_moved(owner, &moving->sum, work))
			__sync_fetch_and_add(&pin_moves_lost, moving->sum.moved[0] +
								      moving->sum.moved[1] +
								      moving->sum.moved[2]);
		__sync_fetch_and_add(&pin_moves_ended, 1);
		bpf_map_delete_elem(&pin_moving, &task);
	}
	begin->moving = 0;
	begin->task = 0;
	__sync_fetch_and_add(&begin->taken, -1);
	__sync_fetch_and_add(&pin_begun, -1);
	return 0;
}

#endif
