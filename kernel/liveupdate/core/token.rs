// SPDX-License-Identifier: GPL-2.0

//! Tokens, and how files are found by them.

use crate::damage::Damage;

/// The name of a file, chosen by userspace; unique in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// The token of a file, and the place of the file in its session.
pub type Entry = (Token, usize);

/// Sorts entries by token, as [`find`] needs them.
///
/// # Errors
///
/// [`Damage::Duplicate`] if two entries have the same token.
pub fn sort(entries: &mut [Entry]) -> Result<(), Damage> {
    // Files are usually preserved in the order of their tokens.
    if !entries.is_sorted() {
        entries.sort_unstable();
    }
    let same = |two: &[Entry]| matches!(two, [one, other] if one.0 == other.0);
    if entries.windows(2).any(same) {
        Err(Damage::Duplicate)
    } else {
        Ok(())
    }
}

/// The place of the file with this token, in entries that [`sort`] has sorted.
#[inline]
pub fn find(entries: &[Entry], token: Token) -> Option<usize> {
    let at = entries.binary_search_by_key(&token, |entry| entry.0).ok()?;
    entries.get(at).map(|entry| entry.1)
}

#[cfg(any(test, CONFIG_LIVEUPDATE_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(luo_core_token))]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_in_any_order() {
        let sorted = [(Token(1), 0), (Token(2), 1), (Token(3), 2)];
        let mixed = [(Token(3), 2), (Token(1), 0), (Token(2), 1)];
        for mut entries in [sorted, mixed] {
            assert_eq!(sort(&mut entries), Ok(()));
            assert_eq!(find(&entries, Token(1)), Some(0));
            assert_eq!(find(&entries, Token(3)), Some(2));
            assert_eq!(find(&entries, Token(4)), None);
        }
    }

    #[test]
    fn a_token_used_twice_is_damage() {
        let sort = |tokens: [u64; 3]| {
            let mut at = 0;
            sort(&mut tokens.map(|token| {
                at += 1;
                (Token(token), at)
            }))
        };
        assert_eq!(sort([1, 1, 2]), Err(Damage::Duplicate));
        assert_eq!(sort([2, 1, 2]), Err(Damage::Duplicate));
        assert_eq!(sort([2, 1, 3]), Ok(()));
        assert_eq!(find(&[], Token(0)), None);
    }
}

#[cfg(test)]
mod host_tests {
    use super::*;
    use std::{collections::BTreeMap, vec::Vec};

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_map(tokens in proptest::collection::vec(0_u64..200, 0..100)) {
            let mut entries: Vec<Entry> = tokens.iter().copied().map(Token).zip(0..).collect();
            let map: BTreeMap<Token, usize> = entries.iter().copied().collect();
            if map.len() < entries.len() {
                prop_assert_eq!(sort(&mut entries), Err(Damage::Duplicate));
            } else {
                prop_assert_eq!(sort(&mut entries), Ok(()));
                for token in (0..200).map(Token) {
                    prop_assert_eq!(find(&entries, token), map.get(&token).copied());
                }
            }
        }
    }
}
