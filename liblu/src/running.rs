// SPDX-License-Identifier: MIT OR Apache-2.0

//! The release of the running kernel, which decides what must not be asked of it.

use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use crate::{Defect, Release};

static RUNNING: OnceLock<Release> = OnceLock::new();

/// Asks about the kernel of a session: the running one, or a fake one.
fn of(session: BorrowedFd<'_>, question: impl FnOnce(&Release) -> bool) -> bool {
    #[cfg(any(test, feature = "testing"))]
    if let Some(release) = crate::testing::kernel::release(session) {
        return question(&release);
    }
    let _ = session;
    question(RUNNING.get_or_init(Release::running))
}

/// Whether the kernel of a session is older than `major.minor`.
pub(crate) fn is_before(session: BorrowedFd<'_>, major: u32, minor: u32) -> bool {
    of(session, |release| release.is_before(major, minor))
}

/// Whether the kernel of a session has a defect.
pub(crate) fn has(session: BorrowedFd<'_>, defect: &Defect) -> bool {
    of(session, |release| defect.is_in(release))
}
