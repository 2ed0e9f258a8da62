// SPDX-License-Identifier: GPL-2.0-only
/*
 * Claims: who took a pin on which page. Follows the exported pin functions when
 * they return and notes the owner of every page returned; nothing is done when
 * pins are released. What a claim is worth is for the census to say. See
 * docs/architecture.md.
 */
#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "events.h"

char LICENSE[] SEC("license") = "GPL";

#define NSEC_PER_SEC 1000000000UL

/* Pages claimed by one step of a loop: what a step costs is shared by them. */
#define PAGES_A_STEP 4

/* Set by the daemon from the kernel's types: FOLL_* are no enum before v6.3. */
const volatile __u32 foll_longterm = 0x10000;
const volatile __u32 foll_pin = 0x40000;

/*
 * Short-term calls of one CPU in one second that are all claimed; of those
 * beyond, one in PINWATCH_SAMPLE.
 */
const volatile __u32 short_calls_unsampled = 200;
#define PINWATCH_SAMPLE 64

extern const void vmemmap_base __ksym __weak;

/* Read once, by pin_setup. */
__u64 vmemmap;

/* Counted up by the daemon once a second: short-term calls do without a clock. */
__u32 pin_epoch;
__u32 pin_tick;

__u64 short_claims[PINWATCH_SHORT_CLAIMS];

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pin_totals);
} pin_totals SEC(".maps");

/* Indexes that no owner has: filled by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, PINWATCH_MAX_OWNERS);
	__type(value, __u32);
} free_owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINWATCH_MAX_OWNERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pin_owner_key);
	__type(value, struct pin_owner);
} pin_owners SEC(".maps");

/* Tells the daemon at once of a new owner: the process may not live long. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} pin_news SEC(".maps");

struct chunk_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	/* By size: the compiler leaves the type out of a map's definition in a map. */
	__uint(value_size, sizeof(struct claim_chunk));
};

/* By section; the daemon puts a chunk in where it is wanted. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct chunk_map);
} claim_chunks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct claim_run_key);
	__type(value, struct claim_run);
} claim_runs SEC(".maps");

/* Counts changes of claim_runs, so that the daemon need not read it in vain. */
__u64 claim_runs_changed;

/* Where a call works. A program may be preempted by itself: hence `busy`. */
struct scratch {
	__u32 busy;
	__u32 epoch;
	__u32 short_calls; /* in this epoch */
	/*
	 * In memory, where the verifier does not follow what they may be: counts
	 * that it knows keep it from ever seeing two rounds of a loop as one.
	 */
	__u32 nr_contested;
	struct claim_run_key run;
	struct claim_run span;
	__u64 pages[PINWATCH_PIN_BULK + PAGES_A_STEP];
	__u64 contested[PINWATCH_PIN_BULK + PAGES_A_STEP];
	struct pin_owner owner;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* One return of a pin function. */
struct pin_call {
	__u64 *ctx;
	__u64 pages; /* address of the array that was filled */
	__u64 nr_pages;
	__u64 mm; /* whose memory; 0: the caller's own */
	__u64 call_site;
	__u32 door;
	__u32 long_term;
};

static __always_inline struct task_struct *leader_of(struct task_struct *task)
{
	struct task_struct *leader = 0;

	bpf_probe_read_kernel(&leader, sizeof(leader), &task->group_leader);
	return leader;
}

static __always_inline __u64 start_of(struct task_struct *leader)
{
	__u64 start_ns = 0;

	bpf_probe_read_kernel(&start_ns, sizeof(start_ns), &leader->start_boottime);
	return start_ns;
}

/*
 * The process that owns the memory, where that is not the caller. A memory
 * whose owner the kernel does not know is the caller's doing.
 */
static __always_inline struct task_struct *remote_leader(__u64 mm, struct task_struct *caller)
{
	struct task_struct *owner = 0;
	__u64 own_mm = 0;

	bpf_probe_read_kernel(&own_mm, sizeof(own_mm), &caller->mm);
	if (own_mm == mm || !bpf_core_field_exists(((struct mm_struct *)0)->owner))
		return 0;
	bpf_probe_read_kernel(&owner, sizeof(owner), &((struct mm_struct *)mm)->owner);
	return owner ? leader_of(owner) : 0;
}

/* Gives a new owner an index. Its record, index included, or null. */
static __always_inline struct pin_owner *intern(const struct pin_call *call,
						const struct pin_owner_key *key,
						struct task_struct *leader,
						struct task_struct *caller, struct scratch *work)
{
	struct pin_owner *owner = &work->owner;
	__u32 index = 0;

	if (bpf_map_pop_elem(&free_owners, &index))
		return 0;
	__builtin_memset(owner, 0, sizeof(*owner));
	owner->index = index;
	owner->first_ns = bpf_ktime_get_ns();
	bpf_probe_read_kernel(owner->comm, sizeof(owner->comm), &leader->comm);
	if (key->via_tgid) {
		owner->via_start_ns = start_of(caller);
		bpf_probe_read_kernel(owner->via_comm, sizeof(owner->via_comm), &caller->comm);
	}
	bpf_get_stack(call->ctx, owner->kernel_stack, sizeof(owner->kernel_stack), 0);
	bpf_get_stack(call->ctx, owner->user_stack, sizeof(owner->user_stack), BPF_F_USER_STACK);
	if (bpf_map_update_elem(&pin_owners, key, owner, BPF_NOEXIST)) {
		/* Another thread of the process was faster, or the table is full. */
		bpf_map_push_elem(&free_owners, &index, 0);
	} else {
		bpf_ringbuf_output(&pin_news, &index, sizeof(index), 0);
	}
	return bpf_map_lookup_elem(&pin_owners, key);
}

/* The index of the call's owner; 0 when there is no room for one more. */
static __always_inline __u32 owner_of(const struct pin_call *call, struct scratch *work, __u64 now)
{
	struct task_struct *caller = leader_of((struct task_struct *)bpf_get_current_task());
	struct task_struct *leader = call->mm ? remote_leader(call->mm, caller) : 0;
	struct pin_owner_key key = {
		.call_site = (__u32)call->call_site,
		.door = call->door,
		.long_term = call->long_term,
	};
	struct pin_owner *owner;
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	if (leader && leader != caller) {
		bpf_probe_read_kernel(&key.tgid, sizeof(key.tgid), &leader->tgid);
		key.via_tgid = tgid;
	} else {
		leader = caller;
		key.tgid = tgid;
	}
	key.start_ns = start_of(leader);
	owner = bpf_map_lookup_elem(&pin_owners, &key);
	if (!owner)
		owner = intern(call, &key, leader, caller, work);
	if (!owner)
		return 0;
	owner->last_ns = now;
	__sync_fetch_and_add(&owner->calls, 1);
	__sync_fetch_and_add(&owner->pages, call->nr_pages);
	return owner->index;
}

static __always_inline __u32 *claim_slot(__u64 pfn)
{
	__u32 section = pfn >> SECTION_SHIFT, zero = 0;
	struct claim_chunk *chunk;
	void *map;

	map = bpf_map_lookup_elem(&claim_chunks, &section);
	if (!map)
		return 0;
	chunk = bpf_map_lookup_elem(map, &zero);
	return chunk ? chunk->claim + (pfn & (PINWATCH_CHUNK_PAGES - 1)) : 0;
}

struct slow_walk {
	struct scratch *work;
	struct pin_totals *totals;
	__u32 owner;
	__u32 tick;
};

static __always_inline void note_run(struct slow_walk *walk)
{
	struct scratch *work = walk->work;
	struct claim_run *known;

	if (!work->span.nr_pages)
		return;
	known = bpf_map_lookup_elem(&claim_runs, &work->run);
	if (known && known->nr_pages > work->span.nr_pages)
		known->tick = walk->tick;
	else if (bpf_map_update_elem(&claim_runs, &work->run, &work->span, BPF_ANY))
		__sync_fetch_and_add(&walk->totals->lost_pages, work->span.nr_pages);
	__sync_fetch_and_add(&claim_runs_changed, 1);
}

/*
 * A page that another owner claims, or that has no chunk yet. With one pin on
 * it that pin is ours, and the other claim is a thing of the past.
 */
static long claim_contested(__u32 i, struct slow_walk *walk)
{
	struct scratch *work = walk->work;
	__s32 refcount = 0;
	__u32 *slot;
	__u64 pfn;

	if (i >= PINWATCH_PIN_BULK + PAGES_A_STEP)
		return 1;
	pfn = work->contested[i];
	slot = claim_slot(pfn);
	if (slot) {
		bpf_probe_read_kernel(&refcount, sizeof(refcount),
				      (char *)vmemmap + pfn * STRUCT_PAGE +
					      bpf_core_field_offset(struct page, _refcount));
		if (refcount >= PINWATCH_PIN_BIAS && refcount < 2 * PINWATCH_PIN_BIAS) {
			*slot = walk->owner << PINWATCH_TICK_BITS | walk->tick;
			return 0;
		}
	}
	/* In the run already: the last step of a bulk is filled up with its last page. */
	if (pfn - work->run.pfn < work->span.nr_pages)
		return 0;
	if (work->span.nr_pages && pfn == work->run.pfn + work->span.nr_pages) {
		work->span.nr_pages++;
		return 0;
	}
	note_run(walk);
	work->run.pfn = pfn;
	work->span.nr_pages = 1;
	return 0;
}

struct bulk_walk {
	struct scratch *work;
	struct pin_totals *totals;
	__u64 pages; /* address of what is left of the array */
	__u64 nr_pages;
	__u32 owner;
	__u32 tick;
};

/*
 * Sets the claims of the PAGES_A_STEP pages whose pointers stand at the i-th
 * place in work->pages. Those that cannot be set here are put aside.
 */
static long claim_step(__u32 i, struct bulk_walk *walk)
{
	struct scratch *work = walk->work;
	const __u32 owner = walk->owner;
	const __u32 word = owner << PINWATCH_TICK_BITS | walk->tick;
	const __u64 base = vmemmap;
	__u64 section = -1UL;
	struct claim_chunk *chunk = 0;
	__u32 zero = 0, first = i * PAGES_A_STEP;

	if (first > PINWATCH_PIN_BULK - PAGES_A_STEP)
		return 1;
#pragma clang loop unroll(full)
	for (__u32 j = 0; j < PAGES_A_STEP; j++) {
		__u64 pfn = (work->pages[first + j] - base) / STRUCT_PAGE;
		__u32 at, old;

		if (pfn >> SECTION_SHIFT != section) {
			__u32 key = section = pfn >> SECTION_SHIFT;
			void *map = bpf_map_lookup_elem(&claim_chunks, &key);

			chunk = map ? bpf_map_lookup_elem(map, &zero) : 0;
		}
		if (chunk) {
			at = pfn;
			barrier_var(at);
			at &= PINWATCH_CHUNK_PAGES - 1;
			old = chunk->claim[at];
			if (!old || old >> PINWATCH_TICK_BITS == owner) {
				chunk->claim[at] = word;
				continue;
			}
		}
		at = work->nr_contested++;
		barrier_var(at);
		if (at < PINWATCH_PIN_BULK + PAGES_A_STEP)
			work->contested[at] = pfn;
	}
	return 0;
}

static long claim_next_bulk(__u32 i, struct bulk_walk *walk)
{
	struct scratch *work = walk->work;
	__u64 nr = walk->nr_pages;
	__u32 last;

	if (nr > PINWATCH_PIN_BULK)
		nr = PINWATCH_PIN_BULK;
	if (!nr || bpf_probe_read_kernel(work->pages, nr * sizeof(__u64), (void *)walk->pages))
		return 1;
	/* The last step is filled up with the last page: seeing it again is harmless. */
	last = (nr - 1) & (PINWATCH_PIN_BULK - 1);
	for (__u32 j = 1; j < PAGES_A_STEP; j++)
		work->pages[last + j] = work->pages[last];
	work->nr_contested = 0;
	bpf_loop((nr + PAGES_A_STEP - 1) / PAGES_A_STEP, claim_step, walk, 0);
	if (work->nr_contested) {
		struct slow_walk slow = {
			.work = work,
			.totals = walk->totals,
			.owner = walk->owner,
			.tick = walk->tick,
		};

		work->run = (struct claim_run_key){.owner = walk->owner};
		work->span = (struct claim_run){.tick = walk->tick};
		bpf_loop(work->nr_contested, claim_contested, &slow, 0);
		note_run(&slow);
	}
	walk->pages += nr * sizeof(__u64);
	walk->nr_pages -= nr;
	return 0;
}

static __always_inline void claim_long_term(const struct pin_call *call, struct scratch *work,
					    struct pin_totals *totals, __u32 owner, __u64 now)
{
	struct bulk_walk walk = {
		.work = work,
		.totals = totals,
		.pages = call->pages,
		.nr_pages = call->nr_pages,
		.owner = owner,
		.tick = 1 + now / NSEC_PER_SEC % PINWATCH_TICKS,
	};

	bpf_loop((call->nr_pages + PINWATCH_PIN_BULK - 1) / PINWATCH_PIN_BULK, claim_next_bulk,
		 &walk, 0);
}

static __always_inline void claim_short_term(const struct pin_call *call, struct scratch *work,
					     __u32 owner)
{
	__u64 nr = call->nr_pages;

	if (nr > PINWATCH_SHORT_PAGES)
		nr = PINWATCH_SHORT_PAGES;
	if (!nr || bpf_probe_read_kernel(work->pages, nr * sizeof(__u64), (void *)call->pages))
		return;
	for (__u32 i = 0; i < PINWATCH_SHORT_PAGES; i++) {
		__u64 pfn;

		if (i >= nr)
			break;
		pfn = (work->pages[i] - vmemmap) / STRUCT_PAGE;
		short_claims[pfn & (PINWATCH_SHORT_CLAIMS - 1)] =
			pfn / PINWATCH_SHORT_CLAIMS << 32 | owner << PINWATCH_TICK_BITS | pin_tick;
	}
}

/* Whether the call is one of those that are left out. */
static __always_inline bool skip_short_term(struct scratch *work)
{
	if (work->epoch != pin_epoch) {
		work->epoch = pin_epoch;
		work->short_calls = 0;
	}
	return work->short_calls++ >= short_calls_unsampled && work->short_calls % PINWATCH_SAMPLE;
}

static __always_inline int pin_returned(struct pin_call call, __u32 pages_arg, __u32 mm_arg,
					__u32 nr_args)
{
	__u32 zero = 0, long_term = call.long_term & 1;
	struct scratch *work = bpf_map_lookup_elem(&scratch, &zero);
	struct pin_totals *totals = bpf_map_lookup_elem(&pin_totals, &zero);
	__u32 owner;
	__u64 now;

	if (!work || !totals)
		return 0;
	__sync_fetch_and_add(&totals->calls[long_term], 1);
	__sync_fetch_and_add(&totals->pages[long_term], call.nr_pages);
	if (!long_term && skip_short_term(work)) {
		__sync_fetch_and_add(&totals->short_term_skipped, 1);
		return 0;
	}
	if (__sync_lock_test_and_set(&work->busy, 1)) {
		__sync_fetch_and_add(&totals->lost_busy[long_term], 1);
		return 0;
	}
	/* Read as numbers: the verifier knows no pointers to pointers. */
	bpf_probe_read_kernel(&call.pages, sizeof(call.pages), call.ctx + pages_arg);
	if (mm_arg < nr_args)
		bpf_probe_read_kernel(&call.mm, sizeof(call.mm), call.ctx + mm_arg);
	/*
	 * Above the arguments and the return value stand the trampoline's frame
	 * pointer, the way back into the function, and the way back to its caller.
	 */
	bpf_probe_read_kernel(&call.call_site, sizeof(call.call_site), call.ctx + nr_args + 3);
	now = bpf_ktime_get_ns();
	owner = owner_of(&call, work, now);
	if (!owner)
		__sync_fetch_and_add(&totals->lost_owners[long_term], 1);
	else if (long_term)
		claim_long_term(&call, work, totals, owner, now);
	else
		claim_short_term(&call, work, owner);
	work->busy = 0;
	return 0;
}

#define NO_MM 99 /* the caller's own memory */

static __always_inline int door(__u64 *ctx, __u32 which, long returned, __u32 long_term,
				__u32 pages_arg, __u32 mm_arg, __u32 nr_args)
{
	struct pin_call call = {
		.ctx = ctx,
		.nr_pages = returned,
		.door = which,
		.long_term = long_term,
	};

	if (returned <= 0)
		return 0;
	return pin_returned(call, pages_arg, mm_arg, nr_args);
}

#define LONG_TERM(flags) (((__u32)(flags)&foll_longterm) != 0)

/* start, nr_pages, gup_flags, pages; up to v6.4 also vmas */
SEC("?fexit/pin_user_pages")
int pin_user_pages__fexit_4(__u64 *ctx)
{
	return door(ctx, DOOR_PIN_USER_PAGES, ctx[4], LONG_TERM(ctx[2]), 3, NO_MM, 4);
}

/*
 * Where pin_user_pages_remote() takes no fexit, long-term calls are followed in
 * __gup_longterm_locked(), which this one comes through too.
 */
SEC("?fexit/pin_user_pages")
int pin_user_pages__fexit_5(__u64 *ctx)
{
	if (LONG_TERM(ctx[2]))
		return 0;
	return door(ctx, DOOR_PIN_USER_PAGES, ctx[5], 0, 3, NO_MM, 5);
}

/* start, nr_pages, gup_flags, pages */
SEC("?fexit/pin_user_pages_fast")
int pin_user_pages_fast__fexit(__u64 *ctx)
{
	return door(ctx, DOOR_PIN_USER_PAGES_FAST, (__s32)ctx[4], LONG_TERM(ctx[2]), 3, NO_MM, 4);
}

/* mm, start, nr_pages, gup_flags, pages, locked */
SEC("?fexit/pin_user_pages_remote")
int pin_user_pages_remote__fexit(__u64 *ctx)
{
	return door(ctx, DOOR_PIN_USER_PAGES_REMOTE, ctx[6], LONG_TERM(ctx[3]), 4, 0, 6);
}

/* start, nr_pages, pages, gup_flags */
SEC("?fexit/pin_user_pages_unlocked")
int pin_user_pages_unlocked__fexit(__u64 *ctx)
{
	return door(ctx, DOOR_PIN_USER_PAGES_UNLOCKED, ctx[4], LONG_TERM(ctx[3]), 2, NO_MM, 4);
}

/* memfd, start, end, folios, max_folios, offset; pins are long-term by nature */
SEC("?fexit/memfd_pin_folios")
int memfd_pin_folios__fexit(__u64 *ctx)
{
	return door(ctx, DOOR_MEMFD_PIN_FOLIOS, ctx[6], 1, 3, NO_MM, 6);
}

/*
 * mm, start, nr_pages, pages, locked or vmas, gup_flags. Fexit refuses functions
 * of more than six arguments before v6.6, and pin_user_pages_remote() has seven
 * before v6.5; all its long-term calls come through here.
 */
SEC("?fexit/__gup_longterm_locked")
int pin_user_pages_remote__longterm(__u64 *ctx)
{
	const __u32 wanted = foll_longterm | foll_pin;

	if (((__u32)ctx[5] & wanted) != wanted)
		return 0;
	return door(ctx, DOOR_GUP_LONGTERM_LOCKED, ctx[6], 1, 3, 0, 6);
}

/* Run once before the others are attached. */
SEC("?syscall")
int pin_setup(void *ctx)
{
	return bpf_probe_read_kernel(&vmemmap, sizeof(vmemmap), &vmemmap_base);
}
