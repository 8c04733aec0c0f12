// SPDX-License-Identifier: GPL-2.0

#include <linux/io.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/uaccess.h>

__rust_helper void *rust_helper_phys_to_virt(phys_addr_t phys)
{
	return phys_to_virt(phys);
}

__rust_helper phys_addr_t rust_helper_virt_to_phys(const volatile void *address)
{
	return virt_to_phys((void *)address);
}

__rust_helper bool rust_helper_try_module_get(struct module *module)
{
	return try_module_get(module);
}

__rust_helper void rust_helper_module_put(struct module *module)
{
	module_put(module);
}

__rust_helper int rust_helper_copy_struct_from_user(void *dst, size_t ksize,
						    const void __user *src,
						    size_t usize)
{
	return copy_struct_from_user(dst, ksize, src, usize);
}

/*
 * The order of the memory that the last kernel preserved at @phys, or -1 if it
 * preserved none there. kho_restore_folio() looks at the same mark, but takes
 * the memory and warns if there is none.
 */
__rust_helper int rust_helper_kho_preserved_order(phys_addr_t phys)
{
	struct page *page;
	unsigned long mark;

	if (!PAGE_ALIGNED(phys))
		return -1;
	page = pfn_to_online_page(PHYS_PFN(phys));
	if (!page)
		return -1;
	mark = page->private;
	/* union kho_page_info of kernel/liveupdate/kexec_handover.c */
	if (upper_32_bits(mark) != 0x4b484f50U || lower_32_bits(mark) > MAX_PAGE_ORDER)
		return -1;
	return lower_32_bits(mark);
}
