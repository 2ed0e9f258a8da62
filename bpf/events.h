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
};
ASSERT_LAYOUT(struct census_result, 8 * 128 + 24);

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
};
ASSERT_LAYOUT(struct migrate_counters, 48);

/* Errors an attempt is counted under; a larger one is counted under the last. */
#define PINWATCH_MAX_ERRNO 256

enum hotplug_operation {
	HOTPLUG_OFFLINE,
	HOTPLUG_ONLINE,
	NR_HOTPLUG_OPERATIONS,
};

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
	char comm[16]; /* of the asker's thread: hostile text */
};
ASSERT_LAYOUT(struct hotplug_attempt, 88);

#endif
