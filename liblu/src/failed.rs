// SPDX-License-Identifier: MIT OR Apache-2.0

//! Operations that take a value, fail, and give it back.

use std::fmt;

use crate::Error;

/// An operation that has failed: the reason, and the value that it would have used up, as it was.
///
/// Dropping it, as `?` does, drops the value. For a session of the previous kernel this destroys nothing:
/// see [`IncomingSession`](crate::IncomingSession).
///
/// ```no_run
/// # let mut session = liblu::LiveUpdate::new().retrieve(&"vm-17".parse()?)?;
/// use liblu::ErrorKind;
///
/// let next = loop {
///     match session.finish() {
///         Ok(next) => break next,
///         Err(failed) if failed.error().kind() == ErrorKind::NotReady => {
///             eprintln!("{failed}; once more");
///             session = failed.into_value();
///         }
///         Err(failed) => return Err(failed.into()),
///     }
/// };
/// # Ok::<(), liblu::Error>(())
/// ```
pub struct Failed<T> {
    value: Box<T>,
    source: Error,
}

impl<T> Failed<T> {
    pub(crate) fn new(value: T, source: Error) -> Self {
        Self { value: Box::new(value), source }
    }

    /// The reason.
    ///
    /// ```no_run
    /// let session = liblu::LiveUpdate::new().retrieve(&"vm-17".parse()?)?;
    /// eprintln!("{}", session.finish().unwrap_err().error());
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn error(&self) -> &Error {
        &self.source
    }

    /// The value, as it was, and the reason.
    ///
    /// ```no_run
    /// let session = liblu::LiveUpdate::new().retrieve(&"vm-17".parse()?)?;
    /// let (session, error) = session.finish().unwrap_err().into_parts();
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn into_parts(self) -> (T, Error) {
        (*self.value, self.source)
    }

    /// The value, as it was.
    ///
    /// ```no_run
    /// let session = liblu::LiveUpdate::new().retrieve(&"vm-17".parse()?)?;
    /// let session = session.finish().unwrap_err().into_value();
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn into_value(self) -> T {
        *self.value
    }
}

impl<T> fmt::Debug for Failed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failed").field("error", &self.source).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for Failed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl<T> std::error::Error for Failed<T> {}

/// The value is dropped.
impl<T> From<Failed<T>> for Error {
    fn from(failed: Failed<T>) -> Self {
        failed.source
    }
}
