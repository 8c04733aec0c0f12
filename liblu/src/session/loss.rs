// SPDX-License-Identifier: MIT OR Apache-2.0

//! Being loud when a session is dropped that should not be.

use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::RwLock;

use super::{Link, link, proc};
use crate::{SessionName, sys};

/// What is called when an unfinished incoming session is dropped where that destroys its files.
///
/// It is called while the session is still there, with its name if that can be read. It should not
/// panic: the session may be dropped because of a panic, and then the process is aborted.
///
/// ```
/// let hook: liblu::LossHook = |name| eprintln!("lost: {name:?}");
/// # hook(None);
/// ```
pub type LossHook = fn(Option<&SessionName>);

static HOOK: RwLock<LossHook> = RwLock::new(shout);

fn shout(name: Option<&SessionName>) {
    let name = name.map(|name| format!(" {name:?}")).unwrap_or_default();
    // Nobody may listen, and a panic here would lose the other sessions too.
    let _ = writeln!(
        std::io::stderr(),
        "liblu: the incoming session{name} is dropped unfinished, and with its last descriptor the \
         kernel destroys what was not retrieved; call finish() or into_custody()"
    );
}

/// Calls `hook` when an unfinished [`IncomingSession`](crate::IncomingSession) is dropped where that
/// destroys its files, and returns what was called before. Without this, a line is written to standard
/// error.
///
/// It is called although nothing is lost if another descriptor of the session is held elsewhere, or
/// somebody else has finished it: nobody can see that from here. Whoever sends a session away says so
/// with [`into_custody`](crate::IncomingSession::into_custody), and it is not called.
///
/// ```
/// let before = liblu::set_loss_hook(|name| std::process::abort());
/// # liblu::set_loss_hook(before);
/// ```
pub fn set_loss_hook(hook: LossHook) -> LossHook {
    let mut place = HOOK.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    std::mem::replace(&mut *place, hook)
}

/// Goes off when it is dropped. Holds no descriptor, and is dropped before the one that it watches.
#[derive(Debug)]
pub(super) struct Alarm(Option<RawFd>);

impl Alarm {
    pub(super) fn armed(session: BorrowedFd<'_>) -> Self {
        Self(Some(session.as_raw_fd()))
    }

    /// Nothing is lost.
    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(fd) = self.0.filter(|fd| !survives_close(*fd)) {
            let hook = *HOOK.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            let name = match link(fd) {
                Ok(Link::Session(name)) => Some(name),
                _ => None,
            };
            hook(name.as_ref());
        }
    }
}

/// Whether a session can be retrieved again after it was closed, and used again after it was finished.
/// Kernels where it can show the session in fdinfo.
pub(crate) fn survives_close(session: RawFd) -> bool {
    let info = sys::read(&proc("fdinfo", session)).unwrap_or_default();
    let info = String::from_utf8_lossy(&info);
    info.lines().any(|line| line.starts_with("session \""))
}
