// SPDX-License-Identifier: GPL-2.0

/*
 * Registrations that are refused, through the C interface: with Rust's types,
 * such a handler cannot be written.
 *
 * The log has the return value of each.
 */

#define pr_fmt(fmt) "luo_test_refused: " fmt

#include <linux/err.h>
#include <linux/init.h>
#include <linux/liveupdate.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

static bool luo_test_can_preserve(struct liveupdate_file_handler *handler,
				  struct file *file)
{
	return false;
}

static int luo_test_op(struct liveupdate_file_op_args *args)
{
	return -EOPNOTSUPP;
}

static void luo_test_void_op(struct liveupdate_file_op_args *args)
{
}

static const struct liveupdate_file_ops luo_test_whole = {
	.can_preserve = luo_test_can_preserve,
	.preserve = luo_test_op,
	.unpreserve = luo_test_void_op,
	.retrieve = luo_test_op,
	.finish = luo_test_void_op,
	.owner = THIS_MODULE,
};

static int luo_test_flb_op(struct liveupdate_flb_op_args *args)
{
	return -EOPNOTSUPP;
}

static void luo_test_flb_void_op(struct liveupdate_flb_op_args *args)
{
}

static const struct liveupdate_flb_ops luo_test_flb_ops = {
	.preserve = luo_test_flb_op,
	.unpreserve = luo_test_flb_void_op,
	.retrieve = luo_test_flb_op,
	.finish = luo_test_flb_void_op,
	.owner = THIS_MODULE,
};

/* More FLBs than the page of the handover has room for. */
#define LUO_TEST_FLBS (PAGE_SIZE / 64)

/* A handler without one of its required operations. */
static void __init luo_test_incomplete(int missing)
{
	struct liveupdate_file_ops ops = luo_test_whole;
	struct liveupdate_file_handler handler = {
		.ops = &ops,
		.compatible = "luo-test-incomplete-v1",
	};
	int err;

	switch (missing) {
	case 0:
		ops.can_preserve = NULL;
		break;
	case 1:
		ops.preserve = NULL;
		break;
	case 2:
		ops.unpreserve = NULL;
		break;
	case 3:
		ops.retrieve = NULL;
		break;
	case 4:
		ops.finish = NULL;
		break;
	}
	err = liveupdate_register_file_handler(&handler);
	pr_info("operation %d is missing: %d\n", missing, err);
	if (!err)
		liveupdate_unregister_file_handler(&handler);
}

/* A handler and an FLB with a name that is empty, or has no NUL. */
static void __init luo_test_name(const char *what, size_t length)
{
	struct liveupdate_file_handler *handler;
	static struct liveupdate_file_handler other = {
		.ops = &luo_test_whole,
		.compatible = "luo-test-names-v1",
	};
	struct liveupdate_flb *flb;
	int err, flb_err;

	/* With a byte behind it that is NUL: C writes the name to the log. */
	handler = kzalloc(sizeof(*handler) + 1, GFP_KERNEL);
	flb = kzalloc_obj(*flb);
	if (!handler || !flb || liveupdate_register_file_handler(&other))
		goto out;
	handler->ops = &luo_test_whole;
	memset((char *)handler->compatible, 'x', length);
	err = liveupdate_register_file_handler(handler);
	if (!err)
		liveupdate_unregister_file_handler(handler);

	flb->ops = &luo_test_flb_ops;
	memset((char *)flb->compatible, 'x', length);
	flb_err = liveupdate_register_flb(&other, flb);
	liveupdate_unregister_file_handler(&other);
	pr_info("%s name: handler %d, object %d\n", what, err, flb_err);
out:
	kfree(flb);
	kfree(handler);
}

/* As many FLBs as there is room for, and one more. */
static void __init luo_test_many(struct liveupdate_file_handler *handler,
				 struct liveupdate_flb *flbs)
{
	int err = 0;
	int n;

	for (n = 0; n < LUO_TEST_FLBS && !err; n++) {
		flbs[n].ops = &luo_test_flb_ops;
		snprintf((char *)flbs[n].compatible, sizeof(flbs[n].compatible),
			 "luo-test-many-%d", n);
		err = liveupdate_register_flb(handler, &flbs[n]);
	}
	pr_info("too many objects: %d\n", err);
}

static int __init luo_test_refused_init(void)
{
	static struct liveupdate_file_handler handler = {
		.ops = &luo_test_whole,
		.compatible = "luo-test-refused-v1",
	};
	struct liveupdate_flb *flbs;
	int err, n;

	for (n = 0; n < 5; n++)
		luo_test_incomplete(n);
	luo_test_name("empty", 0);
	luo_test_name("endless", sizeof(handler.compatible));

	flbs = kcalloc(LUO_TEST_FLBS, sizeof(*flbs), GFP_KERNEL);
	if (!flbs)
		return -ENOMEM;
	err = liveupdate_register_file_handler(&handler);
	if (!err) {
		luo_test_many(&handler, flbs);
		liveupdate_unregister_file_handler(&handler);
	} else {
		/* Live update is off. */
		flbs[0].ops = &luo_test_flb_ops;
		n = liveupdate_register_flb(&handler, &flbs[0]);
		pr_info("off: handler %d, object %d\n", err, n);
	}
	kfree(flbs);
	return 0;
}
late_initcall(luo_test_refused_init);
