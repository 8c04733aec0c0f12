// SPDX-License-Identifier: GPL-2.0

//! The state of a retrieval.

/// How far the retrieval of a file or of file-lifecycle-bound state (FLB) has come.
///
/// A retrieval is tried once, and its outcome stays: later callers get the same value, or the same
/// error, because a second try would find half-restored memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retrieval<T> {
    /// Not tried.
    Pending,
    /// A caller retrieves it now.
    Running,
    /// The value.
    Done(T),
    /// The error number, which is positive.
    Failed(i32),
}

/// What a caller that wants the value has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a, T> {
    /// Retrieve it, and call [`Retrieval::settle`].
    Retrieve,
    /// Wait for another caller, who retrieves it now, and ask again.
    Wait,
    /// Take the value.
    Done(&'a T),
    /// Give up with this error number.
    Failed(i32),
}

impl<T> Retrieval<T> {
    /// Asks for the value. The first caller has to retrieve it.
    pub fn ask(&mut self) -> Next<'_, T> {
        if self.is_pending() {
            *self = Self::Running;
            return Next::Retrieve;
        }
        match self {
            Self::Pending | Self::Running => Next::Wait,
            Self::Done(value) => Next::Done(value),
            Self::Failed(error) => Next::Failed(*error),
        }
    }

    /// Keeps the outcome for good, and returns it.
    pub fn settle(&mut self, outcome: Result<T, i32>) -> Result<&T, i32> {
        *self = match outcome {
            Ok(value) => Self::Done(value),
            Err(error) => Self::Failed(error),
        };
        // It was just stored.
        self.outcome().unwrap_or(Err(0))
    }

    /// Nothing was tried after [`Next::Retrieve`]: the next caller has to retrieve it.
    pub fn give_up(&mut self) {
        *self = Self::Pending;
    }

    /// The value, for callers that exclude each other; the first one runs `retrieve` to get it.
    pub fn get_or_try(&mut self, retrieve: impl FnOnce() -> Result<T, i32>) -> Result<&T, i32> {
        if self.is_pending() {
            return self.settle(retrieve());
        }
        self.outcome().unwrap_or(Err(0))
    }

    /// Whether it has not been tried.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Pending)
    }

    fn outcome(&self) -> Option<Result<&T, i32>> {
        match self {
            Self::Pending | Self::Running => None,
            Self::Done(value) => Some(Ok(value)),
            Self::Failed(error) => Some(Err(*error)),
        }
    }

    /// The value, if the retrieval has succeeded.
    pub fn done(&self) -> Option<&T> {
        self.outcome()?.ok()
    }

    /// The value, if the retrieval has succeeded, moved out.
    pub fn into_done(self) -> Option<T> {
        match self {
            Self::Done(value) => Some(value),
            Self::Pending | Self::Running | Self::Failed(_) => None,
        }
    }

    /// The `retrieve_status` of the C interface: 0, 1, or a negative error number.
    pub fn status(&self) -> i32 {
        match self {
            Self::Pending | Self::Running => 0,
            Self::Done(_) => 1,
            Self::Failed(error) => error.saturating_neg(),
        }
    }
}

#[cfg(any(test, CONFIG_LIVEUPDATE_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(luo_core_lifecycle))]
mod tests {
    use super::*;

    #[test]
    fn success_stays() {
        let mut file = Retrieval::Pending;
        assert_eq!((file.status(), file.is_pending()), (0, true));
        assert_eq!(file.get_or_try(|| Ok('a')), Ok(&'a'));
        assert_eq!(file.get_or_try(|| Ok('b')), Ok(&'a'));
        assert_eq!(file.get_or_try(|| Err(5)), Ok(&'a'));
        assert_eq!(file.ask(), Next::Done(&'a'));
        assert_eq!((file.status(), file.done()), (1, Some(&'a')));
        assert_eq!(file.into_done(), Some('a'));
    }

    #[test]
    fn failure_stays() {
        let mut file = Retrieval::Pending;
        assert_eq!(file.get_or_try(|| Err(5)), Err(5));
        assert_eq!(file.get_or_try(|| Ok('a')), Err(5));
        assert_eq!(file.ask(), Next::Failed(5));
        assert_eq!((file.status(), file.done()), (-5, None));
        assert_eq!((file.is_pending(), file.into_done()), (false, None));
    }

    #[test]
    fn one_caller_retrieves_and_others_wait() {
        let mut file = Retrieval::Pending;
        assert_eq!(file.ask(), Next::Retrieve);
        assert_eq!(file.ask(), Next::Wait);
        assert_eq!(
            (file.status(), file.is_pending(), file.done()),
            (0, false, None)
        );
        assert_eq!(file.settle(Ok('a')), Ok(&'a'));
        assert_eq!(file.ask(), Next::Done(&'a'));

        let mut file = Retrieval::<char>::Pending;
        assert_eq!(file.ask(), Next::Retrieve);
        file.give_up();
        assert_eq!(file.ask(), Next::Retrieve);
        assert_eq!(file.settle(Err(5)), Err(5));
        assert_eq!(file.ask(), Next::Failed(5));
    }
}
