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
 * Notes the page at that address. Two who write the same slot at once, even one
 * who interrupts the other, leave one that its check gives away.
 */
__noinline int note_reference(__u64 page)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	const __u64 vmemmap = vmemmap_start();
	struct taken_reference taken = {
		.pfn = (page - vmemmap) / STRUCT_PAGE,
		.taken_ns = bpf_ktime_get_ns(),
		.tgid = bpf_get_current_pid_tgid() >> 32,
	};
	struct task_struct *leader = 0;
	__u64 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), (char *)page + compound_head_offset());
	if (word & 1)
		taken.pfn = head_pfn_by(vmemmap, taken.pfn, word);
	bpf_probe_read_kernel(&leader, sizeof(leader), &task->group_leader);
	bpf_probe_read_kernel(&taken.start_ns, sizeof(taken.start_ns), &leader->start_boottime);
	bpf_probe_read_kernel(taken.comm, sizeof(taken.comm), &leader->comm);
	taken.check = check_of(&taken);
	taken_references[taken.pfn & (PINWATCH_TAKEN_REFERENCES - 1)] = taken;
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
