// SPDX-License-Identifier: MIT OR Apache-2.0

//! The registry that counts, if there is more than one.
//!
//! A new one is stored before the old one is removed, so after a crash there may be two.

use super::{ReadError, Registry};

/// The registries of the store.
#[derive(Debug)]
pub struct Newest {
    /// The highest one that can be read.
    pub registry: Option<Registry>,
    /// The highest number of all, also of those that cannot be read; 0 for none. The next one is higher.
    pub last: u64,
    /// Those that cannot be read, with the reason: keep and report them.
    pub unreadable: Vec<(u64, ReadError)>,
}

/// The highest registry that can be read, among those with these numbers and bytes.
///
/// # Errors
///
/// [`ReadError::Newer`] if a newer luod has written one with a higher number: the others do not say what
/// has happened since. Nothing may be changed then.
pub fn newest<'a>(found: impl IntoIterator<Item = (u64, &'a [u8])>) -> Result<Newest, ReadError> {
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let last = found.first().map_or(0, |(number, _)| *number);
    let mut newest = Newest { registry: None, last, unreadable: Vec::new() };
    for (number, bytes) in found {
        match Registry::read(bytes) {
            Ok(registry) => {
                newest.registry.get_or_insert(registry);
            }
            Err(error @ ReadError::Newer { .. }) if newest.registry.is_none() => return Err(error),
            Err(error) => newest.unreadable.push((number, error)),
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::Generation;

    const FUTURE: &[u8] = b"{\"version\":2,\"sessions\":\"elsewhere\"}";

    /// The bytes of a registry of this generation.
    fn of(generation: u64) -> Vec<u8> {
        let mut registry = Registry::default();
        registry.use_generation(Generation(generation));
        registry.write()
    }

    fn generation(newest: &Newest) -> Option<Generation> {
        newest.registry.as_ref().map(Registry::generation)
    }

    #[test]
    fn the_highest_readable_registry_counts() {
        let (old, new) = (of(1), of(2));
        let none = newest([]).unwrap();
        assert_eq!((generation(&none), none.last), (None, 0));
        for order in [[(9, &old[..]), (10, &new[..])], [(10, &new[..]), (9, &old[..])]] {
            let both = newest(order).unwrap();
            assert_eq!((generation(&both), both.last), (Some(Generation(2)), 10));
            assert!(both.unreadable.is_empty());
        }
        let torn = &new[..new.len() - 1];
        let one = newest([(9, &old[..]), (10, torn)]).unwrap();
        assert_eq!((generation(&one), one.last), (Some(Generation(1)), 10));
        assert!(matches!(one.unreadable[..], [(10, ReadError::Malformed(_))]));
        let none = newest([(10, torn)]).unwrap();
        assert_eq!((generation(&none), none.last, none.unreadable.len()), (None, 10, 1));
    }

    #[test]
    fn an_older_registry_does_not_stand_in_for_a_newer_version() {
        let known = of(1);
        let newer = ReadError::Newer { found: 2 };
        assert_eq!(newest([(9, &known[..]), (10, FUTURE)]).unwrap_err(), newer);
        assert_eq!(newest([(8, &known[..]), (9, FUTURE), (10, b"")]).unwrap_err(), newer);
        let later = newest([(11, &known[..]), (10, FUTURE)]).unwrap();
        assert_eq!(generation(&later), Some(Generation(1)));
        assert_eq!(later.unreadable, [(10, newer)]);
    }
}
