// SPDX-License-Identifier: GPL-2.0

//! What has become of an incoming file.

/// How far the retrieval of a file, or of a file-lifecycle-bound object, has come.
///
/// A retrieval is tried once. What came of it stays: the object for everybody who asks again, or
/// the error, because a second try would find half-restored memory.
///
/// A success keeps the object, a failure the error number, which is positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retrieval<T>(Option<Result<T, i32>>);

impl<T> Default for Retrieval<T> {
    fn default() -> Self {
        Self::PENDING
    }
}

impl<T> Retrieval<T> {
    /// Nobody has asked for it.
    pub const PENDING: Self = Self(None);

    /// What was retrieved; `retrieve` is called if nobody has asked before.
    pub fn get_or_try(&mut self, retrieve: impl FnOnce() -> Result<T, i32>) -> Result<&T, i32> {
        self.0
            .get_or_insert_with(retrieve)
            .as_ref()
            .map_err(|error| *error)
    }

    /// What was retrieved, if it was.
    pub fn done(&self) -> Option<&T> {
        self.0.as_ref()?.as_ref().ok()
    }

    /// What was retrieved, to be kept by the caller.
    pub fn into_done(self) -> Option<T> {
        self.0?.ok()
    }

    /// The `retrieve_status` of the C interface: 0, 1, or a negative error number.
    pub fn status(&self) -> i32 {
        match &self.0 {
            None => 0,
            Some(Ok(_)) => 1,
            Some(Err(error)) => error.saturating_neg(),
        }
    }
}

#[cfg(any(test, CONFIG_LIVEUPDATE_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(luo_core_lifecycle))]
mod tests {
    use super::*;

    #[test]
    fn success_stays() {
        let mut file = Retrieval::PENDING;
        assert_eq!(file.status(), 0);
        assert_eq!(file.get_or_try(|| Ok('a')), Ok(&'a'));
        assert_eq!(file.get_or_try(|| Ok('b')), Ok(&'a'));
        assert_eq!(file.get_or_try(|| Err(5)), Ok(&'a'));
        assert_eq!((file.status(), file.done()), (1, Some(&'a')));
        assert_eq!(file.into_done(), Some('a'));
    }

    #[test]
    fn failure_stays() {
        let mut file = Retrieval::PENDING;
        assert_eq!(file.get_or_try(|| Err(5)), Err(5));
        assert_eq!(file.get_or_try(|| Ok('a')), Err(5));
        assert_eq!((file.status(), file.done()), (-5, None));
        assert_eq!(file.into_done(), None);
    }
}
