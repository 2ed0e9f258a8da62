/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel types the programs read, and of each only the fields they read;
 * libbpf finds the real offsets in the running kernel's BTF. A suffix such as
 * ___v6_1 marks the layout of an older kernel. This list is what pinwatch
 * depends on.
 */
#ifndef PINWATCH_KERNEL_H
#define PINWATCH_KERNEL_H

#include <linux/bpf.h>
#include <stdbool.h>

/* Of x86-64; the build refuses other architectures. */
#define STRUCT_PAGE 64	 /* bytes; the daemon checks that the kernel agrees */
#define SECTION_SHIFT 15 /* pages of a section, as a shift: 128 MiB */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__s64 counter;
} atomic64_t;

struct mm_struct;

struct list_head {
	struct list_head *next;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct mem_cgroup {
	struct cgroup_subsys_state css;
};

struct obj_cgroup {
	struct mem_cgroup *memcg;
};

/* Linux v7.3 charges all pages to one of these; before, only the kernel's own. */
struct obj_cgroup___v7_3 {
	bool is_root;
};

struct super_block {
	__u32 s_dev;
	unsigned long s_magic;
};

struct inode {
	struct super_block *i_sb;
	unsigned long i_ino;
};

struct address_space {
	struct inode *host;
};

struct page {
	unsigned long flags;
	unsigned long compound_head;
	struct list_head lru;
	struct address_space *mapping;
	unsigned long private;
	unsigned long memcg_data; /* with CONFIG_MEMCG, from v5.11 on */
	atomic_t _mapcount;	  /* shares its word with page_type */
	atomic_t _refcount;
};

/* Linux v6.18 wrapped the flags of a page in a struct. */
typedef struct {
	unsigned long f;
} memdesc_flags_t___v6_18;

struct page___v6_18 {
	memdesc_flags_t___v6_18 flags;
};

/* Linux v7.0 renamed compound_head: it may hold a mask instead. */
struct page___v7_0 {
	unsigned long compound_info;
};

/* The head's order and destructor stand in the first tail page up to v6.5. */
struct page___v6_1 {
	unsigned char compound_dtor;
	unsigned char compound_order;
};

struct page___v5_10 {
	/* Pins of a large folio, in the second tail page up to v5.17. */
	atomic_t hpage_pinned_refcount;
	struct mem_cgroup *mem_cgroup;
};

struct folio {
	unsigned long _flags_1; /* the order is its low byte from v6.6 on */
	atomic_t _pincount;
};

struct file {
	const void *f_op;
	void *private_data;
};

struct pipe_buffer {
	struct page *page;
	const void *ops; /* null: the buffer is not in use */
};

struct pipe_inode_info {
	unsigned int ring_size;
	struct pipe_buffer *bufs;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

struct mem_section_usage {
	unsigned long pageblock_flags[0];
};

struct mem_section {
	unsigned long section_mem_map;
	struct mem_section_usage *usage;
};

struct per_cpu_nodestat {
	__s8 vm_node_stat_diff[0];
};

/* What long-term calls have pinned and may not keep where it is, from Linux v6.11 on. */
struct pages_or_folios {
	void **entries;
	long nr_entries;
};

struct resource {
	__u64 start;
	__u64 end; /* its last byte */
	const char *name;
	struct resource *sibling;
	struct resource *child;
};

struct notifier_block {
	struct notifier_block *next;
};

struct blocking_notifier_head {
	struct notifier_block *head;
};

struct pglist_data {
	struct per_cpu_nodestat *per_cpu_nodestats;
	atomic64_t vm_stat[0];
};

struct task_struct {
	struct task_struct *group_leader;
	struct mm_struct *mm;
	__u64 start_boottime;
	unsigned long min_flt;
	unsigned long maj_flt;
	int tgid;
	char comm[16];
};

struct mm_struct {
	void *pgd;
	struct task_struct *owner; /* with CONFIG_MEMCG */
};

struct device {
	int id; /* never read: only where the struct stands matters */
};

struct memory_block {
	unsigned long start_section_nr;
	struct device dev;
};

#pragma clang attribute pop

/* Their values differ between kernels: read through bpf_core_enum_value(). */
enum pageflags {
	PG_dirty = 4,
	PG_head = 16,
	PG_hwpoison = 23,
	PG_locked = 0,
	PG_lru = 5,
	PG_private = 13,
	PG_private_2 = 14,
	PG_reserved = 12,
	PG_swapcache = 10,
	PG_writeback = 15,
};

enum pageflags___v6_1 {
	PG_slab___v6_1 = 9,
};

/*
 * From Linux v6.12 on page_type is a number in the top byte; before it was a
 * set of inverted bits, see below.
 */
enum pagetype {
	PGTY_buddy = 0xf0,
	PGTY_offline = 0xf1,
	PGTY_table = 0xf2,
	PGTY_hugetlb = 0xf4,
	PGTY_slab = 0xf5,
	PGTY_zsmalloc = 0xf6,
};

/* Flags in page->memcg_data. Not all of them are in every kernel's BTF. */
#define MEMCG_SLAB 1UL	 /* it points to what the slab's objects are charged to */
#define MEMCG_KERNEL 2UL /* to an obj_cgroup */
#define MEMCG_FLAGS 7UL

/* Not in BTF: bits that are clear in a page_type of an older kernel. */
enum page_type___v6_1 {
	PAGE_TYPE_BASE___v6_1 = 0xf0000000,
	PG_BUDDY___v6_1 = 0x80,
	PG_OFFLINE___v6_1 = 0x100,
	PG_TABLE___v6_1 = 0x200,
};

enum compound_dtor_id {
	HUGETLB_PAGE_DTOR = 2,
};

enum pageblock_bits {
	PB_migrate_isolate = 4,
};

enum migratetype {
	MIGRATE_CMA = 3,
	MIGRATE_ISOLATE = 4,
};

enum migrate_reason {
	MR_MEMORY_HOTPLUG = 2,
	MR_LONGTERM_PIN = 7,
};

enum zone_type {
	ZONE_MOVABLE = 3,
};

enum node_stat_item {
	NR_FOLL_PIN_ACQUIRED = 32,
	NR_FOLL_PIN_RELEASED = 33,
};

#endif
