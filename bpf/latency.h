/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PINWATCH_LATENCY_H
#define PINWATCH_LATENCY_H

#include "events.h"

/* Which bucket of PINWATCH_LATENCY_BUCKETS a call belongs to. */
static __always_inline __u32 latency_bucket(__u64 ns)
{
	__u64 rest = ns >> PINWATCH_LATENCY_SHIFT;
	__u32 bucket = 0;

#pragma clang loop unroll(full)
	for (__u32 bits = 16; bits; bits >>= 1) {
		if (rest >> bits) {
			rest >>= bits;
			bucket += bits;
		}
	}
	bucket += rest != 0;
	return bucket < PINWATCH_LATENCY_BUCKETS ? bucket : PINWATCH_LATENCY_BUCKETS - 1;
}

#endif
