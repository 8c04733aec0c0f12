// SPDX-License-Identifier: MIT OR Apache-2.0

//! A kernel with live updates, inside of this process.
//!
//! The device and the sessions are sockets, of which the fake kernel has the other ends: so it sees when
//! the last descriptor is closed. Files that are preserved are held as the real kernel holds them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use liveupdate_uapi::{GetInfo, SESSION_NAME_LENGTH};
use rustix::io::{Errno, Result};

use crate::{LiveUpdate, Release, SessionName};

mod registry;
mod state;

use registry::Role;
use state::State;

/// A kernel with live updates: a device, sessions, and a kexec. Copies are the same kernel. Each one is
/// apart from all others, so tests can run side by side.
///
/// It behaves as Linux 7.3 with the implementation in C, unless it is told otherwise. But: preserved memfds can
/// still change their size; a file that comes back is the same open file as before the kexec; and where
/// commands block in C because `reboot(2)` has begun, they are `EBUSY`.
///
/// ```
/// use liblu::testing::FakeKernel;
///
/// let kernel = FakeKernel::new();
/// kernel.device().check()?;
/// # Ok::<(), liblu::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FakeKernel {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

/// The two implementations of live updates in Linux.
///
/// ```
/// use liblu::testing::{FakeKernel, Implementation};
///
/// let kernel = FakeKernel::new();
/// kernel.set_implementation(Implementation::Rust);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Implementation {
    /// Closing an incoming session finishes it, and a finished session is of no use.
    #[default]
    C,
    /// A session that is closed unfinished can be retrieved again, and a finished one can be used again.
    Rust,
}

/// What a program asks of the kernel.
///
/// ```
/// use liblu::testing::{FakeKernel, Operation};
/// use rustix::io::Errno;
///
/// let kernel = FakeKernel::new();
/// kernel.fail_next(Operation::Open, Errno::BUSY);
/// // The library waits for a device that is busy.
/// kernel.device().check()?;
/// # Ok::<(), liblu::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Opening the device.
    Open,
    /// CREATE_SESSION.
    Create,
    /// RETRIEVE_SESSION.
    Retrieve,
    /// PRESERVE_FD.
    PreserveFd,
    /// RETRIEVE_FD.
    RetrieveFd,
    /// FINISH.
    Finish,
    /// GET_NAME.
    GetName,
}

static KERNELS: AtomicU32 = AtomicU32::new(0);

impl Default for FakeKernel {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeKernel {
    /// A kernel that was just booted.
    ///
    /// ```
    /// let kernel = liblu::testing::FakeKernel::new();
    /// ```
    pub fn new() -> Self {
        let number = KERNELS.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/fake/{number}/liveupdate"));
        let kernel = Self { path, state: Arc::default() };
        registry::add_device(&kernel.path, &kernel.state);
        kernel
    }

    /// Its device.
    ///
    /// ```
    /// let device = liblu::testing::FakeKernel::new().device();
    /// ```
    pub fn device(&self) -> LiveUpdate {
        LiveUpdate::at(&self.path)
    }

    /// Goes to the next kernel: outgoing sessions become incoming ones, and all else is gone.
    /// Descriptors of sessions that are still open are of no use any more.
    ///
    /// ```
    /// # let kernel = liblu::testing::FakeKernel::new();
    /// let session = kernel.device().create(&"vm-17".parse()?)?;
    /// kernel.kexec();
    /// let session = kernel.device().retrieve(&"vm-17".parse()?)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn kexec(&self) {
        self.lock().kexec();
    }

    /// Lets the next such operation fail, once. Several calls are used up in order.
    ///
    /// ```
    /// use liblu::testing::{FakeKernel, Operation};
    /// use rustix::io::Errno;
    ///
    /// let kernel = FakeKernel::new();
    /// kernel.fail_next(Operation::Create, Errno::NOMEM);
    /// assert!(kernel.device().create(&"vm-17".parse()?).is_err());
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn fail_next(&self, operation: Operation, errno: Errno) {
        self.lock().fails.push_back((operation, errno));
    }

    /// Sets whether commands are refused as they are after `reboot(2)` has begun.
    ///
    /// ```
    /// use liblu::ErrorKind;
    ///
    /// let kernel = liblu::testing::FakeKernel::new();
    /// kernel.set_leaving(true);
    /// let error = kernel.device().create(&"vm-17".parse()?).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Leaving);
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn set_leaving(&self, is_leaving: bool) {
        self.lock().is_leaving = is_leaving;
    }

    /// Chooses the implementation.
    ///
    /// ```
    /// use liblu::testing::{FakeKernel, Implementation};
    ///
    /// FakeKernel::new().set_implementation(Implementation::Rust);
    /// ```
    pub fn set_implementation(&self, implementation: Implementation) {
        self.lock().implementation = implementation;
    }

    /// Chooses the release, and with it the defects and the commands of that release.
    ///
    /// ```
    /// liblu::testing::FakeKernel::new().set_release("6.19.3".parse().unwrap());
    /// ```
    pub fn set_release(&self, release: Release) {
        self.lock().release = release;
    }

    /// The names of outgoing and of unfinished incoming sessions.
    ///
    /// ```
    /// let kernel = liblu::testing::FakeKernel::new();
    /// let session = kernel.device().create(&"vm-17".parse()?)?;
    /// assert_eq!(kernel.sessions(), ["vm-17".parse()?]);
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn sessions(&self) -> Vec<SessionName> {
        self.lock().names()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// The state of a kernel, after it has noticed which descriptors are closed.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.sweep();
    state
}

/// The open device at `path`; `None` if this is no fake device.
pub(crate) fn open(path: &Path) -> Option<Result<OwnedFd>> {
    let state = registry::device(path)?;
    Some(lock(&state).open(&state))
}

/// Runs a command on a descriptor of a fake kernel; `None` if the descriptor is another.
fn on<T>(fd: BorrowedFd<'_>, command: impl FnOnce(&mut State, Role) -> T) -> Option<T> {
    let (state, role) = registry::find(fd)?;
    Some(command(&mut lock(&state), role))
}

pub(crate) fn create_session(
    device: BorrowedFd<'_>,
    name: &SessionName,
) -> Option<Result<OwnedFd>> {
    let (state, _) = registry::find(device)?;
    Some(lock(&state).create(&state, name))
}

pub(crate) fn retrieve_session(
    device: BorrowedFd<'_>,
    name: &SessionName,
) -> Option<Result<OwnedFd>> {
    let (state, _) = registry::find(device)?;
    Some(lock(&state).retrieve(&state, name))
}

/// PRESERVE_FD of a file, or of none.
pub(crate) fn preserve_fd(
    session: BorrowedFd<'_>,
    file: Option<BorrowedFd<'_>>,
    token: u64,
) -> Option<Result<()>> {
    on(session, |state, role| state.preserve_fd(role.session()?, file, token))
}

pub(crate) fn retrieve_fd(session: BorrowedFd<'_>, token: u64) -> Option<Result<OwnedFd>> {
    on(session, |state, role| state.retrieve_fd(role.session()?, token))
}

pub(crate) fn finish(session: BorrowedFd<'_>) -> Option<Result<()>> {
    on(session, |state, role| state.finish(role.session()?))
}

pub(crate) fn get_name(session: BorrowedFd<'_>) -> Option<Result<[u8; SESSION_NAME_LENGTH]>> {
    on(session, |state, role| state.get_name(role.session()?))
}

pub(crate) fn get_info(session: BorrowedFd<'_>) -> Option<Result<GetInfo>> {
    on(session, |state, role| state.get_info(role.session()?))
}

/// The text of the link of a session in `/proc/self/fd`.
pub(crate) fn link(path: &Path) -> Option<Result<Vec<u8>>> {
    let fd = path.strip_prefix("/proc/thread-self/fd").ok()?;
    let stat = rustix::fs::stat(Path::new("/proc/thread-self/fd").join(fd)).ok()?;
    let (state, role) = registry::find_file((stat.st_dev, stat.st_ino))?;
    Some(lock(&state).link(role.session().ok()?))
}

/// Whether this is a descriptor of a fake session.
pub(crate) fn is_session(fd: BorrowedFd<'_>) -> bool {
    registry::find(fd).is_some_and(|(_, role)| role.session().is_ok())
}

/// The release of the fake kernel of a session.
pub(crate) fn release(session: BorrowedFd<'_>) -> Option<Release> {
    on(session, |state, _| state.release.clone())
}

#[cfg(test)]
impl FakeKernel {
    /// The next such command is refused as if reboot(2) had begun, which then fails.
    pub(crate) fn refuse_next(&self, operation: Operation) {
        self.lock().refuses = Some(operation);
    }

    /// The operations so far.
    pub(crate) fn asked(&self) -> Vec<Operation> {
        self.lock().asked.clone()
    }

    /// Links have at most 63 bytes.
    pub(crate) fn set_short_links(&self) {
        self.lock().has_short_links = true;
    }

    /// Nothing in `/proc` can be read.
    pub(crate) fn set_no_proc(&self) {
        self.lock().has_no_proc = true;
    }

    /// PRESERVE_FD and RETRIEVE_FD succeed and do nothing.
    pub(crate) fn set_idle(&self) {
        self.lock().is_idle = true;
    }
}

/// A file, by its device and its inode.
type FileId = (u64, u64);

/// The file of a descriptor, by which it is known.
fn file_id(fd: impl AsFd) -> FileId {
    rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).unwrap_or_default()
}
