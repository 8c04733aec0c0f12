// SPDX-License-Identifier: MIT OR Apache-2.0

//! The environment of a scenario.

use std::fmt::{self, Debug};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use liblu::kexec;
use liblu::{Backoff, IncomingSession, LiveUpdate, OutgoingSession, SessionName};
use rustix::fs::{MemfdFlags, OFlags, memfd_create};
use rustix::io::{Errno, FdFlags, fcntl_getfd};

use super::leaving::LeavingPart;
use crate::{abi, test_device};

/// A part that makes no sense here, with the reason. It is a verdict of its own: the part has
/// checked nothing that it is named for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotApplicable(pub &'static str);

impl fmt::Display for NotApplicable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotApplicable {}

/// Ends a part that makes no sense here, for this reason.
pub(super) fn not_applicable(why: &'static str) -> Result<()> {
    Err(NotApplicable(why).into())
}

/// An implementation of LUO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Upstream's.
    C,
    /// This project's.
    Rust,
}

impl Kernel {
    /// The expected value of this implementation, for differences on purpose only.
    pub fn pick<T>(self, c: T, rust: T) -> T {
        match self {
            Self::C => c,
            Self::Rust => rust,
        }
    }
}

/// Whose parts a kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels {
    /// LUO itself.
    pub luo: Kernel,
    /// The handler of memfds.
    pub memfd: Kernel,
}

impl Kernels {
    /// By the label of a kernel in the plan.
    pub fn from_label(label: &str) -> Option<Self> {
        let (luo, memfd) = match label {
            "c" | "c+runs" => (Kernel::C, Kernel::C),
            "c+memfd_rust" => (Kernel::C, Kernel::Rust),
            "rust+memfd_c" => (Kernel::Rust, Kernel::C),
            "rust" => (Kernel::Rust, Kernel::Rust),
            _ => return None,
        };
        Some(Self { luo, memfd })
    }
}

/// The place where a scenario runs, with the operations that it can use.
pub struct Stage<'a> {
    /// Number of the hop, from 1.
    pub hop: usize,
    /// How many hops there are.
    pub hops: usize,
    /// The implementation in this kernel.
    pub kernel: Kernel,
    /// The implementation of the handler of memfds in this kernel.
    pub memfd: Kernel,
    /// The implementation in the previous kernel.
    pub last: Option<Kernel>,
    /// That of the handler of memfds.
    pub last_memfd: Option<Kernel>,
    /// Whether the kernel has KASAN and the like, which make everything slow.
    pub is_debug: bool,
    /// Files that stay open until the kexec.
    pub kept: &'a mut Vec<OwnedFd>,
    /// Parts that run while `reboot(2)` runs.
    pub leaving: &'a mut Vec<LeavingPart>,
    /// Loads the next kernel.
    pub load: &'a dyn Fn() -> Result<()>,
}

impl Stage<'_> {
    /// Keeps a session until the kexec.
    pub fn keep(&mut self, session: impl Into<OwnedFd>) {
        self.kept.push(session.into());
    }

    /// Keeps a new session with `file` under token 1.
    pub fn hand_over(&mut self, name: impl AsRef<[u8]>, file: impl AsFd) -> Result<()> {
        let session = create(name)?;
        session.preserve(1.into(), file).context("PRESERVE_FD")?;
        self.keep(session);
        Ok(())
    }

    /// Retrieves a session that the part before each kexec hands over, and does not finish: there
    /// is none in the first hop.
    pub(super) fn retrieve_if_any(&self, name: &str) -> Result<Option<OwnedFd>> {
        let session = (self.hop > 1).then(|| retrieve(name)).transpose()?;
        Ok(session.map(IncomingSession::into_fd))
    }

    /// Loads the next kernel and calls `reboot(KEXEC)`, which must fail; returns its error.
    pub(super) fn leave(&self) -> Result<liblu::Error> {
        (self.load)()?;
        Ok(kexec::reboot())
    }

    /// A count that is large enough for a scenario of scale, and small enough for a kernel with
    /// KASAN.
    pub fn many(&self, count: usize) -> usize {
        if self.is_debug { count / 20 } else { count }
    }
}

/// Opens the device, for raw commands. Until it is closed, no other user can open it, not even
/// liblu.
pub(super) fn device() -> Result<File> {
    abi::open().context("open /dev/liveupdate")
}

/// Checks that the device answers `EIO`, which liblu understands.
pub(super) fn open_is_eio() -> Result<()> {
    let errno = abi::open().err().and_then(|error| error.raw_os_error());
    ensure!(errno == Some(Errno::IO.raw_os_error()), "the device says {errno:?}, not EIO");
    let said = live_update().check();
    let is_damaged = said.as_ref().is_err_and(|error| error.kind() == liblu::ErrorKind::Damaged);
    ensure!(is_damaged, "liblu says {said:?}");
    Ok(())
}

/// The device, through liblu. No other process has it open while a scenario is played, so liblu
/// does not wait for it.
pub(super) fn live_update() -> LiveUpdate {
    LiveUpdate::new().with_backoff(Backoff::NONE)
}

/// Creates a session; the error is liblu's.
pub(super) fn try_create(name: impl AsRef<[u8]>) -> liblu::Result<OutgoingSession> {
    // Parts that run beside each other open the device for a moment.
    LiveUpdate::new().create(&SessionName::new(name)?)
}

/// Retrieves a session; the error is liblu's.
pub(super) fn try_retrieve(name: impl AsRef<[u8]>) -> liblu::Result<IncomingSession> {
    LiveUpdate::new().retrieve(&SessionName::new(name)?)
}

/// A new outgoing session.
pub(super) fn create(name: impl AsRef<[u8]>) -> Result<OutgoingSession> {
    let name = name.as_ref();
    try_create(name).with_context(|| format!("CREATE_SESSION of `{}`", name.escape_ascii()))
}

/// An incoming session. On C, liblu keeps it open if it is dropped unfinished: a session that a scenario
/// closes on purpose, or finishes by a raw command, becomes a
/// [bare descriptor](IncomingSession::into_fd) first.
pub(super) fn retrieve(name: impl AsRef<[u8]>) -> Result<IncomingSession> {
    let name = name.as_ref();
    try_retrieve(name).with_context(|| format!("RETRIEVE_SESSION of `{}`", name.escape_ascii()))
}

/// Finishes a session, which stays open: effects of close must not be taken for effects of FINISH.
pub(super) fn finish(session: IncomingSession) -> Result<OwnedFd> {
    let open = dup(&session)?;
    session.finish().context("FINISH")?;
    Ok(open)
}

/// Another descriptor of a session or file.
pub(super) fn dup(of: impl AsFd) -> Result<OwnedFd> {
    of.as_fd().try_clone_to_owned().context("dup")
}

/// A memfd that holds `text`.
pub(super) fn memfd(text: &str) -> Result<OwnedFd> {
    let mut file = File::from(memfd_create("scenario", MemfdFlags::CLOEXEC).context("memfd")?);
    file.write_all(text.as_bytes()).context("write a memfd")?;
    Ok(file.into())
}

/// Checks that a memfd holds `text`.
pub(super) fn check_memfd(file: impl AsFd, text: &str) -> Result<()> {
    // The position belongs to the open file, and other descriptors may share the file.
    let mut there = [0; 256];
    let length = rustix::io::pread(file, &mut there, 0).context("read a memfd")?;
    let there = String::from_utf8_lossy(there.get(..length).unwrap_or_default());
    ensure!(there == text, "the memfd holds `{there}`, not `{text}`");
    Ok(())
}

/// Checks the descriptor of a session: its link has the name, and it is close-on-exec.
pub(super) fn check_descriptor(session: impl AsFd, name: &str) -> Result<()> {
    let path = format!("/proc/self/fd/{}", session.as_fd().as_raw_fd());
    let link = fs::read_link(path).context("read the link")?;
    let expected = format!("anon_inode:[luo_session] {name}");
    ensure!(link.as_os_str() == expected.as_str(), "the link reads {}", link.display());
    let flags = fcntl_getfd(session).context("F_GETFD")?;
    ensure!(flags.contains(FdFlags::CLOEXEC), "not close-on-exec");
    Ok(())
}

/// A figure of `/proc/meminfo`, in bytes.
pub(super) fn meminfo(name: &str) -> Result<u64> {
    let all = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let number = number.with_context(|| format!("no {name} in /proc/meminfo"))?;
    let number: u64 = number.parse().with_context(|| format!("understand {name}"))?;
    Ok(number << 10)
}

/// An error that the kernel has a number for.
pub(super) trait Numbered: Debug {
    /// The number.
    fn number(&self) -> Errno;
}

impl Numbered for Errno {
    fn number(&self) -> Errno {
        *self
    }
}

impl Numbered for liblu::Error {
    fn number(&self) -> Errno {
        self.kernel_errno().unwrap_or_else(|| self.errno())
    }
}

/// Checks that something failed with `errno`.
pub(super) fn fails<T: Debug, E: Numbered>(
    what: &str,
    result: Result<T, E>,
    errno: Errno,
) -> Result<()> {
    match result {
        Err(error) if error.number() == errno => Ok(()),
        Err(error) => bail!("{what}: {error:?}, not {errno:?}"),
        Ok(value) => bail!("{what}: succeeded with {value:?}, not {errno:?}"),
    }
}

/// Opens the device that makes files for tests.
pub(super) fn test_device() -> Result<File> {
    File::open("/dev/liveupdate_test").context("open /dev/liveupdate_test")
}

/// The error of callbacks that fail on demand.
pub(super) fn failure() -> Errno {
    Errno::from_raw_os_error(test_device::FAILURE)
}

/// Sends a command to the device for tests; no device is `ENODEV`.
pub(super) fn ask(command: u32, argument: u64) -> rustix::io::Result<i32> {
    let device = test_device().map_err(|_| Errno::NODEV)?;
    abi::number(device, command, argument)
}

/// A new file for tests, with a number and a behaviour.
pub(super) fn test_file(number: u64, behaviour: u64) -> Result<OwnedFd> {
    let argument = number << test_device::NUMBER_SHIFT | behaviour;
    abi::number_to_file(test_device()?, test_device::NEW, argument).context("make a test file")
}

/// The number of a file for tests.
pub(super) fn number_of(file: impl AsFd) -> Result<i32> {
    abi::number(file, test_device::NUMBER, 0).context("ask a test file")
}

/// Retrieves and finishes a session, and checks that it came with these files for tests: the token
/// and the number of each.
pub(super) fn check_came(name: &str, files: &[(u32, u64)]) -> Result<()> {
    let session = retrieve(name)?;
    for (token, number) in files {
        let file = session.retrieve((*token).into()).context("RETRIEVE_FD")?;
        let there = number_of(file)?;
        let is_same = u64::try_from(there) == Ok(*number);
        ensure!(is_same, "token {token} of {name} is file {there}, not {number}");
    }
    finish(session).map(drop)
}

/// The result of a thread that was waited for.
pub(super) fn joined<T>(result: thread::Result<T>) -> Result<T> {
    result.map_err(|_| anyhow!("the thread panicked"))
}

/// Lets slow files go on, also if the test fails: all of them (0), or the one with this number.
pub(super) struct Go<'a>(pub(super) &'a File, pub(super) u64);

impl Drop for Go<'_> {
    fn drop(&mut self) {
        let _ = abi::number(self.0, test_device::GO, self.1);
    }
}

/// Waits until a slow callback waits: of any file (0), or of the file with this number. Fails if
/// the command that should run the callback `is_done` before.
pub(super) fn wait_for_slow(device: &File, number: u64, is_done: impl Fn() -> bool) -> Result<()> {
    while abi::number(device, test_device::WAITING, number).context("ask")? == 0 {
        ensure!(!is_done(), "no callback has waited");
        thread::yield_now();
    }
    Ok(())
}

/// The beginning of the log line of a file for tests that is dropped.
const DROP: &str = "drop ";

/// The kernel's log, from a moment on.
pub(super) struct Log {
    file: File,
    /// Whether the next record must be the first one since boot.
    is_whole: bool,
}

impl Log {
    /// The log from now on.
    pub(super) fn begin() -> Result<Self> {
        let Self { mut file, .. } = Self::from_the_beginning()?;
        file.seek(SeekFrom::End(0)).context("seek in kmsg")?;
        Ok(Self { file, is_whole: false })
    }

    /// The whole log since boot.
    pub(super) fn from_the_beginning() -> Result<Self> {
        let mut options = OpenOptions::new();
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).context("flags")?;
        let file = options.read(true).custom_flags(flags).open("/dev/kmsg").context("kmsg")?;
        Ok(Self { file, is_whole: true })
    }

    /// The callbacks of handlers and FLBs for tests.
    pub(super) fn callbacks(&mut self) -> Result<Vec<String>> {
        let said = self.lines("luo_test: ")?;
        Ok(said.into_iter().filter(|line| !line.starts_with(DROP)).collect())
    }

    /// How often the last reference to the file for tests with this number was dropped.
    pub(super) fn drops(&mut self, number: u64) -> Result<usize> {
        let dropped = format!("{DROP}{number}");
        Ok(self.lines("luo_test: ")?.iter().filter(|line| **line == dropped).count())
    }

    /// The texts behind `mark`. It is an error if records were lost.
    pub(super) fn lines(&mut self, mark: &str) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut record = [0; 8192];
        loop {
            match self.file.read(&mut record) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                    if std::mem::take(&mut self.is_whole) {
                        let number = text.split(',').nth(1);
                        ensure!(number == Some("0"), "the first records of the log are lost");
                    }
                    let line = text.lines().next().unwrap_or_default();
                    lines.extend(line.split_once(mark).map(|(_, said)| said.to_owned()));
                }
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    bail!("records of the log were lost: log_buf_len is too small");
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(lines),
                Err(error) => return Err(error).context("read kmsg"),
            }
        }
    }
}

/// Checks the callbacks that were run, and their order.
pub(super) fn check_callbacks(log: &mut Log, expected: &[&str]) -> Result<()> {
    let said = log.callbacks()?;
    ensure!(said == expected, "the callbacks were {said:?}, not {expected:?}");
    Ok(())
}
