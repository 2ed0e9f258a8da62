// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finds pages in pipes: vmsplice(2) and splice(2) put references there that are
 * no pins, so that nothing but the pipe itself tells who holds them. It runs
 * when the daemon asks, over all open files.
 */
#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "events.h"
#include "page_facts.h"

char LICENSE[] SEC("license") = "GPL";

/* Set by the daemon. */
const volatile __u64 pipefifo_fops_at;
/* Of pipes without a name, from v6.14 on; 0 before. */
const volatile __u64 pipeanon_fops_at;

/* The pages that are searched for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PINWATCH_MAX_SEARCHED);
	__type(key, __u64);
	__type(value, __u8);
} searched_pfns SEC(".maps");

/* Pipes with more buffers than are looked at. */
__u64 pipes_cut_short;

static __always_inline bool is_searched(__u64 vmemmap, __u64 page, __u64 *pfn)
{
	__u64 word = 0;

	*pfn = (page - vmemmap) / STRUCT_PAGE;
	if (bpf_map_lookup_elem(&searched_pfns, pfn))
		return true;
	bpf_probe_read_kernel(&word, sizeof(word), (char *)page + compound_head_offset());
	if (!(word & 1))
		return false;
	*pfn = head_pfn_by(vmemmap, *pfn, word);
	return bpf_map_lookup_elem(&searched_pfns, pfn);
}

SEC("?iter/task_file")
int pipes__iter(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct pipe_page found = {};
	struct pipe_inode_info *pipe;
	struct task_struct *leader;
	__u64 vmemmap, bufs, fops;
	__u32 i, nr_bufs;

	if (!task || !file)
		return 0;
	bpf_probe_read_kernel(&fops, sizeof(fops), &file->f_op);
	if (!fops || (fops != pipefifo_fops_at && fops != pipeanon_fops_at))
		return 0;
	bpf_probe_read_kernel(&pipe, sizeof(pipe), &file->private_data);
	bpf_probe_read_kernel(&nr_bufs, sizeof(nr_bufs), &pipe->ring_size);
	bpf_probe_read_kernel(&bufs, sizeof(bufs), &pipe->bufs);
	if (nr_bufs > PINWATCH_PIPE_BUFFERS)
		__sync_fetch_and_add(&pipes_cut_short, 1);
	vmemmap = vmemmap_start();
	bpf_probe_read_kernel(&leader, sizeof(leader), &task->group_leader);
	bpf_probe_read_kernel(&found.tgid, sizeof(found.tgid), &task->tgid);
	bpf_probe_read_kernel(&found.start_ns, sizeof(found.start_ns), &leader->start_boottime);
	bpf_probe_read_kernel(found.comm, sizeof(found.comm), &leader->comm);
	found.fd = ctx->fd;
	for (i = 0; i < PINWATCH_PIPE_BUFFERS; i++) {
		struct pipe_buffer *buf;
		__u64 page = 0, ops = 0;

		if (i >= nr_bufs)
			break;
		buf = (struct pipe_buffer *)(bufs + i * bpf_core_type_size(struct pipe_buffer));
		bpf_probe_read_kernel(&ops, sizeof(ops), &buf->ops);
		bpf_probe_read_kernel(&page, sizeof(page), &buf->page);
		/* A buffer that was read to its end keeps its page's address. */
		if (ops && page && is_searched(vmemmap, page, &found.pfn))
			bpf_seq_write(ctx->meta->seq, &found, sizeof(found));
	}
	return 0;
}
