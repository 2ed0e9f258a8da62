/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The contract between the BPF programs and the daemon: what one side writes
 * the other reads, byte for byte. Enums only grow at their end.
 */
#ifndef PINWATCH_EVENTS_H
#define PINWATCH_EVENTS_H

#ifdef __cplusplus
#include <linux/types.h>
#define ASSERT_LAYOUT(type, size) static_assert(sizeof(type) == (size), #type " has another layout")
#else
#define ASSERT_LAYOUT(type, size)                                                                  \
	_Static_assert(sizeof(type) == (size), #type " has another layout")
#endif

/* One pin adds this many to the reference count of a page of order 0. */
#define PINWATCH_PIN_BIAS 1024

/*
 * References a pinned page may have beyond its expected ones and whole pins
 * and still have the exact shape of one: LRU batches, a lookup in progress.
 */
#define PINWATCH_PIN_SLACK 8

/* The most pages one run of the census looks at; a run never reschedules. */
#define PINWATCH_CENSUS_PAGES 4096

#define PINWATCH_MAX_MIGRATETYPES 8
#define PINWATCH_MAX_MIGRATE_REASONS 16
#define PINWATCH_MAX_MIGRATE_MODES 8

/* What stands in a page. Every page that was looked at is in one class. */
enum page_class {
	PAGE_FREE,	   /* buddy or per-CPU list */
	PAGE_MOVABLE,	   /* user page, or one with movable_ops, that nothing holds */
	PAGE_PINNED_LARGE, /* large folio whose own pincount is not zero: exact */
	PAGE_PINNED_EXACT, /* order 0: the surplus is whole pins and at most a few */
	PAGE_PINNED_LOOSE, /* order 0: the surplus holds a pin and much besides */
	PAGE_ELEVATED,	   /* order 0 user page with a surplus of less than a pin */
	PAGE_BIASED,	   /* not a user page, yet 1,024 references or more */
	PAGE_KERNEL,	   /* slab, page table, driver: referenced and no user page */
	PAGE_HUGETLB,	   /* hugetlb folio without a pin */
	PAGE_RESERVED,
	PAGE_OFFLINE, /* logically offline: balloon, virtio-mem */
	PAGE_POISONED,
	PAGE_UNSTABLE, /* changed under the look */
	NR_PAGE_CLASSES,
};

/* Pages of one migratetype, and the pins read from the three pinned classes. */
struct census_cell {
	__u64 pages[NR_PAGE_CLASSES];
	__u64 large_pin_refs;
	__u64 exact_pin_refs;
	__u64 loose_pin_refs;
};
ASSERT_LAYOUT(struct census_cell, 128);

enum census_status {
	CENSUS_OK,
	CENSUS_ABSENT,	/* no struct pages here, or the section is not online */
	CENSUS_CHANGED, /* went offline under the look: what was read is void */
};

/* Context of the census program: look at [start_pfn, end_pfn). */
struct census_request {
	__u64 start_pfn;
	__u64 end_pfn; /* at most PINWATCH_CENSUS_PAGES on, in the same section */
};
ASSERT_LAYOUT(struct census_request, 16);

/* What the census found from start_pfn up to next_pfn, all in one zone. */
struct census_result {
	struct census_cell cells[PINWATCH_MAX_MIGRATETYPES]; /* by migratetype */
	__u64 next_pfn; /* where the zone changed, or end_pfn */
	__u32 status;
	__u32 nid;
	__u32 zone;  /* enum zone_type of this kernel */
	__u32 steps; /* pages read; a free range or large folio is one */
	__u32 nr_listed;
	__u32 reserved;
};
ASSERT_LAYOUT(struct census_result, 8 * 128 + 32);

/*
 * A page or large folio that the look found pinned, held or not movable. Every
 * page that may carry a pin is listed, of the other classes the first few.
 */
struct census_page {
	__u64 pfn;
	__u64 head_pfn;	 /* of the folio; pfn itself for order 0 */
	__s32 pins;	 /* references that are, or read as, pins of the folio */
	__s32 refcount;	 /* the head's */
	__u16 nr_pages;	 /* from pfn on, within the run */
	__u8 page_class; /* enum page_class */
	__u8 flags;	 /* CENSUS_PAGE_* */
	__u32 order;	 /* of the folio, if it is a large one that is pinned */
};
ASSERT_LAYOUT(struct census_page, 32);

#define CENSUS_PAGE_ANON 1   /* anonymous, so mapped by who touched it */
#define CENSUS_PAGE_MAPPED 2 /* order 0 and in a page table */
#define CENSUS_PAGE_LARGE 4  /* a large folio */
#define CENSUS_PAGE_CMA 8    /* in a pageblock of the contiguous memory allocator */

/* Of a class that cannot carry pins, at most so many a run are listed. */
#define PINWATCH_LISTED_PER_CLASS 4

/* Context of the program that finds devices in the kernel's map of physical memory. */
struct memory_device_request {
	__u64 reserved;
};
ASSERT_LAYOUT(struct memory_device_request, 8);

/* Where a device may have memory. */
struct memory_device {
	__u64 start; /* physical address */
	__u64 end;   /* its last byte */
	char name[32];
};
ASSERT_LAYOUT(struct memory_device, 48);

#define PINWATCH_MEMORY_DEVICES 64

struct memory_devices {
	struct memory_device devices[PINWATCH_MEMORY_DEVICES];
	__u32 count;
	__u32 incomplete; /* there was more than could be looked at */
};
ASSERT_LAYOUT(struct memory_devices, 48 * PINWATCH_MEMORY_DEVICES + 8);

/*
 * Context of the program that goes through those who are told when memory goes
 * online: where the chain of them is, and what the driver of virtio-mem has in a
 * device's record, as offsets in bytes.
 */
struct virtio_mem_request {
	__u64 chain_at;
	__u64 notifier_offset; /* its link in the chain */
	__u64 start_offset;
	__u64 size_offset;
	__u64 requested_offset;
};
ASSERT_LAYOUT(struct virtio_mem_request, 40);

/* Nothing of the kind, where the link is of something else. */
struct virtio_mem_state {
	__u64 start; /* physical address */
	__u64 size;  /* of the range in which it may have memory, in bytes */
	__u64 requested;
};
ASSERT_LAYOUT(struct virtio_mem_state, 24);

/* Links of the chain that are gone through. */
#define PINWATCH_NOTIFIERS 128

struct virtio_mem_chain {
	struct virtio_mem_state devices[PINWATCH_NOTIFIERS];
	__u32 count;
	__u32 incomplete; /* there are more */
};
ASSERT_LAYOUT(struct virtio_mem_chain, 24 * PINWATCH_NOTIFIERS + 8);

/* Context of the program that finds where struct pages stand: bytes from vmemmap_base on. */
struct memmap_request {
	__u64 start;
	__u64 end;
};
ASSERT_LAYOUT(struct memmap_request, 16);

/* Pages in a row that hold struct pages. */
struct memmap_piece {
	__u64 index; /* of the first one among the pages of vmemmap */
	__u64 pfn;   /* where that one stands */
	__u64 nr_pages;
};
ASSERT_LAYOUT(struct memmap_piece, 24);

/* Of a run; steps are entries of page tables that it goes through. */
#define PINWATCH_MEMMAP_PIECES 2048
#define PINWATCH_MEMMAP_STEPS 256

struct memmap_found {
	struct memmap_piece pieces[PINWATCH_MEMMAP_PIECES];
	__u64 next; /* where the next run starts, if that is before the end */
	__u32 count;
	__u32 reserved;
};
ASSERT_LAYOUT(struct memmap_found, 24 * PINWATCH_MEMMAP_PIECES + 16);

/* Context of the node counter program. */
struct node_counter_request {
	__u32 nid;
	__u32 nr_cpus; /* possible CPUs */
};
ASSERT_LAYOUT(struct node_counter_request, 8);

/*
 * The node's nr_foll_pin_* with every CPU's pending difference added. Read
 * while CPUs fold their differences in: two equal readings are an exact one.
 */
struct node_counters {
	__s64 acquired;
	__s64 released;
};
ASSERT_LAYOUT(struct node_counters, 16);

/* Totals of migrate_pages() calls with one reason and one mode. */
struct migrate_counters {
	__u64 calls;
	__u64 succeeded_pages;
	__u64 failed_pages;
	__u64 thp_succeeded;
	__u64 thp_failed;
	__u64 thp_split;
	__u64 large_split; /* large folios, THPs too; stays 0 before Linux v6.12 */
};
ASSERT_LAYOUT(struct migrate_counters, 56);

/* Why a page stays where it is. Which kind of pin the page does not tell. */
enum page_stays {
	STAYS_PINNED,
	STAYS_PINNED_LONG_TERM,
	STAYS_PINNED_SHORT_TERM,
	STAYS_PLAIN_REFERENCE,
	STAYS_BIASED_REFERENCE,
	STAYS_WRITEBACK,
	STAYS_DIRTY,
	STAYS_LOCKED,
	STAYS_HUGETLB,
	STAYS_SLAB,
	STAYS_PAGE_TABLE,
	STAYS_KERNEL_MEMORY,
	STAYS_RESERVED,
	STAYS_OFFLINE,
	STAYS_POISONED,
	STAYS_SECRETMEM,
	STAYS_TRANSIENT,
	STAYS_NO_TARGET,
	STAYS_VMEMMAP, /* told by the daemon alone */
	NR_PAGE_STAYS,
};

/* A power of two, so that an index is bounded by a mask. */
#define PINWATCH_MAX_PAGE_STAYS 32

/* Errors an attempt is counted under; a larger one is counted under the last. */
#define PINWATCH_MAX_ERRNO 256

enum hotplug_operation {
	HOTPLUG_OFFLINE,
	HOTPLUG_ONLINE,
	NR_HOTPLUG_OPERATIONS,
};

/*
 * How far an attempt to take a block offline has come. The kernel goes from each
 * step to the next, but from the last but one it may come back to migration.
 */
enum hotplug_step {
	HOTPLUG_REQUESTED,    /* not yet in offline_pages() */
	HOTPLUG_CHECKING,     /* holes and zone of the block */
	HOTPLUG_ISOLATING,    /* its free pages, so that nobody takes them any more */
	HOTPLUG_NOTIFYING,    /* asks those in the kernel who use the block */
	HOTPLUG_MIGRATING,    /* its pages in use */
	HOTPLUG_DISSOLVING,   /* its free huge pages */
	HOTPLUG_FINISHING,    /* nothing is left in it */
	HOTPLUG_STEP_UNKNOWN, /* on a kernel where the steps are not followed */
	NR_HOTPLUG_STEPS,
};

#define PINWATCH_ASKER_STACK 16

/* In place of the number of a block's zone. */
#define PINWATCH_ZONE_UNKNOWN (-1)
#define PINWATCH_ZONES_SEVERAL (-2)

/* One try to take a memory block offline or online; the story told of it. */
struct hotplug_attempt {
	__u64 begin_ns;	       /* CLOCK_MONOTONIC */
	__u64 duration_ns;     /* 0 while it runs */
	__u64 section_nr;      /* first section of the block */
	__u64 cgroup_id;       /* of the asker */
	__u64 migrate_calls;   /* rounds of migrate_pages() in it */
	__u64 succeeded_pages; /* moved out by these */
	__u64 failed_pages;    /* a page counts with each round that it did not move */
	__u32 operation;
	__s32 result; /* 0 or -errno; void while it runs */
	__u32 tgid;   /* of the asker */
	__u32 tid;
	char comm[16];			 /* of the asker's thread: hostile text */
	__u32 step;			 /* enum hotplug_step; when it has ended, where */
	__u32 blockers_lost;		 /* times a page was in the way and not noted */
	__s32 nid;			 /* of the block; -1: not known, or several */
	__s32 zone;			 /* its number, or as above */
	__u32 no_target;		 /* as in hotplug_blocker, of the last round */
	__u32 pages_named;		 /* times the kernel printed one that was in the way */
	__u64 step_since_ns;		 /* CLOCK_MONOTONIC */
	__u64 step_ns[NR_HOTPLUG_STEPS]; /* spent in each, without the one under way */
	__u64 kernel_stack[PINWATCH_ASKER_STACK]; /* of the asker; ends with 0 */
};
ASSERT_LAYOUT(struct hotplug_attempt, 96 + 24 + 64 + 8 * PINWATCH_ASKER_STACK);

/* What a page is by its type, which takes the place of the mapcount. */
enum page_kind {
	KIND_NONE, /* no type: it has a mapcount */
	KIND_BUDDY,
	KIND_OFFLINE,
	KIND_HUGETLB,
	KIND_SLAB,
	KIND_TABLE,
	KIND_OTHER,
};

/* All but the last are the low bits of page->mapping. */
enum page_mapping {
	PAGE_MAPPING_NONE,
	PAGE_MAPPING_ANON,
	PAGE_MAPPING_MOVABLE_OPS,
	PAGE_MAPPING_KSM,
	PAGE_MAPPING_FILE,
};

#define PAGE_FACT_LOCKED 1
#define PAGE_FACT_WRITEBACK 2
#define PAGE_FACT_DIRTY 4
#define PAGE_FACT_RESERVED 8
#define PAGE_FACT_POISONED 16
#define PAGE_FACT_SWAPCACHE 32
#define PAGE_FACT_PRIVATE 64
#define PAGE_FACT_CGROUP 128 /* what it is charged to is known */

/* What the struct pages of a folio said at one moment. */
struct page_facts {
	__u64 head_pfn; /* the pfn itself for order 0 */
	__u64 ino;	/* of the file it belongs to; 0: none */
	__u64 cgroup;	/* id of the memory cgroup it is charged to; 0: none */
	__u32 dev;	/* of that file: major << 20 | minor */
	__u32 fs_magic;
	__s32 refcount; /* of the head */
	__s32 mapcount; /* of a page of order 0; -1: not known */
	__s32 pincount; /* of a large folio */
	__u32 flags;	/* PAGE_FACT_* */
	__u16 order;
	__u8 kind;    /* enum page_kind */
	__u8 mapping; /* enum page_mapping */
	__u32 reserved;
};
ASSERT_LAYOUT(struct page_facts, 56);

/* Pages that the daemon asks about at once. */
#define PINWATCH_ASKED_PAGES 64

/* Context of the program that answers: the first of asked_pfns. */
struct page_question {
	__u32 nr_pages;
	__u32 reserved;
};
ASSERT_LAYOUT(struct page_question, 8);

/* Folios left over by one call of migrate_pages() that are looked at. */
#define PINWATCH_MIGRATE_WALK 256

/*
 * How long calls took: the first bucket is for less than 1,024 ns, each of the
 * others for less than twice as much, the last for the rest.
 */
#define PINWATCH_LATENCY_BUCKETS 26
#define PINWATCH_LATENCY_SHIFT 10

/* What calls of migrate_pages() with one reason came to. */
struct migrate_details {
	__u64 measured_calls;
	__u64 measured_ns;
	__u64 unmeasured_calls; /* their begin was not seen */
	__u64 unclassified;	/* pages that did not move and were not looked at */
	__u64 calls[PINWATCH_LATENCY_BUCKETS];
	__u64 failed_pages[PINWATCH_MAX_PAGE_STAYS]; /* by enum page_stays */
};
ASSERT_LAYOUT(struct migrate_details, 8 * (4 + PINWATCH_LATENCY_BUCKETS + PINWATCH_MAX_PAGE_STAYS));

/* A call of migrate_pages() under way, by the hash of its task. */
struct migrate_begin {
	__u64 task;
	__u64 from;  /* address of its list */
	__u64 first; /* the same of the first folio's node in it, or of the list itself */
	__u64 ns;
	__u64 check; /* all of these, exclusive or: two calls may meet here */
};
ASSERT_LAYOUT(struct migrate_begin, 40);
#define PINWATCH_MIGRATE_BEGINS 1024

/* What calls came to, by node and zone of the first folio of each. */
struct migrate_place {
	__u64 calls;
	__u64 succeeded_pages;
	__u64 failed_pages;
};
ASSERT_LAYOUT(struct migrate_place, 24);

/* Those of nodes beyond, and of calls whose first folio is not known, come last. */
#define PINWATCH_MIGRATE_NODES 64
#define PINWATCH_MIGRATE_ZONES 8
#define PINWATCH_MIGRATE_PLACES (PINWATCH_MIGRATE_NODES * PINWATCH_MIGRATE_ZONES)

/* New pages that are listed in a second. */
#define PINWATCH_MIGRATE_LISTED 64

/* A page that did not move. */
struct migrate_failure_key {
	__u64 pfn;
	__u32 mode;
	__u32 reason;
};
struct migrate_failure {
	__u64 first_ns; /* CLOCK_MONOTONIC */
	__u64 last_ns;
	__u64 times_met;
	/* Who wanted it to move, and what the page said, at the last time. */
	struct page_facts page;
	__u64 start_ns; /* CLOCK_BOOTTIME of the process's start */
	__u32 tgid;
	__u32 why;     /* enum page_stays */
	char comm[16]; /* of the thread: hostile text */
	/* By these the programs know that nothing has changed. */
	struct migrate_failure_seen {
		__u64 task;
		__u64 flags, mapping, counts, memcg; /* of an only page; else 0 */
	} seen;
};
ASSERT_LAYOUT(struct migrate_failure_key, 16);
ASSERT_LAYOUT(struct migrate_failure, 24 + 56 + 32 + 40);

/* Attempts to have a range of memory that are told one by one. */
#define PINWATCH_CONTIG_RECENT 64

struct contig_attempt {
	__u64 number;	/* from 1 on; 0: being written */
	__u64 begin_ns; /* CLOCK_MONOTONIC */
	__u64 duration_ns;
	__u64 start_pfn;
	__u64 end_pfn; /* the first page after it */
	__u64 blocker_pfn;
	__u32 blocker_why; /* enum page_stays */
	__u32 has_blocker;
	__s32 result; /* 0 or -errno */
	__u32 tgid;
	char comm[16]; /* of the thread: hostile text */
};
ASSERT_LAYOUT(struct contig_attempt, 80);

/* A page that stood in the way of an attempt. */
struct hotplug_blocker_key {
	__u64 begin_ns; /* of the attempt */
	__u64 pfn;
};
struct hotplug_blocker {
	__u64 first_ns; /* CLOCK_MONOTONIC */
	__u64 last_ns;
	__u64 times_met;
	__u32 step; /* enum hotplug_step, at the last time */
	/* 1: migrate_pages() gave up then for want of memory to move pages to */
	__u32 no_target;
	struct page_facts page; /* at the last time */
};
ASSERT_LAYOUT(struct hotplug_blocker_key, 16);
ASSERT_LAYOUT(struct hotplug_blocker, 88);

/* Pages that are searched for in pipes at once, and buffers of a pipe. */
#define PINWATCH_MAX_SEARCHED 1024
#define PINWATCH_PIPE_BUFFERS 256

/* A page in a pipe that a process has open. */
struct pipe_page {
	__u64 pfn;	/* that was searched for: its own or its folio's head's */
	__u64 start_ns; /* CLOCK_BOOTTIME of the process's start */
	__u32 tgid;
	__u32 fd;
	char comm[16]; /* of the process: hostile text */
};
ASSERT_LAYOUT(struct pipe_page, 40);

/* Those who took plain references last, by the low bits of the pfn: 768 KiB. */
#define PINWATCH_TAKEN_REFERENCES 16384

/* Pages of a call that are noted: as many as a bio takes. */
#define PINWATCH_REFERENCES_A_CALL 256

struct taken_reference {
	__u64 pfn;	/* of the page, or its folio's head */
	__u64 start_ns; /* CLOCK_BOOTTIME of the process's start */
	__u64 taken_ns; /* CLOCK_MONOTONIC */
	__u32 tgid;
	__u32 check;   /* see check_of(): of another value the rest is void */
	char comm[16]; /* of the process: hostile text */
};
ASSERT_LAYOUT(struct taken_reference, 48);

static inline __u32 check_of(const struct taken_reference *taken)
{
	const __u64 *comm = (const __u64 *)taken->comm;
	__u64 all = taken->pfn * 3 ^ taken->start_ns * 5 ^ taken->taken_ns * 7 ^ comm[0] * 11 ^
		    comm[1] * 13 ^ taken->tgid;

	/* 0 is that of a slot that nobody has written. */
	return (__u32)(all ^ all >> 32) | 1;
}

/*
 * Claims. One word says that an owner took a pin on a page, and when: the
 * owner's index above, the tick below. A page without a claim has 0.
 */
#define PINWATCH_TICK_BITS 10

/*
 * A tick is 1 + seconds of CLOCK_MONOTONIC % PINWATCH_TICKS. Before they come
 * round the daemon puts the number of a vintage in their place, which begins
 * after the last tick. 0 is "long ago".
 */
#define PINWATCH_TICKS 511
#define PINWATCH_VINTAGES 512
#define PINWATCH_MAX_OWNERS 131072 /* indexes are 1 to this */

/* Owners and errors that failed calls are counted by. */
#define PINWATCH_MAX_OWNER_ERRORS 16384

/* Long-term claims of one section's pages, by the low bits of the pfn. */
#define PINWATCH_CHUNK_PAGES 32768
struct claim_chunk {
	__u32 claim[PINWATCH_CHUNK_PAGES];
};
ASSERT_LAYOUT(struct claim_chunk, 4 * PINWATCH_CHUNK_PAGES);

/*
 * Claims for which the chunk has no room, since another owner claims the page
 * or there is no chunk yet: runs of neighbouring pages.
 */
struct claim_run_key {
	__u64 pfn;
	__u64 owner;
};
struct claim_run {
	__u32 nr_pages;
	__u32 tick;
};
ASSERT_LAYOUT(struct claim_run_key, 16);
ASSERT_LAYOUT(struct claim_run, 8);

/* Short-term claims, by the low bits of the pfn: the rest of it << 32 | claim. */
#define PINWATCH_SHORT_CLAIMS 65536

/* Pointers read from a pin function's pages[] at once. */
#define PINWATCH_PIN_BULK 256

/* Pages of a short-term call that get a claim; calls with more are rare. */
#define PINWATCH_SHORT_PAGES 64

/* The pin functions that are followed. */
enum pin_door {
	DOOR_PIN_USER_PAGES,
	DOOR_PIN_USER_PAGES_FAST,
	DOOR_PIN_USER_PAGES_REMOTE,
	DOOR_PIN_USER_PAGES_UNLOCKED,
	DOOR_MEMFD_PIN_FOLIOS,
	DOOR_FREE, /* no program uses it any more */
	DOOR_PIN_USER_PAGES_LOCKED,
	DOOR_PIN_USER_PAGES_FAST_ONLY,
	NR_PIN_DOORS,
};

#define PINWATCH_STACK_DEPTH 24

/* What makes owners different. */
struct pin_owner_key {
	__u64 start_ns;	 /* CLOCK_BOOTTIME of the process's start */
	__u32 tgid;	 /* process whose memory it is */
	__u32 via_tgid;	 /* process that asked; 0 when it is the same */
	__u32 call_site; /* low half of the return address out of the door */
	__u16 door;
	__u16 long_term;
};
ASSERT_LAYOUT(struct pin_owner_key, 24);

struct pin_owner {
	__u64 first_ns; /* CLOCK_MONOTONIC */
	__u64 via_start_ns;
	__u64 kernel_stack[PINWATCH_STACK_DEPTH]; /* of the first call; ends with 0 */
	__u64 user_stack[PINWATCH_STACK_DEPTH];
	__u32 index;
	__u32 reserved;
	char comm[16];	   /* of the process: hostile text */
	char via_comm[16]; /* of the process that asked */
};
ASSERT_LAYOUT(struct pin_owner, 16 + 16 * PINWATCH_STACK_DEPTH + 8 + 32);

/* What an owner has done, and met. */
struct pin_activity {
	__u64 last_ns; /* CLOCK_MONOTONIC; of a short-term owner to the second */
	__u64 calls;   /* that pinned something */
	__u64 pages;
	__u64 asked_pages;    /* by all calls, those that failed too */
	__u64 partial_calls;  /* that pinned fewer pages than asked for, even none */
	__u64 failed_calls;   /* that came back with an error */
	__u64 measured_calls; /* whose time and faults are known, as follows */
	__u64 measured_ns;
	__u64 minor_faults;
	__u64 major_faults;
};
ASSERT_LAYOUT(struct pin_activity, 80);

/* How long an owner's calls took. */
struct pin_latency {
	__u32 calls[PINWATCH_LATENCY_BUCKETS];
};
ASSERT_LAYOUT(struct pin_latency, 104);

/* Calls of one owner that failed with one error. */
struct pin_error_key {
	__u32 owner;
	__u32 error; /* errno */
};
ASSERT_LAYOUT(struct pin_error_key, 8);

/* A call that is under way and measured. */
struct pin_begin {
	__u64 task; /* address of its task_struct */
	__u64 ns;   /* CLOCK_MONOTONIC */
	__u64 minor_faults;
	__u64 major_faults;
	__u32 taken;
	__u32 door;
	__u32 moving; /* there is a struct pin_moving of it */
	__u32 reserved;
};
ASSERT_LAYOUT(struct pin_begin, 48);
#define PINWATCH_PIN_BEGINS 1024

/* Allocations of one area of the contiguous memory allocator. */
struct cma_area {
	__u64 succeeded;
	__u64 succeeded_pages;
	__u64 failed;
	__u64 failed_pages;
	__u64 busy; /* places that were tried and could not be had */
};
ASSERT_LAYOUT(struct cma_area, 40);

#define PINWATCH_CMA_NAME 64
struct cma_name {
	char name[PINWATCH_CMA_NAME]; /* zeroes follow it */
};

/* More than a kernel is built for. */
#define PINWATCH_CMA_AREAS 256

/* Where a page lay that no long-term pin may keep. */
enum pin_moves_from {
	PIN_MOVES_FROM_MOVABLE, /* ZONE_MOVABLE */
	PIN_MOVES_FROM_CMA,
	PIN_MOVES_FROM_OTHER, /* an isolated pageblock; or of moved pages, not told */
	NR_PIN_MOVES_FROM,
};

/* What long-term calls had to move before they could pin. Pages are of 4 KiB. */
struct pin_moved {
	__u64 collected[NR_PIN_MOVES_FROM]; /* a page counts again in each round */
	__u64 isolated[NR_PIN_MOVES_FROM];
	__u64 moved[NR_PIN_MOVES_FROM];
	__u64 failed;	 /* isolated, and did not move */
	__u64 no_target; /* times there was no page to move one to */
	__u64 calls;
	__u64 rounds;
	__u64 ns;	/* in rounds, each from its begin to its end */
	__u64 calls_ns; /* how long these calls took as a whole */
};
ASSERT_LAYOUT(struct pin_moved, 120);

/* Owners that have such an account. */
#define PINWATCH_MAX_MOVERS 16384

/* What a call that is under way has moved so far. */
struct pin_moving {
	__u64 begin_ns; /* of the call: CLOCK_MONOTONIC */
	__u64 start_ns; /* CLOCK_BOOTTIME of the process's start */
	__u32 tgid;
	__u32 door;
	char comm[16];	      /* of the process: hostile text */
	__u64 stuck_pfn;      /* that could not be isolated, last; 0: none */
	__u64 stuck_ns;	      /* when */
	struct pin_moved sum; /* of rounds that have ended */
	struct {
		__u64 begin_ns;	    /* 0: none is under way */
		__u64 stuck_pfn;    /* the first */
		__u64 has_isolated; /* where rounds are seen: it is told what moved */
		__u64 collected[NR_PIN_MOVES_FROM];
		__u64 isolated[NR_PIN_MOVES_FROM];
	} round;
};
ASSERT_LAYOUT(struct pin_moving, 56 + 120 + 72);

/* Calls and pages since the programs were attached; one on each CPU. */
struct pin_totals {
	__u64 calls[2]; /* by long_term; that pinned something */
	__u64 pages[2];
	__u64 asked_pages[2];
	__u64 partial_calls[2];
	__u64 failed_calls[2];
	__u64 unmeasured;    /* long-term: no room to note when they began */
	__u64 lost_errors;   /* failed calls whose error is not counted */
	__u64 short_entered; /* chooses which short-term calls are measured */
	__u64 short_term_skipped;
	__u64 lost_busy[2];
	__u64 lost_owners[2];
	__u64 lost_pages; /* long-term: no room for the claim */
	__u64 unlanded;	  /* long-term: pages that are not in pin_landed */
};
ASSERT_LAYOUT(struct pin_totals, 160);

#endif
