// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which pages hold the struct pages of others. The kernel keeps these at the
 * addresses from vmemmap_base on, and its page table says where that is.
 */
#include "folio.h"

char LICENSE[] SEC("license") = "GPL";

const volatile __u64 init_mm_at, page_offset_base_at;
/* 0 where the kernel has none: four levels of tables, no encrypted memory. */
const volatile __u64 pgdir_shift_at, sme_me_mask_at;

struct memmap_found memmap_found;

static __u64 top_table, direct_map, not_address;
static __u32 top_shift;

static __u64 last_table[512];

#define ENTRY_PRESENT 1ULL
#define ENTRY_IS_LEAF 0x80ULL
#define ENTRY_ADDRESS 0x000ffffffffff000ULL

#define PAGE_SHIFT 12
#define TABLE_SHIFT 21 /* of what one table of the last level maps */

static __always_inline bool read_number(void *to, __u32 size, __u64 at)
{
	return !bpf_probe_read_kernel(to, size, (void *)at);
}

static __always_inline bool find_top(void)
{
	top_shift = 39;
	not_address = 0;
	return read_number(&top_table, sizeof(top_table),
			   init_mm_at + bpf_core_field_offset(struct mm_struct, pgd)) &&
	       read_number(&direct_map, sizeof(direct_map), page_offset_base_at) &&
	       (!pgdir_shift_at || read_number(&top_shift, sizeof(top_shift), pgdir_shift_at)) &&
	       (!sme_me_mask_at || read_number(&not_address, sizeof(not_address), sme_me_mask_at));
}

static __always_inline __u64 address_in(__u64 entry, __u32 shift)
{
	return entry & ENTRY_ADDRESS & ~not_address & ~((1ULL << shift) - 1);
}

/* This and the next two are not static, so that the verifier goes through each of them once. */
__noinline int add_piece(__u64 index, __u64 pfn, __u64 nr_pages)
{
	__u32 count = memmap_found.count;

	if (count && count <= PINWATCH_MEMMAP_PIECES) {
		struct memmap_piece *last = &memmap_found.pieces[count - 1];

		if (last->index + last->nr_pages == index && last->pfn + last->nr_pages == pfn) {
			last->nr_pages += nr_pages;
			return 0;
		}
		/* Of huge pages the kernel may keep one page of struct pages for all. */
		if (last->pfn + last->nr_pages - 1 == pfn && nr_pages == 1)
			return 0;
	}
	if (count >= PINWATCH_MEMMAP_PIECES)
		return 0;
	memmap_found.pieces[count].index = index;
	memmap_found.pieces[count].pfn = pfn;
	memmap_found.pieces[count].nr_pages = nr_pages;
	memmap_found.count = count + 1;
	return 0;
}

/* What last_table maps, which begins at that page of vmemmap. */
__noinline int add_table(__u64 index)
{
	for (int i = 0; i < 512; i++) {
		const __u64 entry = last_table[i];

		if (entry & ENTRY_PRESENT)
			add_piece(index + i, address_in(entry, PAGE_SHIFT) >> PAGE_SHIFT, 1);
	}
	return 0;
}

/* Adds what the page table has there; the result is how far that reaches, as a shift. */
__noinline int add_what_is_at(__u64 virt)
{
	__u32 shift = top_shift;
	__u64 table = top_table;

	for (int level = 0; level < 4; level++) {
		__u64 entry = 0;

		if (!read_number(&entry, sizeof(entry),
				 table + 8 * ((virt >> (shift & 63)) & 511)) ||
		    !(entry & ENTRY_PRESENT))
			return shift;
		if (entry & ENTRY_IS_LEAF) {
			const __u64 size = 1ULL << (shift & 63);

			add_piece((virt - vmemmap_start()) >> PAGE_SHIFT,
				  (address_in(entry, shift & 63) + (virt & (size - 1))) >>
					  PAGE_SHIFT,
				  (size - (virt & (size - 1))) >> PAGE_SHIFT);
			return shift;
		}
		table = direct_map + address_in(entry, PAGE_SHIFT);
		if (shift <= TABLE_SHIFT) {
			if (read_number(last_table, sizeof(last_table), table))
				add_table((virt - vmemmap_start()) >> PAGE_SHIFT);
			return shift;
		}
		shift -= 9;
	}
	return shift;
}

/* From start to end, which are whole tables of the last level, as far as there is room. */
SEC("raw_tp")
int memmap__read(struct memmap_request *request)
{
	const __u64 vmemmap = vmemmap_start();
	const __u64 end = vmemmap + request->end;
	__u64 at = vmemmap + request->start;

	memmap_found.count = 0;
	if (!find_top() || !vmemmap)
		return -1;
	for (int i = 0; i < PINWATCH_MEMMAP_STEPS; i++) {
		__u32 shift;

		if (at >= end || memmap_found.count + 512 > PINWATCH_MEMMAP_PIECES)
			break;
		shift = add_what_is_at(at) & 63;
		at = ((at >> shift) + 1) << shift;
	}
	memmap_found.next = at - vmemmap;
	return 0;
}
