// SPDX-License-Identifier: GPL-2.0

//! All steps or none.

/// Does step 0, 1, ... up to `count`; if one fails, undoes those before it, the last one first.
///
/// The step that fails has undone itself. Freezing files before a reboot is done in this way, and
/// so is preserving the objects that a file depends on.
///
/// # Errors
///
/// The error of the step that failed.
pub fn all_or_none<E>(
    count: usize,
    mut step: impl FnMut(usize) -> Result<(), E>,
    mut undo: impl FnMut(usize),
) -> Result<(), E> {
    for at in 0..count {
        if let Err(error) = step(at) {
            (0..at).rev().for_each(&mut undo);
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(any(test, CONFIG_LIVEUPDATE_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(luo_core_rollback))]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_undone_once_and_in_reverse() {
        const COUNT: usize = 5;
        for fails in 0..=COUNT {
            let done = core::cell::Cell::new(0);
            let result = all_or_none(
                COUNT,
                |at| {
                    assert_eq!(at, done.get());
                    if at == fails {
                        return Err(at);
                    }
                    done.set(at + 1);
                    Ok(())
                },
                |at| {
                    assert_eq!(at + 1, done.get());
                    done.set(at);
                },
            );
            if fails == COUNT {
                assert_eq!((result, done.get()), (Ok(()), COUNT));
            } else {
                assert_eq!((result, done.get()), (Err(fails), 0));
            }
        }
    }

    #[test]
    fn nothing_to_do_succeeds() {
        assert_eq!(all_or_none(0, |_| Err(()), |_| {}), Ok(()));
    }
}
