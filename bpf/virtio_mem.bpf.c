// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the host asks the devices of virtio-mem to have, which the driver keeps to
 * itself. It registers each device in the chain of those who are told when
 * memory goes online or offline, and that chain the kernel has by name.
 */
#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "events.h"

char LICENSE[] SEC("license") = "GPL";

struct virtio_mem_chain virtio_mem_chain;

static __always_inline bool read_number(__u64 *to, __u64 at)
{
	return !bpf_probe_read_kernel(to, sizeof(*to), (void *)at);
}

/*
 * Most in the chain are no devices of virtio-mem: whoever asks knows where these
 * have their memory. What changes meanwhile may be missed.
 */
SEC("raw_tp")
int virtio_mem__chain(struct virtio_mem_request *request)
{
	const __u64 notifier = request->notifier_offset, start = request->start_offset;
	const __u64 size = request->size_offset, requested = request->requested_offset;
	__u64 at = 0;

	virtio_mem_chain.count = virtio_mem_chain.incomplete = 0;
	if (!read_number(&at, request->chain_at +
				      bpf_core_field_offset(struct blocking_notifier_head, head)))
		return -1;
	for (int i = 0; at && i < PINWATCH_NOTIFIERS; i++) {
		struct virtio_mem_state *device = &virtio_mem_chain.devices[i];
		const __u64 base = at - notifier;

		if (!read_number(&device->start, base + start) ||
		    !read_number(&device->size, base + size) ||
		    !read_number(&device->requested, base + requested))
			device->size = 0;
		virtio_mem_chain.count = i + 1;
		if (!read_number(&at, at + bpf_core_field_offset(struct notifier_block, next)))
			return -1;
	}
	virtio_mem_chain.incomplete = at != 0;
	return 0;
}
