// SPDX-License-Identifier: GPL-2.0

//! All steps or none.

/// A place in a sequence that can be gone through both ways.
pub trait Cursor: Sized {
    /// The place behind this one.
    fn next(self) -> Option<Self>;

    /// The place before this one.
    fn previous(self) -> Option<Self>;
}

/// Does the step to `what` at every place from `first` on; if one fails, undoes those before it, the
/// last one first.
///
/// The step that fails has undone itself. Freezing files before a reboot is done in this way, and
/// so is preserving the objects that a file depends on.
///
/// # Errors
///
/// The error of the step that failed.
pub fn all_or_none<W: ?Sized, C: Cursor, E>(
    what: &mut W,
    first: Option<C>,
    mut step: impl FnMut(&mut W, &mut C) -> Result<(), E>,
    undo: impl FnMut(&mut W, &mut C),
) -> Result<(), E> {
    let mut here = first;
    while let Some(mut cursor) = here {
        if let Err(error) = step(what, &mut cursor) {
            undo_back(what, cursor.previous(), undo);
            return Err(error);
        }
        here = cursor.next();
    }
    Ok(())
}

/// Undoes from `last` back to the first place.
pub fn undo_back<W: ?Sized, C: Cursor>(
    what: &mut W,
    last: Option<C>,
    mut undo: impl FnMut(&mut W, &mut C),
) {
    let mut here = last;
    while let Some(mut cursor) = here {
        undo(what, &mut cursor);
        here = cursor.previous();
    }
}

/// A place in a sequence that is known by its length.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    at: usize,
    count: usize,
}

impl Index {
    /// The first of `count` places, if there is one.
    #[inline]
    pub fn first(count: usize) -> Option<Self> {
        (count > 0).then_some(Self { at: 0, count })
    }

    /// The last of `count` places, if there is one.
    #[inline]
    pub fn last(count: usize) -> Option<Self> {
        let at = count.checked_sub(1)?;
        Some(Self { at, count })
    }

    /// The number of this place, from 0.
    #[inline]
    pub fn get(self) -> usize {
        self.at
    }
}

impl Cursor for Index {
    #[inline]
    fn next(self) -> Option<Self> {
        let at = self.at.checked_add(1).filter(|at| *at < self.count)?;
        Some(Self { at, ..self })
    }

    #[inline]
    fn previous(self) -> Option<Self> {
        let at = self.at.checked_sub(1)?;
        Some(Self { at, ..self })
    }
}

#[cfg(any(test, CONFIG_LIVEUPDATE_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(luo_core_rollback))]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_undone_once_and_in_reverse() {
        const COUNT: usize = 5;
        for fails in 0..=COUNT {
            let mut done = 0;
            let result = all_or_none(
                &mut done,
                Index::first(COUNT),
                |done, at| {
                    let at = at.get();
                    assert_eq!(at, *done);
                    if at == fails {
                        return Err(at);
                    }
                    *done = at + 1;
                    Ok(())
                },
                |done, at| {
                    assert_eq!(at.get() + 1, *done);
                    *done = at.get();
                },
            );
            if fails == COUNT {
                assert_eq!((result, done), (Ok(()), COUNT));
            } else {
                assert_eq!((result, done), (Err(fails), 0));
            }
        }
    }

    #[test]
    fn nothing_to_do_succeeds() {
        assert_eq!(
            all_or_none(&mut (), Index::first(0), |(), _| Err(()), |(), _| {}),
            Ok(())
        );
        assert!(Index::last(0).is_none());
    }

    #[test]
    fn undoing_goes_back_to_the_first() {
        let mut undone = 0;
        undo_back(&mut undone, Index::last(4), |undone, at| {
            *undone = *undone * 10 + at.get();
        });
        assert_eq!(undone, 3210);
    }
}
