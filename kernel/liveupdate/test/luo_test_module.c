// SPDX-License-Identifier: GPL-2.0

/*
 * A module with a file handler, to be loaded and unloaded: the files are those
 * that open /dev/luo_test_module, or come from the previous kernel.
 *
 * An open file keeps the module loaded, as any file of a module does; the
 * references of the orchestrator come on top.
 */

#include <linux/anon_inodes.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/liveupdate.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

/* Crosses the kexec for each file. */
#define LUO_TEST_MODULE_DATA 0x10adab1eULL

static const struct file_operations luo_test_module_fops = {
	.owner = THIS_MODULE,
};

static struct miscdevice luo_test_module_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = KBUILD_MODNAME,
	.fops = &luo_test_module_fops,
};

static bool luo_test_module_can_preserve(struct liveupdate_file_handler *handler,
					 struct file *file)
{
	return file->f_op == &luo_test_module_fops;
}

static int luo_test_module_preserve(struct liveupdate_file_op_args *args)
{
	args->serialized_data = LUO_TEST_MODULE_DATA;
	return 0;
}

static void luo_test_module_unpreserve(struct liveupdate_file_op_args *args)
{
}

static int luo_test_module_retrieve(struct liveupdate_file_op_args *args)
{
	struct file *file;

	if (args->serialized_data != LUO_TEST_MODULE_DATA)
		return -EINVAL;
	file = anon_inode_getfile("[luo_test_module]", &luo_test_module_fops,
				  NULL, O_RDWR);
	if (IS_ERR(file))
		return PTR_ERR(file);
	args->file = file;
	return 0;
}

static void luo_test_module_finish(struct liveupdate_file_op_args *args)
{
}

static const struct liveupdate_file_ops luo_test_module_ops = {
	.can_preserve = luo_test_module_can_preserve,
	.preserve = luo_test_module_preserve,
	.unpreserve = luo_test_module_unpreserve,
	.retrieve = luo_test_module_retrieve,
	.finish = luo_test_module_finish,
	.owner = THIS_MODULE,
};

static struct liveupdate_file_handler luo_test_module_handler = {
	.ops = &luo_test_module_ops,
	.compatible = "luo-test-module-v1",
};

static int __init luo_test_module_init(void)
{
	int err;

	err = liveupdate_register_file_handler(&luo_test_module_handler);
	if (err)
		return err;
	err = misc_register(&luo_test_module_device);
	if (err)
		liveupdate_unregister_file_handler(&luo_test_module_handler);
	return err;
}
module_init(luo_test_module_init);

static void __exit luo_test_module_exit(void)
{
	misc_deregister(&luo_test_module_device);
	liveupdate_unregister_file_handler(&luo_test_module_handler);
}
module_exit(luo_test_module_exit);

MODULE_AUTHOR("The authors of the Live Update Orchestrator in Rust");
MODULE_DESCRIPTION("Files of a module, over a live update");
MODULE_LICENSE("GPL");
