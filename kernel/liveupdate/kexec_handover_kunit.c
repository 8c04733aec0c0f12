// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of keys that follow each other in the radix tree of KHO. This file
 * is a part of kexec_handover.c.
 */

#include <kunit/test.h>
#include <linux/bitmap.h>
#include <linux/prandom.h>

/* Keys in each place: half of them are on each side of a border. */
#define KHO_TEST_PLACE	512

/* The first key of each place, in order. */
static const unsigned long kho_test_places[] = {
	/* The lowest keys. */
	0,
	/* The border of two leaves. */
	(1UL << KHO_BITMAP_SIZE_LOG2) - KHO_TEST_PLACE / 2,
	/* That of two nodes. */
	(1UL << (KHO_BITMAP_SIZE_LOG2 + KHO_TABLE_SIZE_LOG2)) - KHO_TEST_PLACE / 2,
	/* That of two nodes further up; what is between is empty. */
	(3UL << (KHO_BITMAP_SIZE_LOG2 + 2 * KHO_TABLE_SIZE_LOG2)) - KHO_TEST_PLACE / 2,
	/* The highest keys. */
	(1UL << KHO_RADIX_KEY_WIDTH) - KHO_TEST_PLACE,
};

#define KHO_TEST_KEYS	(ARRAY_SIZE(kho_test_places) * KHO_TEST_PLACE)

static unsigned long kho_test_key(unsigned long number)
{
	return kho_test_places[number / KHO_TEST_PLACE] + number % KHO_TEST_PLACE;
}

/* Runs that are found must have the keys whose bits are set in @keys, in order. */
static void __init kho_test_find(struct kunit *test, const struct kho_radix_tree *tree,
				 const unsigned long *keys)
{
	unsigned long key = 0, number = 0, nr;

	while ((nr = kho_radix_find_run(tree, &key))) {
		for (unsigned long end = key + nr; key < end; key++) {
			number = find_next_bit(keys, KHO_TEST_KEYS, number);
			KUNIT_ASSERT_LT(test, number, KHO_TEST_KEYS);
			KUNIT_ASSERT_EQ(test, key, kho_test_key(number));
			number++;
		}
	}
	number = find_next_bit(keys, KHO_TEST_KEYS, number);
	KUNIT_ASSERT_EQ(test, number, KHO_TEST_KEYS);
}

static void __init kho_test_radix_runs(struct kunit *test)
{
	static DECLARE_BITMAP(keys, KHO_TEST_KEYS) __initdata;
	struct kho_radix_cursor cursor = {};
	struct kho_radix_tree tree = {};
	struct rnd_state random;

	prandom_seed_state(&random, 1);
	KUNIT_ASSERT_EQ(test, kho_radix_init_tree(&tree, NULL), 0);
	kho_test_find(test, &tree, keys);

	for (int round = 0; round < 400; round++) {
		unsigned long first = prandom_u32_state(&random) % KHO_TEST_KEYS;
		unsigned long most = prandom_u32_state(&random) % 64 + 1;
		unsigned long nr;

		/* Some keys may be there. */
		nr = min(most, KHO_TEST_PLACE - first % KHO_TEST_PLACE);
		scoped_guard(mutex, &tree.lock)
			KUNIT_EXPECT_EQ(test, nr, kho_radix_add_keys(&tree, &cursor,
								     kho_test_key(first), nr));
		bitmap_set(keys, first, nr);
		kho_test_find(test, &tree, keys);

		/* All keys must be there. */
		first = prandom_u32_state(&random) % KHO_TEST_KEYS;
		first = find_next_bit(keys, KHO_TEST_KEYS, first);
		if (first == KHO_TEST_KEYS)
			continue;
		nr = find_next_zero_bit(keys, KHO_TEST_KEYS, first) - first;
		nr = min3(nr, most, KHO_TEST_PLACE - first % KHO_TEST_PLACE);
		scoped_guard(mutex, &tree.lock)
			kho_radix_del_keys(&tree, kho_test_key(first), nr);
		bitmap_clear(keys, first, nr);
		kho_test_find(test, &tree, keys);
	}
	kho_radix_destroy_tree(&tree);
}

static struct kunit_case __refdata kho_test_cases[] = {
	KUNIT_CASE(kho_test_radix_runs),
	{}
};

static struct kunit_suite kho_test_suite = {
	.name = "kho",
	.test_cases = kho_test_cases,
};

kunit_test_init_section_suite(kho_test_suite);
