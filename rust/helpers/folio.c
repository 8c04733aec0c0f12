// SPDX-License-Identifier: GPL-2.0

#include <linux/memfd.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>

__rust_helper struct folio *rust_helper_pfn_folio(unsigned long pfn)
{
	return pfn_folio(pfn);
}

__rust_helper unsigned long rust_helper_folio_pfn(const struct folio *folio)
{
	return folio_pfn(folio);
}

__rust_helper unsigned int rust_helper_folio_order(const struct folio *folio)
{
	return folio_order(folio);
}

__rust_helper unsigned long rust_helper_folio_index_of(const struct folio *folio)
{
	return READ_ONCE(folio->index);
}

/* Folios of one order that are adjacent in memory. */
__rust_helper void rust_helper_pfn_folios(unsigned long pfn, unsigned int order,
					  unsigned long nr, struct folio **folios)
{
	for (unsigned long i = 0; i < nr; i++)
		folios[i] = (struct folio *)pfn_to_page(pfn + (i << order));
}

/* Zero a locked folio that has no content yet. */
__rust_helper void rust_helper_folio_zero_new(struct folio *folio)
{
	if (folio_test_uptodate(folio))
		return;

	folio_zero_range(folio, 0, folio_size(folio));
	flush_dcache_folio(folio);
	folio_mark_uptodate(folio);
}

__rust_helper void rust_helper_folio_put(struct folio *folio)
{
	folio_put(folio);
}

__rust_helper void *rust_helper_folio_address(const struct folio *folio)
{
	return folio_address(folio);
}
