/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads the kernel's memory by a load instead of a call, where that can be had. */
#ifndef PINWATCH_DIRECT_H
#define PINWATCH_DIRECT_H

#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* Of Linux v6.2. */
extern void *bpf_rdonly_cast(const void *address, __u32 type) __ksym __weak;

/* Set by the daemon: whether the kernel has it. */
const volatile __u32 has_rdonly_cast;

/* The number that stands at an address of the kernel's, by a load; 0 where there is none. */
static __always_inline __u64 number_at(__u64 address)
{
	/* Any type that begins with a number. */
	const struct mem_section *number =
		bpf_rdonly_cast((void *)address, bpf_core_type_id_kernel(struct mem_section));

	return number->section_mem_map;
}

/* The same on every kernel. */
static __always_inline __u64 read_number(__u64 address)
{
	__u64 number = 0;

	if (has_rdonly_cast)
		return number_at(address);
	bpf_probe_read_kernel(&number, sizeof(number), (void *)address);
	return number;
}

#endif
