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
#include "folio.h"
#include "latency.h"

char LICENSE[] SEC("license") = "GPL";

#define NSEC_PER_SEC 1000000000UL

/* Pages claimed by one step of a loop: what a step costs is shared by them. */
#define PAGES_A_STEP 16

/*
 * Times PINWATCH_PIN_BULK: the most pages of a call that are claimed without
 * bpf_loop(). 1 GiB, as much as io_uring takes for one buffer.
 */
#define BOUNDED_BULKS 1024

/* Set by the daemon from the kernel's types: FOLL_* are no enum before v6.3. */
const volatile __u32 foll_longterm = 0x10000;
const volatile __u32 foll_pin = 0x40000;
/* As long as __gup_longterm_locked() has six arguments. */
#define FOLL_REMOTE 0x2000

/*
 * Short-term calls of one CPU in one second that are all claimed; of those
 * beyond, one in PINWATCH_SAMPLE. The daemon's governor sets it to 0.
 */
volatile __u32 short_calls_unsampled = 200;
#define PINWATCH_SAMPLE 64

/*
 * A daemon may attach programs of a new make to the maps of older ones that are
 * still attached: those record whose generation lies in between. It raises the
 * newest first, so that no call is missed.
 */
const volatile __u32 generation;
__u32 oldest_active, newest_active;

/* Lets go of pin_user_pages()' short-term calls where long-term ones share their program. */
volatile __u32 inner_long_term_only;

/* Read once, by pin_setup. */
__u64 vmemmap;

/* Set by the daemon once a second: short-term calls do without a clock. */
__u32 pin_epoch; /* counts these seconds */
__u32 pin_tick;
__u64 pin_now_ns;

/*
 * By owner's index, set when pin_activity has changed: the daemon takes it back
 * before it reads, and so reads no more than what has.
 */
__u8 activity_changed[PINWATCH_MAX_OWNERS + 8] __attribute__((aligned(8)));

/*
 * Where a call notes its begin, by task and door. The daemon clears it when it
 * has attached the programs: what has lost its exit would stay for good.
 */
struct pin_begin pin_begins[PINWATCH_PIN_BEGINS];

/*
 * Calls that have noted their begin and not ended, and those whose end was lost:
 * while there is none, who returns need not look for a begin of its own.
 */
__u32 pin_begun;

/* New owners that pin_news had no room for: the daemon reads pin_owners instead. */
__u64 news_lost;

/* The daemon's alone: indexes up to this are, or were, in free_owners. */
__u32 owners_filled;

/* Changed by the daemon when it takes indexes back: those noted before are void. */
__u32 owners_generation;

__u64 short_claims[PINWATCH_SHORT_CLAIMS];

/* When claims of each vintage were made; the daemon's alone. */
__u64 claim_vintages[PINWATCH_VINTAGES];

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pin_totals);
} pin_totals SEC(".maps");

/*
 * By owner's index. The daemon makes the tables of owners as large as they are to
 * be: this one takes its memory at once, the hashes only that of their buckets.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PINWATCH_MAX_OWNERS + 1);
	__type(key, __u32);
	__type(value, struct pin_activity);
} pin_activity SEC(".maps");

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

/* By owner's index: those who had a call measured. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINWATCH_MAX_OWNERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct pin_latency);
} pin_latencies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINWATCH_MAX_OWNER_ERRORS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pin_error_key);
	__type(value, __u64);
} pin_errors SEC(".maps");

/* Tells the daemon at once of a new owner, by key: the process may not live long. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
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

/*
 * Pages that recorded long-term calls have pinned, by section: of up to PINWATCH_PIN_BULK
 * of a call all count where the first one stands.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} pin_landed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct claim_run_key);
	__type(value, struct claim_run);
} claim_runs SEC(".maps");

/* Counts changes of claim_runs, so that the daemon need not read it in vain. */
__u64 claim_runs_changed;

/*
 * Where a call works. A program may be preempted by itself: hence `busy`. What
 * loops count stands here, where the verifier does not follow it: counts that
 * it knows keep it from ever seeing two rounds of a loop as one.
 */
struct scratch {
	__u32 busy;
	__u32 epoch;
	__u32 short_calls; /* in this epoch */
	/* The owner of the last call of this CPU. */
	__u32 last_owner;
	__u32 last_generation;
	struct pin_owner_key last_key;
	/* The call at hand: who claims, the array it filled, how much of it is done. */
	__u32 claimant;
	__u32 tick;
	__u64 array;
	__u64 nr_pages;
	__u64 nr_done;
	__u32 rest_from; /* of `pages`, where the pages begin that fill no step */
	__u64 pages[PINWATCH_PIN_BULK];
	/* Places in `pages` of those whose claim could not be set. */
	__u32 nr_contested;
	__u32 contested[PINWATCH_PIN_BULK];
	struct claim_run_key run;
	struct claim_run span;
	/* The folio asked about last, and whether all pins on it are this call's. */
	__u64 folio_start;
	__u64 folio_end;
	__u64 folio_is_ours;
	char pair[2 * STRUCT_PAGE];
	struct pin_owner owner;
	struct pin_latency latency; /* stays 0 */
	struct pin_moving moving;   /* stays 0 */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* What is known of a call that was measured. */
struct measure {
	__u64 end_ns;
	__u64 ns;
	__u64 minor_faults;
	__u64 major_faults;
	bool taken;
	bool moving; /* its begin is not given back yet */
};

/* One return of a pin function. */
struct pin_call {
	__u64 *ctx;
	__u64 pages; /* address of the array that was filled */
	__u64 nr_pages;
	__u64 asked_pages;
	__u32 error; /* errno */
	__u64 mm;    /* whose memory; 0: the caller's own */
	__u64 call_site;
	__u32 door;
	__u32 long_term;
	struct measure measure;
};

/*
 * The programs come in two forms. The bounded one does without what Linux v5.10
 * lacks: bpf_loop() and bpf_get_func_arg() (both in v5.17), pointers to types
 * from bpf_get_current_task_btf() (v5.11), atomic operations that tell the old
 * value (v5.12). Drop it when the minimum is v5.17.
 */
static __always_inline __u64 argument(__u64 *ctx, __u32 at, const bool bounded)
{
	__u64 value = 0;

	if (bounded)
		bpf_probe_read_kernel(&value, sizeof(value), ctx + at);
	else
		bpf_get_func_arg(ctx, at, &value);
	return value;
}

/* The process that calls. */
struct caller {
	__u64 leader; /* address of its task_struct */
	__u64 mm;
	__u64 start_ns;
	__u32 tgid;
};

static __always_inline struct caller find_caller(const bool bounded)
{
	struct task_struct *leader;

	if (bounded) {
		leader = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), group_leader);
		return (struct caller){
			.leader = (__u64)leader,
			.mm = (__u64)BPF_CORE_READ(leader, mm),
			.start_ns = BPF_CORE_READ(leader, start_boottime),
			.tgid = BPF_CORE_READ(leader, tgid),
		};
	}
	leader = bpf_get_current_task_btf()->group_leader;
	return (struct caller){
		.leader = (__u64)leader,
		.mm = (__u64)leader->mm,
		.start_ns = leader->start_boottime,
		.tgid = leader->tgid,
	};
}

/*
 * Takes what `busy` guards for one call: false if another has it. Where no
 * exchange is to be had, two that count up at once may both be refused, but
 * never both be let in.
 */
static __always_inline bool take(__u32 *busy, const bool bounded)
{
	if (!bounded)
		return !__sync_lock_test_and_set(busy, 1);
	__sync_fetch_and_add(busy, 1);
	if (*(volatile __u32 *)busy == 1)
		return true;
	__sync_fetch_and_add(busy, -1);
	return false;
}

static __always_inline void give_back(__u32 *busy, const bool bounded)
{
	if (bounded)
		__sync_fetch_and_add(busy, -1);
	else
		*(volatile __u32 *)busy = 0;
}

static __always_inline bool is_active(void)
{
	const __u32 own = generation;

	return own >= oldest_active && own <= newest_active;
}

static __always_inline struct pin_begin *begin_of(__u64 task, __u32 door)
{
	/* Tasks are some KiB apart: the multiplication spreads them. */
	__u32 at = ((__u32)(task >> 6) * 2654435761U >> 20) + door;

	barrier_var(at);
	return &pin_begins[at & (PINWATCH_PIN_BEGINS - 1)];
}

/* Whether the task is in a measured call through that door. */
static __always_inline bool is_under_way(__u32 door)
{
	const __u64 task = bpf_get_current_task();
	const struct pin_begin *begin = begin_of(task, door);

	return begin->task == task && begin->door == door;
}

static __always_inline void read_faults(__u64 task, __u64 *minor, __u64 *major, const bool bounded)
{
	if (bounded) {
		*minor = BPF_CORE_READ((struct task_struct *)task, min_flt);
		*major = BPF_CORE_READ((struct task_struct *)task, maj_flt);
		return;
	}
	*minor = bpf_get_current_task_btf()->min_flt;
	*major = bpf_get_current_task_btf()->maj_flt;
}

/* A pin function is entered: notes when, of short-term calls only of a sample. */
static __always_inline int enter(__u32 door, __u32 long_term, const bool bounded)
{
	struct pin_begin *begin;
	__u64 task;

	if (!is_active())
		return 0;
	/* Most short-term calls end here: nothing before it that they do not need. */
	if (!long_term) {
		__u32 zero = 0;
		struct pin_totals *totals = bpf_map_lookup_elem(&pin_totals, &zero);

		if (!totals || totals->short_entered++ % PINWATCH_SAMPLE)
			return 0;
	}
	task = bpf_get_current_task();
	begin = begin_of(task, door);
	if (!take(&begin->taken, bounded))
		return 0;
	read_faults(task, &begin->minor_faults, &begin->major_faults, bounded);
	begin->door = door;
	begin->task = task;
	begin->ns = bpf_ktime_get_ns();
	__sync_fetch_and_add(&pin_begun, 1);
	return 0;
}

/* The same function returns. */
static __always_inline struct measure leave(__u32 door, const bool bounded)
{
	struct measure measure = {};
	struct pin_begin *begin;
	__u64 task;

	if (!*(volatile __u32 *)&pin_begun)
		return measure;
	task = bpf_get_current_task();
	begin = begin_of(task, door);
	if (begin->task != task || begin->door != door)
		return measure;
	read_faults(task, &measure.minor_faults, &measure.major_faults, bounded);
	measure.minor_faults -= begin->minor_faults;
	measure.major_faults -= begin->major_faults;
	measure.end_ns = bpf_ktime_get_ns();
	measure.ns = measure.end_ns - begin->ns;
	measure.taken = true;
	measure.moving = begin->moving;
	if (measure.moving)
		return measure;
	begin->task = 0;
	give_back(&begin->taken, bounded);
	__sync_fetch_and_add(&pin_begun, -1);
	return measure;
}

#include "pin_moves.h"

/* Whose memory it is, as far as that can be told: address of the leader's task_struct. */
static __always_inline __u64 remote_leader(__u64 mm, const struct caller *caller)
{
	__u64 owner = 0, leader = 0;

	if (caller->mm == mm || !bpf_core_field_exists(((struct mm_struct *)0)->owner))
		return 0;
	bpf_probe_read_kernel(&owner, sizeof(owner), &((struct mm_struct *)mm)->owner);
	/* A memory whose owner the kernel does not know is the caller's doing. */
	if (owner)
		bpf_probe_read_kernel(&leader, sizeof(leader),
				      &((struct task_struct *)owner)->group_leader);
	return leader;
}

static __always_inline void note_change(__u32 index)
{
	barrier_var(index);
	if (index <= PINWATCH_MAX_OWNERS)
		*(volatile __u8 *)&activity_changed[index] = 1;
}

/* Gives a new owner an index; 0 when there is no room. */
static __always_inline __u32 intern(const struct pin_call *call, const struct pin_owner_key *key,
				    __u64 leader, const struct caller *caller, struct scratch *work)
{
	struct pin_owner *owner = &work->owner;
	struct pin_activity *activity;
	__u32 index = 0;

	if (bpf_map_pop_elem(&free_owners, &index))
		return 0;
	__builtin_memset(owner, 0, sizeof(*owner));
	owner->index = index;
	owner->first_ns = bpf_ktime_get_ns();
	bpf_probe_read_kernel(owner->comm, sizeof(owner->comm),
			      &((struct task_struct *)leader)->comm);
	if (key->via_tgid) {
		owner->via_start_ns = caller->start_ns;
		bpf_probe_read_kernel(owner->via_comm, sizeof(owner->via_comm),
				      &((struct task_struct *)caller->leader)->comm);
	}
	bpf_get_stack(call->ctx, owner->kernel_stack, sizeof(owner->kernel_stack), 0);
	bpf_get_stack(call->ctx, owner->user_stack, sizeof(owner->user_stack), BPF_F_USER_STACK);
	activity = bpf_map_lookup_elem(&pin_activity, &index);
	if (activity)
		__builtin_memset(activity, 0, sizeof(*activity));
	if (bpf_map_update_elem(&pin_owners, key, owner, BPF_NOEXIST)) {
		/* Another thread of the process was faster, or the table is full. */
		bpf_map_push_elem(&free_owners, &index, 0);
		owner = bpf_map_lookup_elem(&pin_owners, key);
		return owner ? owner->index : 0;
	}
	if (bpf_ringbuf_output(&pin_news, (void *)key, sizeof(*key), 0))
		__sync_fetch_and_add(&news_lost, 1);
	return index;
}

static __always_inline bool is_last_owner(const struct scratch *work,
					  const struct pin_owner_key *key)
{
	const __u64 *a = (const __u64 *)key, *b = (const __u64 *)&work->last_key;

	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] &&
	       work->last_generation == owners_generation;
}

static __always_inline void note_latency(struct scratch *work, __u32 owner, __u64 ns)
{
	__u32 bucket = latency_bucket(ns);
	struct pin_latency *latency = bpf_map_lookup_elem(&pin_latencies, &owner);

	if (!latency) {
		bpf_map_update_elem(&pin_latencies, &owner, &work->latency, BPF_NOEXIST);
		latency = bpf_map_lookup_elem(&pin_latencies, &owner);
		if (!latency)
			return;
	}
	barrier_var(bucket);
	if (bucket < PINWATCH_LATENCY_BUCKETS)
		__sync_fetch_and_add(&latency->calls[bucket], 1);
}

/* False if there was no room for it. */
static __always_inline bool note_error(__u32 owner, __u32 error)
{
	const struct pin_error_key key = {.owner = owner, .error = error};
	const __u64 none = 0;
	__u64 *calls = bpf_map_lookup_elem(&pin_errors, &key);

	if (!calls) {
		bpf_map_update_elem(&pin_errors, &key, &none, BPF_NOEXIST);
		calls = bpf_map_lookup_elem(&pin_errors, &key);
		if (!calls)
			return false;
	}
	__sync_fetch_and_add(calls, 1);
	return true;
}

/* What the owner's call came to. */
static __always_inline void note_call(const struct pin_call *call, struct scratch *work,
				      struct pin_totals *totals, __u32 owner, __u64 now)
{
	struct pin_activity *activity = bpf_map_lookup_elem(&pin_activity, &owner);
	const struct measure *measure = &call->measure;

	if (!activity)
		return;
	activity->last_ns = now;
	__sync_fetch_and_add(&activity->asked_pages, call->asked_pages);
	if (call->nr_pages) {
		__sync_fetch_and_add(&activity->calls, 1);
		__sync_fetch_and_add(&activity->pages, call->nr_pages);
	}
	if (call->error) {
		__sync_fetch_and_add(&activity->failed_calls, 1);
		if (!note_error(owner, call->error))
			__sync_fetch_and_add(&totals->lost_errors, 1);
	} else if (call->nr_pages < call->asked_pages) {
		__sync_fetch_and_add(&activity->partial_calls, 1);
	}
	if (measure->taken) {
		__sync_fetch_and_add(&activity->measured_calls, 1);
		__sync_fetch_and_add(&activity->measured_ns, measure->ns);
		if (measure->minor_faults)
			__sync_fetch_and_add(&activity->minor_faults, measure->minor_faults);
		if (measure->major_faults)
			__sync_fetch_and_add(&activity->major_faults, measure->major_faults);
		note_latency(work, owner, measure->ns);
	}
	note_change(owner);
}

/* The index of the call's owner; 0 when there is no room for one more. */
static __always_inline __u32 owner_of(const struct pin_call *call, struct scratch *work,
				      const bool bounded)
{
	const struct caller caller = find_caller(bounded);
	__u64 leader = call->mm ? remote_leader(call->mm, &caller) : 0;
	struct pin_owner_key key = {
		.call_site = (__u32)call->call_site,
		.door = call->door,
		.long_term = call->long_term,
	};
	struct pin_owner *owner;
	__u32 index;

	if (leader && leader != caller.leader) {
		struct task_struct *other = (struct task_struct *)leader;

		key.via_tgid = caller.tgid;
		bpf_probe_read_kernel(&key.tgid, sizeof(key.tgid), &other->tgid);
		bpf_probe_read_kernel(&key.start_ns, sizeof(key.start_ns), &other->start_boottime);
	} else {
		leader = caller.leader;
		key.tgid = caller.tgid;
		key.start_ns = caller.start_ns;
	}
	if (is_last_owner(work, &key)) {
		index = work->last_owner;
	} else {
		const __u32 generation = owners_generation;

		owner = bpf_map_lookup_elem(&pin_owners, &key);
		index = owner ? owner->index : intern(call, &key, leader, &caller, work);
		if (!index)
			return 0;
		work->last_owner = index;
		work->last_key = key;
		work->last_generation = generation;
	}
	return index;
}

static __always_inline struct claim_chunk *chunk_of(__u64 pfn)
{
	__u32 section = pfn >> SECTION_SHIFT, zero = 0;
	void *map = bpf_map_lookup_elem(&claim_chunks, &section);

	return map ? bpf_map_lookup_elem(map, &zero) : 0;
}

struct long_walk {
	struct scratch *work;
	struct pin_totals *totals;
};

static __always_inline __u32 word_of(const struct scratch *work)
{
	return work->claimant << PINWATCH_TICK_BITS | work->tick;
}

static __always_inline __u64 pfn_of(__u64 page)
{
	return (page - vmemmap) / STRUCT_PAGE;
}

/* Whether the call's array has that page at this place. */
static __always_inline bool array_has(const struct scratch *work, __u64 place, __u64 pfn)
{
	__u64 page = 0;

	bpf_probe_read_kernel(&page, sizeof(page), (void *)(work->array + place * sizeof(page)));
	return page == vmemmap + pfn * STRUCT_PAGE;
}

/*
 * Finds out whether all pins on the page's folio were taken by this call, which
 * has the page at `place`. The answer, and for which pfns it holds, in the
 * scratch. Global, so that the verifier goes through it once.
 */
__noinline int ask_folio(__u64 pfn, __u64 place)
{
	__u32 zero = 0, order;
	struct scratch *work = bpf_map_lookup_elem(&scratch, &zero);
	__u64 head_pfn, begin, end;
	__s64 pins;
	char *pair;

	if (!work)
		return 0;
	pair = work->pair;
	work->folio_start = pfn;
	work->folio_end = pfn + 1;
	work->folio_is_ours = false;
	if (bpf_probe_read_kernel(pair, 2 * STRUCT_PAGE, (char *)vmemmap + pfn * STRUCT_PAGE))
		return 0;
	if (!(page_flags(pair) & PG(PG_head)) && !(compound_head_of(pair) & 1)) {
		pins = FIELD(__s32, pair, ((struct page *)0)->_refcount.counter);
		/* With one pin on the page, that pin is ours. */
		work->folio_is_ours = pins >= PINWATCH_PIN_BIAS && pins < 2 * PINWATCH_PIN_BIAS;
		return 0;
	}
	if (!find_folio(vmemmap, pair, pfn, &head_pfn, &order))
		return 0;
	work->folio_start = head_pfn;
	work->folio_end = head_pfn + (1UL << (order & 31));
	pins = folio_pincount(vmemmap, pair, head_pfn, order);
	if (pins == 1) {
		work->folio_is_ours = true;
		return 0;
	}
	/* The places where the folio begins and ends, if the array has it in one piece. */
	begin = pfn - head_pfn <= place ? head_pfn : pfn - place;
	end = work->folio_end - pfn <= work->nr_pages - place ? work->folio_end
							      : pfn + work->nr_pages - place;
	work->folio_is_ours = pins == (__s64)(end - begin) &&
			      array_has(work, place - (pfn - begin), begin) &&
			      array_has(work, place + (end - 1 - pfn), end - 1);
	return 0;
}

static __always_inline void note_run(const struct long_walk *walk)
{
	struct scratch *work = walk->work;
	struct claim_run *known;

	if (!work->span.nr_pages)
		return;
	known = bpf_map_lookup_elem(&claim_runs, &work->run);
	if (known && known->nr_pages > work->span.nr_pages)
		known->tick = work->tick;
	else if (bpf_map_update_elem(&claim_runs, &work->run, &work->span, BPF_ANY))
		__sync_fetch_and_add(&walk->totals->lost_pages, work->span.nr_pages);
	__sync_fetch_and_add(&claim_runs_changed, 1);
}

/*
 * A page that another owner claims, or that has no chunk yet. If all pins on it
 * are ours, the other claim is a thing of the past.
 */
static long claim_contested(__u32 i, struct long_walk *walk)
{
	struct scratch *work = walk->work;
	struct claim_chunk *chunk;
	__u64 pfn;
	__u32 at;

	if (i >= PINWATCH_PIN_BULK)
		return 1;
	at = work->contested[i];
	barrier_var(at);
	if (at >= PINWATCH_PIN_BULK)
		return 1;
	pfn = pfn_of(work->pages[at]);
	chunk = chunk_of(pfn);
	if (chunk) {
		if (pfn - work->folio_start >= work->folio_end - work->folio_start)
			ask_folio(pfn, work->nr_done + at);
		if (work->folio_is_ours) {
			chunk->claim[pfn & (PINWATCH_CHUNK_PAGES - 1)] = word_of(work);
			return 0;
		}
	}
	if (work->span.nr_pages && pfn == work->run.pfn + work->span.nr_pages) {
		work->span.nr_pages++;
		return 0;
	}
	note_run(walk);
	work->run.pfn = pfn;
	work->span.nr_pages = 1;
	return 0;
}

#define OWNER_BITS (~0U << PINWATCH_TICK_BITS)

/*
 * Sets the claims of PAGES_A_STEP neighbours in one section that nobody else
 * claims, two at a time. False, and nothing done, if they are not such.
 */
static __always_inline bool claim_neighbours(const __u64 *pages, __u32 word)
{
	const __u64 pair = word | (__u64)word << 32;
	const __u64 owner = OWNER_BITS | (__u64)OWNER_BITS << 32;
	__u64 expected = pages[0], apart = 0, claimed = 0, foreign = 0, pfn;
	struct claim_chunk *chunk;
	__u64 *claims;
	__u32 at;

	if (pages[PAGES_A_STEP - 1] - expected != (PAGES_A_STEP - 1) * STRUCT_PAGE)
		return false;
	pfn = pfn_of(expected);
	at = pfn & (PINWATCH_CHUNK_PAGES - 1);
	barrier_var(at);
	if (at > PINWATCH_CHUNK_PAGES - PAGES_A_STEP)
		return false;
#pragma clang loop unroll(full)
	for (__u32 j = 1; j < PAGES_A_STEP - 1; j++) {
		expected += STRUCT_PAGE;
		apart |= pages[j] - expected;
	}
	if (apart)
		return false;
	chunk = chunk_of(pfn);
	if (!chunk)
		return false;
	/* May be unaligned, which x86-64 allows; no claim is ever torn. */
	claims = (__u64 *)&chunk->claim[at];
#pragma clang loop unroll(full)
	for (__u32 j = 0; j < PAGES_A_STEP / 2; j++) {
		claimed |= claims[j];
		foreign |= claims[j] ^ pair;
	}
	if (claimed && foreign & owner)
		return false;
#pragma clang loop unroll(full)
	for (__u32 j = 0; j < PAGES_A_STEP / 2; j++)
		claims[j] = pair;
	return true;
}

/* Sets the claim of the page at that place in work->pages, or puts it aside. */
static __always_inline void claim_page(struct scratch *work, struct claim_chunk *chunk, __u32 place,
				       __u64 pfn, __u32 word)
{
	__u32 at = pfn, old;

	if (chunk) {
		barrier_var(at);
		at &= PINWATCH_CHUNK_PAGES - 1;
		old = chunk->claim[at];
		if (!old || !((old ^ word) & OWNER_BITS)) {
			chunk->claim[at] = word;
			return;
		}
	}
	at = work->nr_contested++;
	barrier_var(at);
	if (at < PINWATCH_PIN_BULK)
		work->contested[at] = place;
}

static long claim_step(__u32 i, struct long_walk *walk)
{
	struct scratch *work = walk->work;
	const __u32 word = word_of(work), first = i * PAGES_A_STEP;
	struct claim_chunk *chunk = 0;
	__u64 section = -1UL;

	if (first > PINWATCH_PIN_BULK - PAGES_A_STEP)
		return 1;
	if (claim_neighbours(&work->pages[first], word))
		return 0;
#pragma clang loop unroll(full)
	for (__u32 j = 0; j < PAGES_A_STEP; j++) {
		__u64 pfn = pfn_of(work->pages[first + j]);

		if (pfn >> SECTION_SHIFT != section) {
			section = pfn >> SECTION_SHIFT;
			chunk = chunk_of(pfn);
		}
		claim_page(work, chunk, first + j, pfn, word);
	}
	return 0;
}

/* Pages that fill no step. */
static long claim_rest(__u32 i, struct long_walk *walk)
{
	struct scratch *work = walk->work;
	__u32 place = work->rest_from + i;
	__u64 pfn;

	barrier_var(place);
	if (place >= PINWATCH_PIN_BULK)
		return 1;
	pfn = pfn_of(work->pages[place]);
	claim_page(work, chunk_of(pfn), place, pfn, word_of(work));
	return 0;
}

/*
 * Steps for loops that the verifier goes through: global functions, each of
 * which it verifies once. Those take no pointers.
 */
static __always_inline bool find_walk(struct long_walk *walk)
{
	__u32 zero = 0;

	walk->work = bpf_map_lookup_elem(&scratch, &zero);
	walk->totals = bpf_map_lookup_elem(&pin_totals, &zero);
	return walk->work && walk->totals;
}

__noinline int claim_step__bounded(__u32 i)
{
	struct long_walk walk;

	return find_walk(&walk) ? claim_step(i, &walk) : 1;
}

__noinline int claim_rest__bounded(__u32 i)
{
	struct long_walk walk;

	return find_walk(&walk) ? claim_rest(i, &walk) : 1;
}

__noinline int claim_contested__bounded(__u32 i)
{
	struct long_walk walk;

	return find_walk(&walk) ? claim_contested(i, &walk) : 1;
}

/* Takes step(0) to step(nr - 1) until one is not 0; `most` bounds what nr may be. */
#define LOOP(step, nr, most, walk, bounded)                                                        \
	do {                                                                                       \
		const __u32 end = (nr);                                                            \
                                                                                                   \
		if (!(bounded)) {                                                                  \
			if (end) /* a call of one page makes no step */                            \
				bpf_loop(end, step, walk, 0);                                      \
		} else                                                                             \
			for (__u32 at = 0; at < (most) && at < end; at++)                          \
				if (step##__bounded(at))                                           \
					break;                                                     \
	} while (0)

static __always_inline void note_landed(struct pin_totals *totals, __u64 pfn, __u64 nr_pages)
{
	__u32 section = pfn >> SECTION_SHIFT;
	__u64 *landed = bpf_map_lookup_elem(&pin_landed, &section);

	__sync_fetch_and_add(landed ?: &totals->unlanded, nr_pages);
}

static __always_inline long claim_bulk(struct long_walk *walk, const bool bounded)
{
	struct scratch *work = walk->work;
	__u64 nr = work->nr_pages - work->nr_done;

	/* One register, so that the verifier knows what is multiplied to be bounded. */
	barrier_var(nr);
	if (nr > PINWATCH_PIN_BULK)
		nr = PINWATCH_PIN_BULK;
	if (!nr || bpf_probe_read_kernel(work->pages, nr * sizeof(__u64),
					 (void *)(work->array + work->nr_done * sizeof(__u64))))
		return 1;
	note_landed(walk->totals, pfn_of(work->pages[0]), nr);
	work->nr_contested = 0;
	work->rest_from = nr & ~(PAGES_A_STEP - 1UL);
	LOOP(claim_step, nr / PAGES_A_STEP, PINWATCH_PIN_BULK / PAGES_A_STEP, walk, bounded);
	LOOP(claim_rest, nr % PAGES_A_STEP, PAGES_A_STEP, walk, bounded);
	if (work->nr_contested) {
		work->run = (struct claim_run_key){.owner = work->claimant};
		work->span = (struct claim_run){.tick = work->tick};
		LOOP(claim_contested, work->nr_contested, PINWATCH_PIN_BULK, walk, bounded);
		note_run(walk);
	}
	work->nr_done += nr;
	return 0;
}

static long claim_next_bulk(__u32 i, struct long_walk *walk)
{
	return claim_bulk(walk, false);
}

__noinline int claim_next_bulk__bounded(__u32 i)
{
	struct long_walk walk;

	/* Used, or the compiler passes none, which the verifier takes amiss. */
	barrier_var(i);
	return find_walk(&walk) ? claim_bulk(&walk, true) : 1;
}

static __always_inline void claim_long_term(const struct pin_call *call, struct scratch *work,
					    struct pin_totals *totals, __u32 owner, __u64 now,
					    const bool bounded)
{
	struct long_walk walk = {
		.work = work,
		.totals = totals,
	};

	work->claimant = owner;
	work->tick = 1 + now / NSEC_PER_SEC % PINWATCH_TICKS;
	work->array = call->pages;
	work->nr_pages = call->nr_pages;
	work->nr_done = 0;
	/* What is known of a folio is known for this call alone. */
	work->folio_start = work->folio_end = 0;
	if (!bounded && call->nr_pages <= PINWATCH_PIN_BULK) /* most: no loop for one */
		claim_bulk(&walk, false);
	else
		LOOP(claim_next_bulk, (call->nr_pages + PINWATCH_PIN_BULK - 1) / PINWATCH_PIN_BULK,
		     BOUNDED_BULKS, &walk, bounded);
	if (work->nr_done < work->nr_pages) {
		__sync_fetch_and_add(&totals->lost_pages, work->nr_pages - work->nr_done);
		__sync_fetch_and_add(&totals->unlanded, work->nr_pages - work->nr_done);
	}
}

static __always_inline void claim_short_term(const struct pin_call *call, struct scratch *work,
					     __u32 owner)
{
	__u64 nr = call->nr_pages;

	if (nr > PINWATCH_SHORT_PAGES)
		nr = PINWATCH_SHORT_PAGES;
	/* Or the compiler multiplies what it has not bounded yet. */
	barrier_var(nr);
	if (!nr || bpf_probe_read_kernel(work->pages, nr * sizeof(__u64), (void *)call->pages))
		return;
	for (__u32 i = 0; i < PINWATCH_SHORT_PAGES; i++) {
		__u64 pfn;

		if (i >= nr)
			break;
		pfn = pfn_of(work->pages[i]);
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

/* A trampoline returns into the first bytes of its function, no more than this. */
#define PROLOGUE 16

/*
 * Above the arguments and the return value stand the trampoline's frame pointer,
 * the way back into the function, and the way back to its caller. From v7.0 on
 * functions jump to their trampolines, and the second is not there.
 */
static __always_inline void find_call_site(struct pin_call *call, __u32 nr_args, const bool bounded)
{
	__u64 frame[3] = {};
	bool jumped;

	bpf_probe_read_kernel(frame, sizeof(frame), call->ctx + nr_args + 1);
	/* What v5.10 does not know it does not need. */
	jumped = !bounded && frame[1] - bpf_get_func_ip(call->ctx) >= PROLOGUE;
	call->call_site = jumped ? frame[1] : frame[2];
}

static __always_inline void note_totals(const struct pin_call *call, struct pin_totals *totals,
					__u32 long_term)
{
	__sync_fetch_and_add(&totals->asked_pages[long_term], call->asked_pages);
	if (call->nr_pages) {
		__sync_fetch_and_add(&totals->calls[long_term], 1);
		__sync_fetch_and_add(&totals->pages[long_term], call->nr_pages);
	}
	if (call->error)
		__sync_fetch_and_add(&totals->failed_calls[long_term], 1);
	else if (call->nr_pages < call->asked_pages)
		__sync_fetch_and_add(&totals->partial_calls[long_term], 1);
	if (long_term && !call->measure.taken)
		__sync_fetch_and_add(&totals->unmeasured, 1);
}

/* The call's owner; 0 where it has none. */
static __always_inline __u32 pin_returned(struct pin_call call, __u32 pages_arg, __u32 mm_arg,
					  __u32 nr_args, const bool bounded)
{
	__u32 zero = 0, long_term = call.long_term & 1;
	struct scratch *work = bpf_map_lookup_elem(&scratch, &zero);
	struct pin_totals *totals = bpf_map_lookup_elem(&pin_totals, &zero);
	__u32 owner;
	__u64 now;

	if (!work || !totals)
		return 0;
	/* Each with places in the totals that are known to the compiler. */
	if (long_term)
		note_totals(&call, totals, 1);
	else
		note_totals(&call, totals, 0);
	if (!long_term && !call.measure.taken && skip_short_term(work)) {
		__sync_fetch_and_add(&totals->short_term_skipped, 1);
		return 0;
	}
	if (!take(&work->busy, bounded)) {
		__sync_fetch_and_add(&totals->lost_busy[long_term], 1);
		if (long_term)
			__sync_fetch_and_add(&totals->unlanded, call.nr_pages);
		return 0;
	}
	/* As numbers: the verifier knows no pointers to pointers. */
	call.pages = argument(call.ctx, pages_arg, bounded);
	if (mm_arg < nr_args)
		call.mm = argument(call.ctx, mm_arg, bounded);
	find_call_site(&call, nr_args, bounded);
	if (long_term)
		now = call.measure.taken ? call.measure.end_ns : bpf_ktime_get_ns();
	else
		now = pin_now_ns;
	owner = owner_of(&call, work, bounded);
	if (!owner) {
		__sync_fetch_and_add(&totals->lost_owners[long_term], 1);
		if (long_term)
			__sync_fetch_and_add(&totals->unlanded, call.nr_pages);
	} else {
		note_call(&call, work, totals, owner, now);
	}
	if (owner && call.nr_pages) {
		if (long_term)
			claim_long_term(&call, work, totals, owner, now, bounded);
		else
			claim_short_term(&call, work, owner);
	}
	give_back(&work->busy, bounded);
	return owner;
}

#define NO_MM 99 /* the caller's own memory */

static __always_inline int door(__u64 *ctx, __u32 which, long returned, __u64 asked,
				__u32 long_term, __u32 pages_arg, __u32 mm_arg, __u32 nr_args,
				const bool bounded)
{
	struct pin_call call = {
		.ctx = ctx,
		.nr_pages = returned > 0 ? returned : 0,
		.asked_pages = asked,
		.error = returned < 0 ? -returned : 0,
		.door = which,
		.long_term = long_term,
	};
	__u32 owner;

	if (!is_active())
		return 0;
	call.measure = leave(which, bounded);
	owner = pin_returned(call, pages_arg, mm_arg, nr_args, bounded);
	if (call.measure.moving)
		end_moving(which, owner, call.measure.ns);
	return 0;
}

#define LONG_TERM(flags) (((__u32)(flags)&foll_longterm) != 0)

/* Makes the programs of both forms of a door; those without came after v5.17. */
#define BOTH_FORMS(function, name)                                                                 \
	SEC("?fentry/" #function)                                                                  \
	int name##_entry(__u64 *ctx)                                                               \
	{                                                                                          \
		return name##_enter(ctx, false);                                                   \
	}                                                                                          \
	SEC("?fentry/" #function)                                                                  \
	int name##_entry_bounded(__u64 *ctx)                                                       \
	{                                                                                          \
		return name##_enter(ctx, true);                                                    \
	}                                                                                          \
	SEC("?fexit/" #function)                                                                   \
	int name(__u64 *ctx)                                                                       \
	{                                                                                          \
		return name##_door(ctx, false);                                                    \
	}                                                                                          \
	SEC("?fexit/" #function)                                                                   \
	int name##_bounded(__u64 *ctx)                                                             \
	{                                                                                          \
		return name##_door(ctx, true);                                                     \
	}

/* start, nr_pages, gup_flags, pages; from v6.5 on, which took vmas away */
SEC("?fentry/pin_user_pages")
int pin_user_pages__fexit_4_entry(__u64 *ctx)
{
	return enter(DOOR_PIN_USER_PAGES, LONG_TERM(ctx[2]), false);
}

SEC("?fexit/pin_user_pages")
int pin_user_pages__fexit_4(__u64 *ctx)
{
	return door(ctx, DOOR_PIN_USER_PAGES, ctx[4], ctx[1], LONG_TERM(ctx[2]), 3, NO_MM, 4,
		    false);
}

/* start, nr_pages, gup_flags, pages, vmas */
static __always_inline int pin_user_pages__fexit_5_enter(__u64 *ctx, const bool bounded)
{
	return enter(DOOR_PIN_USER_PAGES, LONG_TERM(ctx[2]), bounded);
}

static __always_inline int pin_user_pages__fexit_5_door(__u64 *ctx, const bool bounded)
{
	return door(ctx, DOOR_PIN_USER_PAGES, ctx[5], ctx[1], LONG_TERM(ctx[2]), 3, NO_MM, 5,
		    bounded);
}
BOTH_FORMS(pin_user_pages, pin_user_pages__fexit_5)

/* start, nr_pages, gup_flags, pages */
static __always_inline int pin_user_pages_fast__fexit_enter(__u64 *ctx, const bool bounded)
{
	return enter(DOOR_PIN_USER_PAGES_FAST, LONG_TERM(ctx[2]), bounded);
}

static __always_inline int pin_user_pages_fast__fexit_door(__u64 *ctx, const bool bounded)
{
	return door(ctx, DOOR_PIN_USER_PAGES_FAST, (__s32)ctx[4], (__u32)ctx[1], LONG_TERM(ctx[2]),
		    3, NO_MM, 4, bounded);
}
BOTH_FORMS(pin_user_pages_fast, pin_user_pages_fast__fexit)

/* start, nr_pages, gup_flags, pages; v6.12 has it no more */
static __always_inline int pin_user_pages_fast_only__fexit_enter(__u64 *ctx, const bool bounded)
{
	return enter(DOOR_PIN_USER_PAGES_FAST_ONLY, LONG_TERM(ctx[2]), bounded);
}

static __always_inline int pin_user_pages_fast_only__fexit_door(__u64 *ctx, const bool bounded)
{
	return door(ctx, DOOR_PIN_USER_PAGES_FAST_ONLY, (__s32)ctx[4], (__u32)ctx[1],
		    LONG_TERM(ctx[2]), 3, NO_MM, 4, bounded);
}
BOTH_FORMS(pin_user_pages_fast_only, pin_user_pages_fast_only__fexit)

/* mm, start, nr_pages, gup_flags, pages, locked */
SEC("?fentry/pin_user_pages_remote")
int pin_user_pages_remote__fexit_entry(__u64 *ctx)
{
	return enter(DOOR_PIN_USER_PAGES_REMOTE, LONG_TERM(ctx[3]), false);
}

SEC("?fexit/pin_user_pages_remote")
int pin_user_pages_remote__fexit(__u64 *ctx)
{
	return door(ctx, DOOR_PIN_USER_PAGES_REMOTE, ctx[6], ctx[2], LONG_TERM(ctx[3]), 4, 0, 6,
		    false);
}

/* start, nr_pages, pages, gup_flags */
static __always_inline int pin_user_pages_unlocked__fexit_enter(__u64 *ctx, const bool bounded)
{
	return enter(DOOR_PIN_USER_PAGES_UNLOCKED, LONG_TERM(ctx[3]), bounded);
}

static __always_inline int pin_user_pages_unlocked__fexit_door(__u64 *ctx, const bool bounded)
{
	return door(ctx, DOOR_PIN_USER_PAGES_UNLOCKED, ctx[4], ctx[1], LONG_TERM(ctx[3]), 2, NO_MM,
		    4, bounded);
}
BOTH_FORMS(pin_user_pages_unlocked, pin_user_pages_unlocked__fexit)

/* start, nr_pages, gup_flags, pages, locked; refuses long-term calls, and v6.1 has it no more */
static __always_inline int pin_user_pages_locked__fexit_enter(__u64 *ctx, const bool bounded)
{
	return enter(DOOR_PIN_USER_PAGES_LOCKED, 0, bounded);
}

static __always_inline int pin_user_pages_locked__fexit_door(__u64 *ctx, const bool bounded)
{
	return door(ctx, DOOR_PIN_USER_PAGES_LOCKED, ctx[5], ctx[1], 0, 3, NO_MM, 5, bounded);
}
BOTH_FORMS(pin_user_pages_locked, pin_user_pages_locked__fexit)

/* memfd, start, end, folios, max_folios, offset; pins are long-term by nature */
SEC("?fentry/memfd_pin_folios")
int memfd_pin_folios__fexit_entry(__u64 *ctx)
{
	return enter(DOOR_MEMFD_PIN_FOLIOS, 1, false);
}

SEC("?fexit/memfd_pin_folios")
int memfd_pin_folios__fexit(__u64 *ctx)
{
	const long returned = ctx[6];
	/* It tells folios, of which there may be fewer than it has room for. */
	const __u64 asked = returned > 0 ? returned : (__u32)ctx[4];

	return door(ctx, DOOR_MEMFD_PIN_FOLIOS, returned, asked, 1, 3, NO_MM, 6, false);
}

/*
 * mm, start, nr_pages, pages, vmas, gup_flags. Fexit refuses functions of more
 * than six arguments before v6.6, and pin_user_pages_remote() has seven before
 * v6.5; all its long-term calls come through here. So do all of pin_user_pages(),
 * which ends with a jump here and so needs no hook of its own, and what
 * pin_user_pages_fast() does not find at once: that call is the one to tell of it.
 */
static __always_inline bool is_inner_call(__u32 flags)
{
	if (!(flags & foll_pin) || (inner_long_term_only && !LONG_TERM(flags)))
		return false;
	return flags & FOLL_REMOTE || !LONG_TERM(flags) || !is_under_way(DOOR_PIN_USER_PAGES_FAST);
}

static __always_inline __u32 inner_door(__u32 flags)
{
	return flags & FOLL_REMOTE ? DOOR_PIN_USER_PAGES_REMOTE : DOOR_PIN_USER_PAGES;
}

static __always_inline int gup_longterm_locked__fexit_enter(__u64 *ctx, const bool bounded)
{
	const __u32 flags = ctx[5];

	return is_inner_call(flags) ? enter(inner_door(flags), LONG_TERM(flags), bounded) : 0;
}

static __always_inline int gup_longterm_locked__fexit_door(__u64 *ctx, const bool bounded)
{
	const __u32 flags = ctx[5];

	if (!is_inner_call(flags))
		return 0;
	return door(ctx, inner_door(flags), ctx[6], ctx[2], LONG_TERM(flags), 3, 0, 6, bounded);
}
BOTH_FORMS(__gup_longterm_locked, gup_longterm_locked__fexit)

/* Run once before the others are attached. */
SEC("?raw_tp")
int pin_setup(void *ctx)
{
	return bpf_probe_read_kernel(&vmemmap, sizeof(vmemmap), (void *)vmemmap_base_at);
}
