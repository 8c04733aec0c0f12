// SPDX-License-Identifier: GPL-2.0

//! Finding things by number in a slice.

/// A number, and what it stands for.
pub type Pair = (u64, usize);

/// Two pairs have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate;

/// Puts pairs into the order in which [`find`] wants them.
///
/// Pairs that are in order already, as they usually are, cost one look each; others are sorted by a
/// heap, in place. (What `core` has for that has an end that tools which check the kernel's machine
/// code do not know.)
///
/// # Errors
///
/// [`Duplicate`]; the order is unspecified then.
pub fn sort(pairs: &mut [Pair]) -> Result<(), Duplicate> {
    if is_ordered(pairs, |one, other| one < other) {
        return Ok(());
    }
    for at in (0..pairs.len() / 2).rev() {
        sift(pairs, at);
    }
    for end in (1..pairs.len()).rev() {
        pairs.swap(0, end);
        if let Some(heap) = pairs.get_mut(..end) {
            sift(heap, 0);
        }
    }
    if is_ordered(pairs, |one, other| one < other) {
        Ok(())
    } else {
        Err(Duplicate)
    }
}

/// What `number` stands for, in pairs that [`sort`] has put into order.
#[inline]
pub fn find(pairs: &[Pair], number: u64) -> Option<usize> {
    let at = pairs.binary_search_by_key(&number, |pair| pair.0).ok()?;
    pairs.get(at).map(|pair| pair.1)
}

fn is_ordered(pairs: &[Pair], order: impl Fn(u64, u64) -> bool) -> bool {
    pairs.windows(2).all(|two| match two {
        [one, other] => order(one.0, other.0),
        _ => true,
    })
}

/// Moves the pair at `at` down until no pair below it is greater.
fn sift(heap: &mut [Pair], mut at: usize) {
    let number = |heap: &[Pair], at: usize| heap.get(at).map(|pair| pair.0);
    loop {
        let left = at.saturating_mul(2).saturating_add(1);
        let right = left.saturating_add(1);
        let greatest = [left, right].into_iter().fold(at, |greatest, child| {
            // A place outside of the heap has no number, which is less than any.
            if number(heap, child) > number(heap, greatest) {
                child
            } else {
                greatest
            }
        });
        if greatest == at {
            return;
        }
        heap.swap(at, greatest);
        at = greatest;
    }
}

#[cfg(any(test, CONFIG_LIVEUPDATE_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(luo_core_index))]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_whatever_their_order() {
        for mut pairs in [[(1, 0), (2, 1), (3, 2)], [(3, 2), (1, 0), (2, 1)]] {
            assert_eq!(sort(&mut pairs), Ok(()));
            assert_eq!(find(&pairs, 1), Some(0));
            assert_eq!(find(&pairs, 3), Some(2));
            assert_eq!(find(&pairs, 4), None);
        }
    }

    #[test]
    fn the_same_number_twice_is_told() {
        assert_eq!(sort(&mut [(1, 0), (1, 1)]), Err(Duplicate));
        assert_eq!(sort(&mut [(2, 0), (1, 1), (2, 2)]), Err(Duplicate));
        assert_eq!(sort(&mut []), Ok(()));
        assert_eq!(find(&[], 0), None);
    }
}

#[cfg(test)]
mod host_tests {
    use super::*;
    use std::{collections::BTreeMap, vec::Vec};

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_map(numbers in proptest::collection::vec(0_u64..200, 0..100)) {
            let mut pairs: Vec<Pair> = numbers.iter().copied().zip(0..).collect();
            let map: BTreeMap<u64, usize> = pairs.iter().copied().collect();
            if map.len() < pairs.len() {
                prop_assert_eq!(sort(&mut pairs), Err(Duplicate));
            } else {
                prop_assert_eq!(sort(&mut pairs), Ok(()));
                for number in 0..200 {
                    prop_assert_eq!(find(&pairs, number), map.get(&number).copied());
                }
            }
        }
    }
}
