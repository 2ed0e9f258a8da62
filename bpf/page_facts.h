/* SPDX-License-Identifier: GPL-2.0-only */
/* What a struct page says that explains why it does not move. */
#ifndef PINWATCH_PAGE_FACTS_H
#define PINWATCH_PAGE_FACTS_H

#include "folio.h"

static __always_inline __u64 pfn_of(__u64 page)
{
	return (page - vmemmap_start()) / STRUCT_PAGE;
}

#define FLAG_IF(flags, flag, fact) ((flags)&PG(flag) ? (fact) : 0)

/* The file of a page in the page cache. */
static __always_inline void read_file(__u64 mapping, struct page_facts *facts)
{
	struct address_space *space = (struct address_space *)mapping;
	struct inode *inode = NULL;
	struct super_block *sb = NULL;
	__u64 magic = 0;

	bpf_probe_read_kernel(&inode, sizeof(inode), &space->host);
	bpf_probe_read_kernel(&facts->ino, sizeof(facts->ino), &inode->i_ino);
	bpf_probe_read_kernel(&sb, sizeof(sb), &inode->i_sb);
	bpf_probe_read_kernel(&facts->dev, sizeof(facts->dev), &sb->s_dev);
	bpf_probe_read_kernel(&magic, sizeof(magic), &sb->s_magic);
	facts->fs_magic = magic;
}

static __always_inline void read_cgroup_id(const struct mem_cgroup *memcg, struct page_facts *facts)
{
	struct kernfs_node *node = NULL;
	struct cgroup *cgroup = NULL;

	facts->cgroup = 0;
	facts->flags |= PAGE_FACT_CGROUP;
	if (!memcg)
		return;
	bpf_probe_read_kernel(&cgroup, sizeof(cgroup), &memcg->css.cgroup);
	bpf_probe_read_kernel(&node, sizeof(node), &cgroup->kn);
	if (bpf_probe_read_kernel(&facts->cgroup, sizeof(facts->cgroup), &node->id))
		facts->flags &= ~PAGE_FACT_CGROUP;
}

#define HAS_MEMCG_DATA bpf_core_field_exists(((struct page *)0)->memcg_data)
#define HAS_MEM_CGROUP bpf_core_field_exists(((struct page___v5_10 *)0)->mem_cgroup)

/* By which a page has its memory cgroup; 0 where there are none. */
static __always_inline __u64 memcg_word(const char *page)
{
	if (HAS_MEMCG_DATA)
		return FIELD_IF_THERE(__u64, page, ((struct page *)0)->memcg_data);
	if (HAS_MEM_CGROUP)
		return FIELD_IF_THERE(__u64, page, ((struct page___v5_10 *)0)->mem_cgroup);
	return 0;
}

/* The memory cgroup that the page is charged to, by its head. */
static __always_inline void read_cgroup(const char *page, struct page_facts *facts)
{
	__u64 word = memcg_word(page), memcg;

	if (!HAS_MEMCG_DATA && !HAS_MEM_CGROUP)
		return;
	/* What else has another type may use the word for itself. */
	if (word & MEMCG_SLAB || facts->kind == KIND_SLAB || facts->kind == KIND_BUDDY)
		word = 0;
	memcg = word & ~MEMCG_FLAGS;
	if (memcg && (word & MEMCG_KERNEL ||
		      bpf_core_field_exists(((struct obj_cgroup___v7_3 *)0)->is_root))) {
		struct obj_cgroup *charged = (struct obj_cgroup *)memcg;

		if (bpf_probe_read_kernel(&memcg, sizeof(memcg), &charged->memcg))
			return;
	}
	read_cgroup_id((struct mem_cgroup *)memcg, facts);
}

/* False, and nothing written, where the page cannot be read. */
static __always_inline bool read_page_facts(__u64 pfn, struct page_facts *facts)
{
	__u64 vmemmap = vmemmap_start();
	char pair[2 * STRUCT_PAGE];
	__u64 head_pfn = pfn, flags, mapping;
	__u32 order = 0;
	__s32 mapcount;

	if (bpf_probe_read_kernel(pair, sizeof(pair), (void *)(vmemmap + pfn * STRUCT_PAGE)))
		return false;
	if ((page_flags(pair) & PG(PG_head) || compound_head_of(pair) & 1) &&
	    !find_folio(vmemmap, pair, pfn, &head_pfn, &order)) {
		head_pfn = pfn;
		order = 0;
	}
	flags = page_flags(pair);
	mapping = FIELD(__u64, pair, ((struct page *)0)->mapping);
	mapcount = FIELD(__s32, pair, ((struct page *)0)->_mapcount.counter);
	facts->head_pfn = head_pfn;
	facts->order = order;
	facts->refcount = FIELD(__s32, pair, ((struct page *)0)->_refcount.counter);
	facts->pincount = order ? folio_pincount(vmemmap, pair, head_pfn, order) : 0;
	facts->kind = kind_of(mapcount, flags);
	/* Up to v6.5 a folio's kind stands in its first tail. */
	if (order && facts->kind == KIND_NONE && is_hugetlb(pair, KIND_NONE))
		facts->kind = KIND_HUGETLB;
	facts->mapcount = order || facts->kind != KIND_NONE ? -1 : mapcount + 1;
	facts->mapping = mapping & MAPPING_BITS ? mapping & MAPPING_BITS
			 : mapping		? PAGE_MAPPING_FILE
						: PAGE_MAPPING_NONE;
	facts->flags = FLAG_IF(flags, PG_locked, PAGE_FACT_LOCKED) |
		       FLAG_IF(flags, PG_writeback, PAGE_FACT_WRITEBACK) |
		       FLAG_IF(flags, PG_dirty, PAGE_FACT_DIRTY) |
		       FLAG_IF(flags, PG_reserved, PAGE_FACT_RESERVED) |
		       FLAG_IF(flags, PG_hwpoison, PAGE_FACT_POISONED) |
		       FLAG_IF(flags, PG_swapcache, PAGE_FACT_SWAPCACHE) |
		       (flags & (PG(PG_private) | PG(PG_private_2)) ? PAGE_FACT_PRIVATE : 0);
	facts->ino = facts->dev = facts->fs_magic = 0;
	facts->cgroup = 0;
	read_cgroup(pair, facts);
	if (facts->mapping == PAGE_MAPPING_FILE && facts->kind == KIND_NONE)
		read_file(mapping, facts);
	return true;
}

#endif
