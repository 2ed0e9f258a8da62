// SPDX-License-Identifier: GPL-2.0-only
/* The least that hooks on the pin functions and on migration cost: programs that do nothing. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define EMPTY_HOOK_ON(where, function)                                                             \
	SEC("?" where "/" #function)                                                               \
	int function(void *ctx)                                                                    \
	{                                                                                          \
		return 0;                                                                          \
	}

#define EMPTY_HOOK(function) EMPTY_HOOK_ON("fexit", function)

EMPTY_HOOK(pin_user_pages)
EMPTY_HOOK(pin_user_pages_fast)
EMPTY_HOOK(pin_user_pages_remote)
EMPTY_HOOK(pin_user_pages_unlocked)
EMPTY_HOOK(memfd_pin_folios)

/* The time and the list are there at the begin alone, what came of it at the end. */
EMPTY_HOOK_ON("fentry", migrate_pages)
EMPTY_HOOK_ON("tp_btf", mm_migrate_pages)
