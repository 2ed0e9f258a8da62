/* SPDX-License-Identifier: GPL-2.0-only */
/* Long-term calls under way that have something to move. */
#ifndef PINWATCH_PIN_MOVING_H
#define PINWATCH_PIN_MOVING_H

#include <bpf/bpf_helpers.h>

#include "events.h"

/*
 * By task; most of the time there is none. Of pin.bpf.c; where that sees begin
 * and end of each round, migrate.bpf.c tells it here what has moved.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINWATCH_PIN_BEGINS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct pin_moving);
} pin_moving SEC(".maps");

/* What has moved in this round, and what was isolated and has not. */
static __always_inline void note_moved(struct pin_moving *moving, __u64 moved, __u64 failed)
{
	__u32 froms = 0, only = PIN_MOVES_FROM_OTHER;

	moving->sum.failed += failed;
#pragma clang loop unroll(full)
	for (__u32 from = 0; from < NR_PIN_MOVES_FROM; from++) {
		if (moving->round.isolated[from]) {
			froms++;
			only = from;
		}
	}
	if (froms > 1 && !failed) {
#pragma clang loop unroll(full)
		for (__u32 from = 0; from < NR_PIN_MOVES_FROM; from++)
			moving->sum.moved[from] += moving->round.isolated[from];
		return;
	}
	/* Which of several it was that stayed is not told. */
	if (froms > 1)
		only = PIN_MOVES_FROM_OTHER;
	barrier_var(only);
	if (only < NR_PIN_MOVES_FROM)
		moving->sum.moved[only] += moved;
}

#endif
