// SPDX-License-Identifier: GPL-2.0-only
/*
 * The census: what stands in the struct pages of a stretch of memory, and how
 * many pins they carry. It runs when the daemon asks (BPF_PROG_TEST_RUN), so
 * it costs nobody else anything. Its rules are those of docs/architecture.md.
 */
#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "events.h"
#include "page_facts.h"
#include "pageblock.h"

char LICENSE[] SEC("license") = "GPL";

/* x86-64; the build refuses other architectures. */
#define MAX_ORDER 10 /* of a free range */
/* Flag bits of section_mem_map; the address proper begins above them. */
#define SECTION_IS_ONLINE (1UL << 2)

/* struct pages fetched by one read: 8 KiB of them. */
#define BULK 128

/* What the loop of node_counters__bounded can count; the verifier goes through all. */
#define BOUNDED_CPUS 2048

/* Set by the daemon from the kernel's BTF: where flags hold node and zone. */
const volatile __u32 nid_shift = 54;
const volatile __u32 zone_shift = 51;
const volatile __u32 zone_mask = 7;

const volatile __u64 node_data_at;
const volatile __u64 per_cpu_offset_at;
const volatile __u64 iomem_resource_at;

/* One run at a time: the daemon's thread is the only one that asks. */
struct census_result census_result;
struct node_counters node_counters;
__u64 asked_pfns[PINWATCH_ASKED_PAGES];
struct page_facts asked_pages[PINWATCH_ASKED_PAGES];
struct memory_devices memory_devices;
char page_bulk[BULK * STRUCT_PAGE];
char page_pair[2 * STRUCT_PAGE];

/* The pages of the run that are listed: census_result.nr_listed of them. */
struct census_page census_pages[PINWATCH_CENSUS_PAGES];

/*
 * Of the pinned page at hand what is known only where it is classified. Here
 * and not in struct walk, where each value would be a state of its own to the
 * verifier.
 */
struct census_page pinned_page;

/* The fields of a struct page that the census goes by. */
struct page_view {
	__u64 flags;
	__u64 compound_head;
	__u64 mapping;
	__u64 order;	/* of a free range, when it is one */
	__s32 mapcount; /* raw: -1 is none; shared with the page type */
	__s32 refcount;
};

struct walk {
	__u64 pfn;
	__u64 end_pfn;
	__u64 vmemmap;
	__u64 bulk_start; /* first pfn in page_bulk */
	__u64 usage;	  /* struct mem_section_usage of the section */
	/* Masks of page flags, made once: a flag's number is known only at load. */
	__u64 rare_flags;    /* settle a page's class, and few have one */
	__u64 private_flags; /* private data, which holds a reference */
	__u64 swapcache_flag;
	__u64 lru_flag;
	/* What a page at rest has in its flags, and the bits of them that tell. */
	__u64 rest_flags;
	__u64 rest_mask;
	__u64 pageblock; /* number of the pageblock that migratetype is of */
	__u32 migratetype;
	__u32 zone_id; /* nid and zone of the first page, as in its flags */
};

static __always_inline struct page_view view_of(const char *page)
{
	return (struct page_view){
		.flags = page_flags(page),
		.compound_head = compound_head_of(page),
		.mapping = FIELD(__u64, page, ((struct page *)0)->mapping),
		.order = FIELD(__u64, page, ((struct page *)0)->private),
		.mapcount = FIELD(__s32, page, ((struct page *)0)->_mapcount.counter),
		.refcount = FIELD(__s32, page, ((struct page *)0)->_refcount.counter),
	};
}

static __always_inline bool is_user_page(const struct page_view *page)
{
	/* Anonymous and KSM pages carry the anon bit; a file's mapping is a bare pointer. */
	return page->mapping & PAGE_MAPPING_ANON ||
	       (page->mapping && !(page->mapping & MAPPING_BITS));
}

/*
 * A user page of order 0. What its mappings, the page or swap cache and private
 * data explain is no pin; a pin is 1,024 references of what remains.
 */
static __always_inline enum page_class
classify_user_page(const struct walk *walk, const struct page_view *page, struct census_cell *cell)
{
	__s64 surplus = (__s64)page->refcount - (page->mapcount + 1);
	__u64 pins, rest;

	if (!(page->mapping & PAGE_MAPPING_ANON) || page->flags & walk->swapcache_flag)
		surplus--;
	if (page->flags & walk->private_flags)
		surplus--;
	if (surplus <= 0)
		return PAGE_MOVABLE;
	/* In a CPU's batch on its way to an LRU list, which is emptied for migration. */
	if (surplus == 1 && !(page->flags & walk->lru_flag))
		return PAGE_MOVABLE;
	pins = (__u64)surplus / PINWATCH_PIN_BIAS;
	if (!pins)
		return PAGE_ELEVATED;
	pinned_page.pins = pins;
	rest = (__u64)surplus % PINWATCH_PIN_BIAS;
	if (rest > PINWATCH_PIN_SLACK) {
		cell->loose_pin_refs += pins;
		return PAGE_PINNED_LOOSE;
	}
	cell->exact_pin_refs += pins;
	return PAGE_PINNED_EXACT;
}

static __always_inline enum page_class classify_small_page(const struct walk *walk,
							   const struct page_view *page,
							   enum page_kind kind,
							   struct census_cell *cell)
{
	if (page->refcount <= 0)
		return kind == KIND_NONE ? PAGE_FREE : PAGE_KERNEL;
	if (kind == KIND_NONE && is_user_page(page))
		return classify_user_page(walk, page, cell);
	if (page->refcount >= PINWATCH_PIN_BIAS)
		return PAGE_BIASED;
	if (kind == KIND_NONE && (page->mapping & MAPPING_BITS) == PAGE_MAPPING_MOVABLE_OPS)
		return PAGE_MOVABLE;
	return PAGE_KERNEL;
}

/*
 * A page of a large folio: counts all of it that lies before the end of the
 * look in one step. Its pins count where its head stands.
 */
static __always_inline enum page_class classify_large_folio(struct walk *walk, __u64 *nr_pages,
							    struct census_cell *cell)
{
	char *pair = page_pair;
	struct page_view head;
	enum page_kind kind;
	__u64 head_pfn;
	__s32 pincount;
	__u32 order;

	if (bpf_probe_read_kernel(pair, 2 * STRUCT_PAGE,
				  (void *)(walk->vmemmap + walk->pfn * STRUCT_PAGE)))
		return PAGE_UNSTABLE;
	if (!find_folio(walk->vmemmap, pair, walk->pfn, &head_pfn, &order))
		return PAGE_UNSTABLE;
	head = view_of(pair);

	*nr_pages = head_pfn + (1UL << (order & 31)) - walk->pfn;
	kind = kind_of(head.mapcount, head.flags);
	pincount = folio_pincount(walk->vmemmap, pair, head_pfn, order);
	if (pincount > 0 && head.refcount >= pincount) {
		pinned_page.head_pfn = head_pfn;
		pinned_page.pins = pincount;
		pinned_page.refcount = head.refcount;
		pinned_page.order = order;
		pinned_page.flags = CENSUS_PAGE_LARGE |
				    (head.mapping & PAGE_MAPPING_ANON ? CENSUS_PAGE_ANON : 0);
		if (head_pfn == walk->pfn)
			cell->large_pin_refs += pincount;
		return PAGE_PINNED_LARGE;
	}
	if (head.flags & PG(PG_hwpoison))
		return PAGE_POISONED;
	if (is_hugetlb(pair, kind))
		return PAGE_HUGETLB;
	if (kind == KIND_NONE && is_user_page(&head))
		return PAGE_MOVABLE;
	return head.refcount >= PINWATCH_PIN_BIAS ? PAGE_BIASED : PAGE_KERNEL;
}

/*
 * Up to v5.17 the zero page, which is reserved, is pinned and counted like any
 * other, and its mappings hold no references.
 */
static __always_inline enum page_class classify_reserved_page(const struct page_view *page,
							      struct census_cell *cell)
{
	const bool pins_zero_page =
		bpf_core_field_exists(((struct page___v5_10 *)0)->hpage_pinned_refcount);
	__u64 surplus = page->refcount > 0 ? page->refcount - 1 : 0;

	if (!pins_zero_page || surplus < PINWATCH_PIN_BIAS ||
	    surplus % PINWATCH_PIN_BIAS > PINWATCH_PIN_SLACK)
		return PAGE_RESERVED;
	pinned_page.pins = surplus / PINWATCH_PIN_BIAS;
	cell->exact_pin_refs += pinned_page.pins;
	return PAGE_PINNED_EXACT;
}

static __always_inline enum page_class classify(struct walk *walk, const struct page_view *page,
						__u64 *nr_pages, struct census_cell *cell)
{
	enum page_kind kind = kind_of(page->mapcount, page->flags);

	if (kind == KIND_BUDDY) {
		/* The order is read without the zone's lock: believe it only if it fits. */
		if (page->order <= MAX_ORDER && !(walk->pfn & ((1UL << page->order) - 1)))
			*nr_pages = 1UL << page->order;
		return PAGE_FREE;
	}
	if (kind == KIND_OFFLINE)
		return PAGE_OFFLINE;
	if (page->flags & PG(PG_head) || page->compound_head & 1)
		return classify_large_folio(walk, nr_pages, cell);
	if (page->flags & PG(PG_hwpoison))
		return PAGE_POISONED;
	if (page->flags & PG(PG_reserved))
		return classify_reserved_page(page, cell);
	return classify_small_page(walk, page, kind, cell);
}

/* Of order 0 and with a mapcount: most pages in use. */
static __always_inline bool is_plain(const struct walk *walk, const struct page_view *page)
{
	return page->mapcount >= -1 && !(page->flags & walk->rare_flags) &&
	       !(page->compound_head & 1);
}

/* Pages of each class that the run has listed. */
__u32 nr_listed_of[16];
_Static_assert(NR_PAGE_CLASSES <= 16, "a class has no counter");

/*
 * Lists a page that is neither free nor movable: always where there may be a
 * pin, of the other classes the first ones. Not static, so that the verifier
 * goes through it once and not for every way that leads to it.
 */
__noinline int list_page(__u64 pfn, __u32 class, __u64 nr_pages, __s32 refcount, __u32 flags)
{
	struct census_result *result = &census_result;
	struct census_page *listed;
	__u32 at = result->nr_listed;

	if (at >= PINWATCH_CENSUS_PAGES)
		return 0;
	if (nr_listed_of[class & 15] >= PINWATCH_LISTED_PER_CLASS && class != PAGE_PINNED_LARGE &&
	    class != PAGE_PINNED_EXACT && class != PAGE_PINNED_LOOSE && class != PAGE_BIASED &&
	    class != PAGE_UNSTABLE)
		return 0;
	nr_listed_of[class & 15]++;
	barrier_var(at);
	listed = &census_pages[at & (PINWATCH_CENSUS_PAGES - 1)];
	if (class == PAGE_PINNED_LARGE) {
		*listed = pinned_page;
	} else {
		listed->head_pfn = pfn;
		listed->pins = class == PAGE_PINNED_EXACT || class == PAGE_PINNED_LOOSE
				       ? pinned_page.pins
				       : 0;
		listed->refcount = refcount;
		listed->order = 0;
		listed->flags = 0;
	}
	listed->flags |= flags;
	listed->pfn = pfn;
	listed->nr_pages = nr_pages;
	listed->page_class = class;
	result->nr_listed = at + 1;
	return 0;
}

/* Of a large folio that is pinned, its own flags are known already. */
static __always_inline __u32 list_flags(const struct walk *walk, const struct page_view *page,
					enum page_class class)
{
	__u32 flags = 0;

	if (bpf_core_enum_value_exists(enum migratetype, MIGRATE_CMA) &&
	    walk->migratetype == bpf_core_enum_value(enum migratetype, MIGRATE_CMA))
		flags |= CENSUS_PAGE_CMA;
	if (class != PAGE_PINNED_LARGE && page->mapping & PAGE_MAPPING_ANON)
		flags |= CENSUS_PAGE_ANON;
	if (class != PAGE_PINNED_LARGE && page->mapcount >= 0)
		flags |= CENSUS_PAGE_MAPPED;
	return flags;
}

/* Sees to it that page_bulk has the page at walk->pfn, and migratetype is that of its pages. */
static __always_inline bool fill_bulk(struct walk *walk)
{
	if (walk->pfn - walk->bulk_start < BULK)
		return true;
	walk->bulk_start = walk->pfn & ~(BULK - 1UL);
	if (bpf_probe_read_kernel(page_bulk, sizeof(page_bulk),
				  (void *)(walk->vmemmap + walk->bulk_start * STRUCT_PAGE)))
		return false;
	/* A bulk lies within one pageblock. */
	if (walk->pfn >> PAGEBLOCK_SHIFT != walk->pageblock) {
		walk->pageblock = walk->pfn >> PAGEBLOCK_SHIFT;
		walk->migratetype = migratetype_of(walk->pfn, walk->usage);
	}
	return true;
}

/*
 * A user page of order 0 with its own references and no more, as most pages in
 * use are: told with as few loads as can be. classify() says the same of it.
 */
static __always_inline bool is_at_rest(const struct page_view *page, __u64 mask, __u64 flags)
{
	__s32 references = page->mapcount + 1;

	if ((page->flags & mask) != flags || page->compound_head & 1)
		return false;
	if (!(page->mapping & PAGE_MAPPING_ANON)) {
		if (!page->mapping || page->mapping & MAPPING_BITS)
			return false;
		references++;
	}
	return page->refcount > 0 && page->refcount == references;
}

/* Counts the pages at rest that come next, up to the end of the bulk. */
static __always_inline void pass_pages_at_rest(struct walk *walk, struct census_cell *cell)
{
	const __u64 mask = walk->rest_mask, flags = walk->rest_flags;
	const __u64 first = (walk->pfn & (BULK - 1)) * STRUCT_PAGE;
	__u64 at = first, nr_pages, most;

	for (;;) {
		struct page_view page;

		barrier_var(at);
		if (at > sizeof(page_bulk) - STRUCT_PAGE)
			break;
		page = view_of(&page_bulk[at]);
		if (!is_at_rest(&page, mask, flags))
			break;
		at += STRUCT_PAGE;
	}
	if (at == first)
		return;
	nr_pages = (at - first) / STRUCT_PAGE;
	most = walk->end_pfn - walk->pfn;
	if (nr_pages > most)
		nr_pages = most;
	cell->pages[PAGE_MOVABLE] += nr_pages;
	census_result.steps += nr_pages;
	walk->pfn += nr_pages;
	/* Or the verifier would go on from here once for each page that may be the first. */
	barrier();
}

static __always_inline long census_step(struct walk *walk)
{
	struct census_result *result = &census_result;
	struct page_view page;
	enum page_class class;
	struct census_cell *cell;
	__u64 nr_pages = 1;

	if (walk->pfn >= walk->end_pfn)
		return 1;
	if (!fill_bulk(walk)) {
		result->status = CENSUS_ABSENT;
		return 1;
	}
	cell = &result->cells[walk->migratetype & (PINWATCH_MAX_MIGRATETYPES - 1)];
	pass_pages_at_rest(walk, cell);
	if (walk->pfn - walk->bulk_start >= BULK || walk->pfn >= walk->end_pfn)
		return 0;

	page = view_of(&page_bulk[(walk->pfn & (BULK - 1)) * STRUCT_PAGE]);
	if ((__u32)(page.flags >> zone_shift) != walk->zone_id)
		return 1;
	if (is_plain(walk, &page)) {
		class = classify_small_page(walk, &page, KIND_NONE, cell);
	} else {
		class = classify(walk, &page, &nr_pages, cell);
		if (nr_pages > walk->end_pfn - walk->pfn)
			nr_pages = walk->end_pfn - walk->pfn;
	}
	if (class < NR_PAGE_CLASSES) {
		if (class > PAGE_MOVABLE &&
		    (class < PAGE_ELEVATED || class == PAGE_BIASED || class == PAGE_UNSTABLE ||
		     cell->pages[class] < PINWATCH_LISTED_PER_CLASS))
			list_page(walk->pfn, class, nr_pages, page.refcount,
				  list_flags(walk, &page, class));
		cell->pages[class] += nr_pages;
	}
	walk->pfn += nr_pages;
	result->steps++;
	return 0;
}

/* False where there is nothing to walk through. */
static __always_inline bool census_begins(const struct census_request *request, struct walk *walk)
{
	struct census_result *result = &census_result;
	__u64 flags;

	*walk = (struct walk){
		.pfn = request->start_pfn,
		.end_pfn = request->end_pfn,
		.bulk_start = -(__u64)BULK, /* none: every pfn is BULK or more on from it */
		.pageblock = -1UL,
		.rare_flags = PG(PG_head) | PG(PG_hwpoison) | PG(PG_reserved) | SLAB_FLAG,
		.private_flags = PG(PG_private) | PG(PG_private_2),
		.swapcache_flag = PG(PG_swapcache),
		.lru_flag = PG(PG_lru),
	};
	__builtin_memset(result->cells, 0, sizeof(result->cells));
	result->steps = 0;
	result->nr_listed = 0;
	__builtin_memset(nr_listed_of, 0, sizeof(nr_listed_of));
	result->status = CENSUS_ABSENT;
	result->next_pfn = walk->end_pfn;
	walk->vmemmap = vmemmap_start();
	if (!walk->vmemmap || !(section_flags(walk->pfn, &walk->usage) & SECTION_IS_ONLINE))
		return false;
	/* The run is of the zone that its first page is in. */
	if (!fill_bulk(walk))
		return false;
	flags = page_flags(&page_bulk[(walk->pfn & (BULK - 1)) * STRUCT_PAGE]);
	walk->zone_id = flags >> zone_shift;
	walk->rest_flags = flags >> zone_shift << zone_shift;
	walk->rest_mask =
		-1UL << zone_shift | walk->rare_flags | walk->private_flags | walk->swapcache_flag;
	result->status = CENSUS_OK;
	return true;
}

static __always_inline int census_ends(struct walk *walk)
{
	struct census_result *result = &census_result;

	result->next_pfn = walk->pfn;
	result->nid = walk->zone_id >> (nid_shift - zone_shift);
	result->zone = walk->zone_id & zone_mask;
	if (!(section_flags(walk->pfn - 1, &walk->usage) & SECTION_IS_ONLINE))
		result->status = CENSUS_CHANGED;
	return 0;
}

static struct walk census_walk;

/*
 * Global, so that the verifier goes through it once: of a static function it
 * follows every way anew, round by round.
 */
__noinline int census_global_step(__u32 step)
{
	/* Used, or the compiler passes none, which the verifier takes amiss. */
	barrier_var(step);
	return census_step(&census_walk);
}

static long census_callback(__u32 step, void *unused)
{
	return census_global_step(step) ? 1 : 0;
}

SEC("?syscall")
int census__bulk(struct census_request *request)
{
	if (!census_begins(request, &census_walk))
		return 0;
	bpf_loop(PINWATCH_CENSUS_PAGES, census_callback, 0, 0);
	return census_ends(&census_walk);
}

/* Linux v5.17 added bpf_loop(). */
SEC("?raw_tp")
int census__bounded(struct census_request *request)
{
	if (!census_begins(request, &census_walk))
		return 0;
	for (__u32 step = 0; step < PINWATCH_CENSUS_PAGES; step++)
		if (census_global_step(step))
			break;
	return census_ends(&census_walk);
}

/* Not static: see census_global_step(). */
__noinline int tell_page(__u32 at)
{
	struct page_facts facts = {};

	if (at >= PINWATCH_ASKED_PAGES)
		return 0;
	if (!read_page_facts(asked_pfns[at], &facts))
		facts = (struct page_facts){.mapcount = -1};
	asked_pages[at] = facts;
	return 0;
}

/* What single pages say of themselves: nothing of those that cannot be read. */
SEC("?raw_tp")
int pages__asked(struct page_question *question)
{
	const __u32 nr_pages = question->nr_pages;

	for (__u32 i = 0; i < PINWATCH_ASKED_PAGES; i++) {
		if (i >= nr_pages)
			break;
		tell_page(i);
	}
	return 0;
}

struct cpu_walk {
	__u64 nodestats; /* per-CPU pointer */
	__u64 acquired_offset;
	__u64 released_offset;
};

static __always_inline long add_cpu_difference(__u32 cpu, struct cpu_walk *walk)
{
	__u64 base = 0;
	__s8 acquired = 0, released = 0;

	bpf_probe_read_kernel(&base, sizeof(base), (void *)(per_cpu_offset_at + cpu * 8UL));
	base += walk->nodestats;
	bpf_probe_read_kernel(&acquired, 1, (void *)(base + walk->acquired_offset));
	bpf_probe_read_kernel(&released, 1, (void *)(base + walk->released_offset));
	node_counters.acquired += acquired;
	node_counters.released += released;
	return 0;
}

/* False where there is no such node. */
static __always_inline bool counters_begin(__u32 nid, struct cpu_walk *walk)
{
	const __u64 acquired = bpf_core_enum_value(enum node_stat_item, NR_FOLL_PIN_ACQUIRED);
	const __u64 released = bpf_core_enum_value(enum node_stat_item, NR_FOLL_PIN_RELEASED);
	const __u64 diff = bpf_core_field_offset(struct per_cpu_nodestat, vm_node_stat_diff);
	struct pglist_data *node = 0;
	char *stat;

	*walk = (struct cpu_walk){
		.acquired_offset = diff + acquired,
		.released_offset = diff + released,
	};
	bpf_probe_read_kernel(&node, sizeof(node), (void *)(node_data_at + nid * 8UL));
	if (!node)
		return false;
	stat = (char *)node + bpf_core_field_offset(struct pglist_data, vm_stat);
	return !bpf_probe_read_kernel(&node_counters.acquired, 8, stat + acquired * 8) &&
	       !bpf_probe_read_kernel(&node_counters.released, 8, stat + released * 8) &&
	       !bpf_probe_read_kernel(&walk->nodestats, sizeof(walk->nodestats),
				      &node->per_cpu_nodestats);
}

static long counters_callback(__u32 cpu, struct cpu_walk *walk)
{
	return add_cpu_difference(cpu, walk);
}

/* These two fail with -1 where there is no such node. */
SEC("?syscall")
int node_counters__syscall(struct node_counter_request *request)
{
	struct cpu_walk walk;

	if (!counters_begin(request->nid, &walk))
		return -1;
	bpf_loop(request->nr_cpus, counters_callback, &walk, 0);
	return 0;
}

/* The same without bpf_loop(); or where there are more CPUs than it can count. */
SEC("?raw_tp")
int node_counters__bounded(struct node_counter_request *request)
{
	const __u32 nr_cpus = request->nr_cpus;
	struct cpu_walk walk;

	if (nr_cpus > BOUNDED_CPUS || !counters_begin(request->nid, &walk))
		return -1;
	for (__u32 cpu = 0; cpu < BOUNDED_CPUS; cpu++) {
		if (cpu >= nr_cpus)
			break;
		add_cpu_difference(cpu, &walk);
	}
	return 0;
}

/* Entries at the top of the map of physical memory that are gone through. */
#define TOP_RESOURCES 1024

/*
 * The driver of a virtio-mem device claims the range in which it may have
 * memory, by the device's name, "virtio3": what is plugged lies below that.
 */
static __always_inline void note_device(struct resource *resource)
{
	struct memory_device *device;
	__u32 count = memory_devices.count;
	char *name = 0;

	if (count >= PINWATCH_MEMORY_DEVICES) {
		memory_devices.incomplete = 1;
		return;
	}
	device = &memory_devices.devices[count & (PINWATCH_MEMORY_DEVICES - 1)];
	bpf_probe_read_kernel(&name, sizeof(name), &resource->name);
	if (bpf_probe_read_kernel_str(device->name, sizeof(device->name), name) < 8 ||
	    device->name[0] != 'v' || device->name[5] != 'o' || device->name[6] < '0' ||
	    device->name[6] > '9' || bpf_probe_read_kernel(&device->start, 8, &resource->start) ||
	    bpf_probe_read_kernel(&device->end, 8, &resource->end))
		return;
	memory_devices.count = count + 1;
}

/* What changes meanwhile may be missed, and is found the next time. */
SEC("?raw_tp")
int memory_devices__bounded(struct memory_device_request *request)
{
	struct resource *at = (struct resource *)iomem_resource_at;

	memory_devices.count = memory_devices.incomplete = 0;
	if (bpf_probe_read_kernel(&at, sizeof(at), &at->child))
		return -1;
	for (__u32 i = 0; at && i < TOP_RESOURCES; i++) {
		note_device(at);
		if (bpf_probe_read_kernel(&at, sizeof(at), &at->sibling))
			return -1;
	}
	if (at)
		memory_devices.incomplete = 1;
	return 0;
}
