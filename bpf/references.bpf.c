// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who took plain references to pages through get_user_pages_fast(), which direct
 * I/O does before v6.5. Loaded only when asked for: it costs every such call.
 * When a reference is put is not followed.
 */
#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "events.h"
#include "folio.h"

char LICENSE[] SEC("license") = "GPL";

/* By the low bits of the pfn: who came last. */
struct taken_reference taken_references[PINWATCH_TAKEN_REFERENCES];

/* When a call was last not noted to its end: who came before need not be the last. */
__u64 references_left_out_ns;

/*
 * Notes the page at that address. A slot is void while it is written, so that
 * nobody is taken for another.
 */
__noinline int note_reference(__u64 page)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct taken_reference *slot;
	const __u64 vmemmap = vmemmap_start();
	struct task_struct *leader = 0;
	__u64 pfn = (page - vmemmap) / STRUCT_PAGE, word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), (char *)page + compound_head_offset());
	if (word & 1)
		pfn = head_pfn_by(vmemmap, pfn, word);
	slot = &taken_references[pfn & (PINWATCH_TAKEN_REFERENCES - 1)];
	*(volatile __u64 *)&slot->pfn = 0;
	bpf_probe_read_kernel(&leader, sizeof(leader), &task->group_leader);
	bpf_probe_read_kernel(&slot->start_ns, sizeof(slot->start_ns), &leader->start_boottime);
	bpf_probe_read_kernel(slot->comm, sizeof(slot->comm), &leader->comm);
	slot->tgid = bpf_get_current_pid_tgid() >> 32;
	slot->taken_ns = bpf_ktime_get_ns();
	*(volatile __u64 *)&slot->pfn = pfn;
	return 0;
}

/* start, nr_pages, gup_flags, pages; returns an int */
SEC("?fexit/get_user_pages_fast")
int references__fexit(__u64 *ctx)
{
	const __s32 returned = (__s32)ctx[4];
	__u64 pages = 0, page;

	if (returned <= 0)
		return 0;
	/* As a number: the verifier knows no pointers to pointers. */
	bpf_probe_read_kernel(&pages, sizeof(pages), ctx + 3);
	for (__u32 i = 0; i < PINWATCH_REFERENCES_A_CALL; i++) {
		if (i >= (__u32)returned)
			return 0;
		if (bpf_probe_read_kernel(&page, sizeof(page), (void *)(pages + i * sizeof(page))))
			return 0;
		note_reference(page);
	}
	if (returned > PINWATCH_REFERENCES_A_CALL)
		references_left_out_ns = bpf_ktime_get_ns();
	return 0;
}
