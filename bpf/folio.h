/* SPDX-License-Identifier: GPL-2.0-only */
/* What a struct page says of the folio it belongs to, on every kernel. */
#ifndef PINWATCH_FOLIO_H
#define PINWATCH_FOLIO_H

#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "events.h"

/* The bits of page->mapping that are an enum page_mapping. */
#define MAPPING_BITS 3UL

#define MAX_FOLIO_ORDER 18 /* a hugetlb page of 1 GiB */

/* Where the kernel keeps vmemmap_base; set by the daemon, like all that ends in _at. */
const volatile __u64 vmemmap_base_at;

/* Read once: it does not change while the kernel runs. */
static __u64 vmemmap_read;

static __always_inline __u64 vmemmap_start(void)
{
	__u64 vmemmap = vmemmap_read;

	if (!vmemmap) {
		bpf_probe_read_kernel(&vmemmap, sizeof(vmemmap), (void *)vmemmap_base_at);
		vmemmap_read = vmemmap;
	}
	return vmemmap;
}

/* A page flag; 0 where this kernel is built without it. */
#define PG(name)                                                                                   \
	(bpf_core_enum_value_exists(enum pageflags, name)                                          \
		 ? 1UL << bpf_core_enum_value(enum pageflags, name)                                \
		 : 0)

/* A field of a struct page that lies in one of our own buffers. */
#define FIELD(type, page, field) (*(type *)((page) + bpf_core_field_offset(field)))

/*
 * The same where another kernel has another field instead: the compiler is kept
 * from asking for an offset before it is known that the field exists, and from
 * making one load, with the offset in a register, of two.
 */
#define FIELD_IF_THERE(type, page, field)                                                          \
	({                                                                                         \
		type value;                                                                        \
                                                                                                   \
		barrier();                                                                         \
		value = FIELD(type, page, field);                                                  \
		barrier_var(value);                                                                \
		value;                                                                             \
	})

static __always_inline __u64 page_flags(const char *page)
{
	if (bpf_core_field_exists(((struct page___v6_18 *)0)->flags.f))
		return FIELD_IF_THERE(__u64, page, ((struct page___v6_18 *)0)->flags.f);
	return FIELD_IF_THERE(__u64, page, ((struct page *)0)->flags);
}

static __always_inline __u32 compound_head_offset(void)
{
	if (bpf_core_field_exists(((struct page___v7_0 *)0)->compound_info))
		return bpf_core_field_offset(((struct page___v7_0 *)0)->compound_info);
	return bpf_core_field_offset(((struct page *)0)->compound_head);
}

static __always_inline __u64 compound_head_of(const char *page)
{
	if (bpf_core_field_exists(((struct page___v7_0 *)0)->compound_info))
		return FIELD_IF_THERE(__u64, page, ((struct page___v7_0 *)0)->compound_info);
	return FIELD_IF_THERE(__u64, page, ((struct page *)0)->compound_head);
}

/* Slab is a page type from Linux v6.12 on. */
#define SLAB_FLAG                                                                                  \
	(bpf_core_enum_value_exists(enum pageflags___v6_1, PG_slab___v6_1)                         \
		 ? 1UL << bpf_core_enum_value(enum pageflags___v6_1, PG_slab___v6_1)               \
		 : 0)

/* By the word of the mapcount and the flags. */
static __always_inline enum page_kind kind_of(__u32 type, __u64 flags)
{
	if (bpf_core_enum_value_exists(enum pagetype, PGTY_buddy)) {
		__u32 pgty = type >> 24;

		if (pgty == bpf_core_enum_value(enum pagetype, PGTY_buddy))
			return KIND_BUDDY;
		if (pgty == bpf_core_enum_value(enum pagetype, PGTY_offline))
			return KIND_OFFLINE;
		if (pgty == bpf_core_enum_value(enum pagetype, PGTY_hugetlb))
			return KIND_HUGETLB;
		if (pgty == bpf_core_enum_value(enum pagetype, PGTY_slab))
			return KIND_SLAB;
		if (pgty == bpf_core_enum_value(enum pagetype, PGTY_table))
			return KIND_TABLE;
		return pgty >= 0xf0 && pgty < 0xff ? KIND_OTHER : KIND_NONE;
	}
	if (flags & SLAB_FLAG)
		return KIND_SLAB;
	if ((type & PAGE_TYPE_BASE___v6_1) != PAGE_TYPE_BASE___v6_1 || (__s32)type >= -128)
		return KIND_NONE;
	if (!(type & PG_BUDDY___v6_1))
		return KIND_BUDDY;
	if (!(type & PG_OFFLINE___v6_1))
		return KIND_OFFLINE;
	if (!(type & PG_TABLE___v6_1))
		return KIND_TABLE;
	return KIND_OTHER;
}

static __always_inline bool is_hugetlb(const char *pair, enum page_kind kind)
{
	if (bpf_core_field_exists(((struct page___v6_1 *)0)->compound_dtor))
		return FIELD(__u8, pair + STRUCT_PAGE, ((struct page___v6_1 *)0)->compound_dtor) ==
		       bpf_core_enum_value(enum compound_dtor_id, HUGETLB_PAGE_DTOR);
	return kind == KIND_HUGETLB;
}

static __always_inline __u32 folio_order(const char *pair)
{
	if (bpf_core_field_exists(((struct page___v6_1 *)0)->compound_order))
		return FIELD(__u8, pair + STRUCT_PAGE, ((struct page___v6_1 *)0)->compound_order);
	return FIELD(__u64, pair, ((struct folio *)0)->_flags_1) & 0xff;
}

/* Up to v5.17 the second tail page has it, which a folio of two pages lacks. */
static __always_inline __s32 folio_pincount(__u64 vmemmap, const char *pair, __u64 head_pfn,
					    __u32 order)
{
	__s32 pincount = 0;

	if (!bpf_core_field_exists(((struct page___v5_10 *)0)->hpage_pinned_refcount))
		return FIELD(__s32, pair, ((struct folio *)0)->_pincount.counter);
	if (order > 1)
		bpf_probe_read_kernel(
			&pincount, sizeof(pincount),
			(char *)vmemmap + (head_pfn + 2) * STRUCT_PAGE +
				bpf_core_field_offset(
					((struct page___v5_10 *)0)->hpage_pinned_refcount));
	return pincount;
}

/* Where a tail says that its head is. */
static __always_inline __u64 head_pfn_by(__u64 vmemmap, __u64 pfn, __u64 compound_head)
{
	/* From Linux v7.0 on it may be a mask for the tail's own address. */
	if (compound_head >> 40 == 0xffffff)
		return (((vmemmap + pfn * STRUCT_PAGE) & compound_head) - vmemmap) / STRUCT_PAGE;
	return (compound_head - 1 - vmemmap) / STRUCT_PAGE;
}

/* The pfn of the head of the compound page that `pair` begins with. */
static __always_inline __u64 head_pfn_of(__u64 vmemmap, const char *pair, __u64 pfn)
{
	__u64 own = compound_head_of(pair);
	__u64 next = compound_head_of(pair + STRUCT_PAGE);

	if (own & 1)
		return head_pfn_by(vmemmap, pfn, own);
	/*
	 * With an optimised vmemmap the first tail in each page of struct pages
	 * reads like a head; the tail after it knows better.
	 */
	if (next & 1)
		return head_pfn_by(vmemmap, pfn + 1, next);
	return pfn;
}

/*
 * Makes of `pair`, which is the page at pfn of some large folio and the page after
 * it, the folio's first two. False if that is not a folio which has the page.
 */
static __always_inline bool find_folio(__u64 vmemmap, char *pair, __u64 pfn, __u64 *head_pfn,
				       __u32 *order)
{
	*head_pfn = head_pfn_of(vmemmap, pair, pfn);
	if (*head_pfn != pfn && bpf_probe_read_kernel(pair, 2 * STRUCT_PAGE,
						      (void *)(vmemmap + *head_pfn * STRUCT_PAGE)))
		return false;
	*order = folio_order(pair);
	return page_flags(pair) & PG(PG_head) && *order && *order <= MAX_FOLIO_ORDER &&
	       pfn >= *head_pfn && pfn - *head_pfn < 1UL << (*order & 31);
}

#endif
