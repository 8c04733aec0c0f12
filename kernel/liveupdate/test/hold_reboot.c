// SPDX-License-Identifier: GPL-2.0

/*
 * Holds a reboot after live update has written the handover, so that a test
 * can see the answers of commands at this time.
 *
 * "1" written to /sys/kernel/debug/luo_test_hold_reboot arms it, "0" lets the
 * reboot go on. The reboot goes on by itself after some seconds. A read returns
 * "0" before a reboot is held, and "1" from then on.
 */

#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/kstrtox.h>
#include <linux/limits.h>
#include <linux/notifier.h>
#include <linux/reboot.h>

static DECLARE_COMPLETION(luo_test_go);
static bool luo_test_holds;
static bool luo_test_is_held;

static int luo_test_hold(struct notifier_block *nb, unsigned long action,
			 void *data)
{
	if (!READ_ONCE(luo_test_holds))
		return NOTIFY_DONE;
	WRITE_ONCE(luo_test_is_held, true);
	if (!wait_for_completion_timeout(&luo_test_go, 20 * HZ))
		pr_warn("luo_test: nobody lets the reboot go on\n");
	return NOTIFY_DONE;
}

static struct notifier_block luo_test_notifier = {
	.notifier_call = luo_test_hold,
	/* The first: tests look at what live update has done, and no other. */
	.priority = INT_MAX,
};

static ssize_t luo_test_read(struct file *file, char __user *to, size_t count,
			     loff_t *pos)
{
	const char *text = READ_ONCE(luo_test_is_held) ? "1\n" : "0\n";

	return simple_read_from_buffer(to, count, pos, text, 2);
}

static ssize_t luo_test_write(struct file *file, const char __user *from,
			      size_t count, loff_t *pos)
{
	bool holds;
	int err;

	err = kstrtobool_from_user(from, count, &holds);
	if (err)
		return err;
	WRITE_ONCE(luo_test_holds, holds);
	if (!holds)
		complete_all(&luo_test_go);
	return count;
}

static const struct file_operations luo_test_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = luo_test_read,
	.write = luo_test_write,
};

static int __init luo_test_hold_init(void)
{
	debugfs_create_file("luo_test_hold_reboot", 0600, NULL, NULL,
			    &luo_test_fops);
	return register_reboot_notifier(&luo_test_notifier);
}
late_initcall(luo_test_hold_init);
