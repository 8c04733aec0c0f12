// SPDX-License-Identifier: GPL-2.0

#include <linux/fs.h>
#include <linux/memfd.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>

#ifdef CONFIG_SHMEM
__rust_helper bool rust_helper_shmem_file(struct file *file)
{
	return shmem_file(file);
}

__rust_helper void rust_helper_shmem_freeze(struct inode *inode, bool freeze)
{
	shmem_freeze(inode, freeze);
}
#endif

__rust_helper loff_t rust_helper_file_position(const struct file *file)
{
	return READ_ONCE(file->f_pos);
}

__rust_helper struct inode *rust_helper_file_inode(const struct file *file)
{
	return file_inode(file);
}

__rust_helper unsigned int rust_helper_inode_nlink(const struct inode *inode)
{
	return inode->i_nlink;
}

__rust_helper void rust_helper_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

__rust_helper void rust_helper_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

__rust_helper loff_t rust_helper_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}

__rust_helper void rust_helper_i_size_write(struct inode *inode, loff_t size)
{
	i_size_write(inode, size);
}

/* Wait until no folio is being added that was begun before. */
__rust_helper void rust_helper_mapping_settle(struct address_space *mapping)
{
	xa_lock_irq(&mapping->i_pages);
	xa_unlock_irq(&mapping->i_pages);
}

/* The orders of folios that a file of this size may have at its beginning. */
__rust_helper unsigned long rust_helper_shmem_orders(struct inode *inode, loff_t size)
{
	return shmem_allowable_huge_orders(inode, NULL, 0, size, false);
}
