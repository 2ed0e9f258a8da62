/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Why a page stays where it is, by its references: what mappings, caches,
 * private data and an isolation do not explain is a pin from 1,024 on, and a
 * plain reference below. For the programs that count by it and for the daemon.
 */
#ifndef PINWATCH_PAGE_STAYS_H
#define PINWATCH_PAGE_STAYS_H

#include "events.h"

/* Magic numbers of file systems, as in linux/magic.h. */
#define PINWATCH_TMPFS 0x01021994
#define PINWATCH_HUGETLBFS 0x958458f6
#define PINWATCH_SECRETMEM 0x5345434d

struct page_finding {
	__s64 surplus; /* references that nothing explains */
	__u64 pins;
	__u32 surplus_known; /* 0: a large folio, or no user page */
	__u32 page_class;    /* enum page_class */
	__u32 why;	     /* enum page_stays */
	__u32 reserved;
};

static inline int is_user_page(const struct page_facts *page)
{
	return page->kind == KIND_NONE &&
	       (page->mapping == PAGE_MAPPING_ANON || page->mapping == PAGE_MAPPING_KSM ||
		page->mapping == PAGE_MAPPING_FILE);
}

/* `isolated`: who wanted it to move has taken a reference. */
static inline void find_surplus(const struct page_facts *page, int isolated,
				struct page_finding *found)
{
	found->surplus = 0;
	/* A large folio may be mapped in parts. */
	found->surplus_known = is_user_page(page) && page->mapcount >= 0;
	if (!found->surplus_known)
		return;
	found->surplus = (__s64)page->refcount - page->mapcount - (isolated != 0);
	if (page->mapping == PAGE_MAPPING_FILE || page->flags & PAGE_FACT_SWAPCACHE)
		found->surplus--;
	if (page->flags & PAGE_FACT_PRIVATE)
		found->surplus--;
}

static inline void stays(struct page_finding *found, __u32 page_class, __u32 why)
{
	found->page_class = page_class;
	found->why = why;
}

static inline void find_in_kernel_page(const struct page_facts *page, struct page_finding *found)
{
	if (page->kind == KIND_BUDDY)
		stays(found, PAGE_FREE, STAYS_TRANSIENT);
	else if (page->kind == KIND_OFFLINE)
		stays(found, PAGE_OFFLINE, STAYS_OFFLINE);
	else if (page->kind == KIND_HUGETLB)
		stays(found, PAGE_HUGETLB, STAYS_HUGETLB);
	else if (page->kind == KIND_SLAB)
		stays(found, PAGE_KERNEL, STAYS_SLAB);
	else if (page->kind == KIND_TABLE)
		stays(found, PAGE_KERNEL, STAYS_PAGE_TABLE);
	else if (page->refcount >= PINWATCH_PIN_BIAS)
		stays(found, PAGE_BIASED, STAYS_BIASED_REFERENCE);
	else if (page->refcount <= 0)
		stays(found, PAGE_UNSTABLE, STAYS_TRANSIENT);
	else if (page->mapping == PAGE_MAPPING_MOVABLE_OPS)
		stays(found, PAGE_MOVABLE, STAYS_TRANSIENT);
	else
		stays(found, PAGE_KERNEL, STAYS_KERNEL_MEMORY);
}

static inline void find_in_user_page(const struct page_facts *page, struct page_finding *found)
{
	const int is_file = page->mapping == PAGE_MAPPING_FILE;
	const __u64 rest = (__u64)found->surplus % PINWATCH_PIN_BIAS;

	if (!page->order && found->pins)
		stays(found, rest > PINWATCH_PIN_SLACK ? PAGE_PINNED_LOOSE : PAGE_PINNED_EXACT,
		      STAYS_PINNED);
	else if (page->flags & PAGE_FACT_WRITEBACK)
		stays(found, PAGE_MOVABLE, STAYS_WRITEBACK);
	else if (!page->order && found->surplus > 0)
		stays(found, PAGE_ELEVATED, STAYS_PLAIN_REFERENCE);
	else if (page->flags & PAGE_FACT_LOCKED)
		stays(found, PAGE_MOVABLE, STAYS_LOCKED);
	else if (is_file && page->fs_magic == PINWATCH_SECRETMEM)
		stays(found, PAGE_MOVABLE, STAYS_SECRETMEM);
	else if (is_file && page->flags & PAGE_FACT_DIRTY && page->fs_magic != PINWATCH_TMPFS)
		stays(found, PAGE_MOVABLE, STAYS_DIRTY);
	else
		stays(found, PAGE_MOVABLE, STAYS_TRANSIENT);
}

static inline void find_why_it_stays(const struct page_facts *page, int isolated,
				     struct page_finding *found)
{
	find_surplus(page, isolated, found);
	found->pins = 0;
	found->reserved = 0;
	if (page->order && page->pincount > 0)
		found->pins = page->pincount;
	else if (found->surplus >= PINWATCH_PIN_BIAS)
		found->pins = (__u64)found->surplus / PINWATCH_PIN_BIAS;
	if (page->flags & PAGE_FACT_POISONED)
		stays(found, PAGE_POISONED, STAYS_POISONED);
	else if (page->flags & PAGE_FACT_RESERVED)
		stays(found, PAGE_RESERVED, STAYS_RESERVED);
	else if (page->order && found->pins)
		stays(found, PAGE_PINNED_LARGE, STAYS_PINNED);
	else if (is_user_page(page))
		find_in_user_page(page, found);
	else
		find_in_kernel_page(page, found);
}

#endif
