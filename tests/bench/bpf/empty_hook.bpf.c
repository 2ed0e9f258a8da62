// SPDX-License-Identifier: GPL-2.0-only
/* The least that a hook on the pin functions costs: programs that do nothing. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define EMPTY_HOOK(function)                                                                       \
	SEC("?fexit/" #function)                                                                   \
	int function(void *ctx)                                                                    \
	{                                                                                          \
		return 0;                                                                          \
	}

EMPTY_HOOK(pin_user_pages)
EMPTY_HOOK(pin_user_pages_fast)
EMPTY_HOOK(pin_user_pages_remote)
EMPTY_HOOK(pin_user_pages_unlocked)
EMPTY_HOOK(memfd_pin_folios)
