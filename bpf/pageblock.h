/* SPDX-License-Identifier: GPL-2.0-only */
/* The section and the pageblock that a page lies in. */
#ifndef PINWATCH_PAGEBLOCK_H
#define PINWATCH_PAGEBLOCK_H

#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "events.h"

#define PAGEBLOCK_SHIFT 9
#define PAGE_BYTES 4096UL

const volatile __u64 mem_section_at;

/* The section's flags, and its usage in *usage; 0 when there is no section. */
static __always_inline __u64 section_flags(__u64 pfn, __u64 *usage)
{
	const __u64 size = bpf_core_type_size(struct mem_section);
	const __u64 per_root = PAGE_BYTES / size;
	__u64 nr = pfn >> SECTION_SHIFT;
	__u64 roots = 0, root = 0, flags = 0;
	struct mem_section *section;

	bpf_probe_read_kernel(&roots, sizeof(roots), (void *)mem_section_at);
	if (!roots)
		return 0;
	bpf_probe_read_kernel(&root, sizeof(root), (void *)(roots + nr / per_root * 8));
	if (!root)
		return 0;
	section = (struct mem_section *)(root + nr % per_root * size);
	bpf_probe_read_kernel(&flags, sizeof(flags), &section->section_mem_map);
	bpf_probe_read_kernel(usage, sizeof(*usage), &section->usage);
	return flags;
}

/*
 * A pageblock's migratetype is four bits of a bitmap, or eight where isolation
 * has a bit of its own (from v6.18 on).
 */
static __always_inline __u32 migratetype_of(__u64 pfn, __u64 usage)
{
	bool wide = bpf_core_enum_value_exists(enum pageblock_bits, PB_migrate_isolate);
	__u32 width = wide ? 8 : 4;
	__u32 bit = (pfn & ((1UL << SECTION_SHIFT) - 1)) / (1 << PAGEBLOCK_SHIFT) * width;
	__u64 word = 0;

	bpf_probe_read_kernel(
		&word, sizeof(word),
		(char *)usage + bpf_core_field_offset(struct mem_section_usage, pageblock_flags) +
			bit / 64 * 8);
	word >>= bit % 64;
	if (wide && word >> bpf_core_enum_value(enum pageblock_bits, PB_migrate_isolate) & 1)
		return bpf_core_enum_value(enum migratetype, MIGRATE_ISOLATE);
	return word & (PINWATCH_MAX_MIGRATETYPES - 1);
}

#endif
