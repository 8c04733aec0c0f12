// SPDX-License-Identifier: GPL-2.0

//! Which user is the first and which the last.

/// Counts users of something that the first one makes and the last one removes.
///
/// Each holder is counted exactly once; then neither end can be missed or met twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refs(u64);

/// Whether a user who leaves is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Other users stay.
    Others,
    /// No user stays: the thing must be removed.
    Last,
    /// There was no user: one has left twice.
    TooOften,
}

impl Refs {
    /// Counts with `count` users to begin with.
    #[inline]
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// How many users there are.
    #[inline]
    pub const fn count(self) -> u64 {
        self.0
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_unused(self) -> bool {
        self.0 == 0
    }

    /// Counts one user more. The first one makes the thing with `make`; if that fails, the user is
    /// not counted.
    pub fn enter<E>(&mut self, make: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        if self.is_unused() {
            make()?;
        }
        self.0 = self.0.saturating_add(1);
        Ok(())
    }

    /// Counts one user less.
    #[inline]
    pub fn leave(&mut self) -> Left {
        match self.0 {
            0 => Left::TooOften,
            1 => {
                self.0 = 0;
                Left::Last
            }
            count => {
                self.0 = count.saturating_sub(1);
                Left::Others
            }
        }
    }
}

#[cfg(any(test, CONFIG_LIVEUPDATE_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(luo_core_refs))]
mod tests {
    use super::*;

    #[test]
    fn the_first_makes_and_the_last_removes() {
        let mut made = 0;
        let mut refs = Refs::default();
        for _ in 0..3 {
            let result: Result<(), ()> = refs.enter(|| {
                made += 1;
                Ok(())
            });
            assert_eq!(result, Ok(()));
        }
        assert_eq!((made, refs.count()), (1, 3));
        assert_eq!(refs.leave(), Left::Others);
        assert_eq!(refs.leave(), Left::Others);
        assert_eq!(refs.leave(), Left::Last);
        assert_eq!(refs.leave(), Left::TooOften);
        assert!(refs.is_unused());
    }

    #[test]
    fn a_user_that_cannot_make_it_is_not_counted() {
        let mut refs = Refs::default();
        assert_eq!(refs.enter(|| Err(5)), Err(5));
        assert!(refs.is_unused());
        assert_eq!(refs.enter(|| Ok::<(), i32>(())), Ok(()));
        // The second one makes nothing.
        assert_eq!(refs.enter(|| Err(5)), Ok(()));
        assert_eq!(refs, Refs::new(2));
    }
}
