// SPDX-License-Identifier: MIT OR Apache-2.0

//! A kernel for tests: what the system calls of this crate answer in a thread that has one.
//!
//! Sessions and files are memfds, so that descriptors are real and leaks can be seen.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::path::Path;

use liveupdate_uapi::{
    Command, CreateSession, Finish, GetName, PreserveFd, RetrieveFd, RetrieveSession,
    SESSION_NAME_LENGTH,
};
use rustix::fs::{MemfdFlags, fstat, memfd_create, stat};
use rustix::io::{Errno, Result};
use zerocopy::FromBytes;

use crate::Release;

/// Where the fake device is.
pub(crate) const DEVICE: &str = "/fake/liveupdate";

thread_local! {
    static FAKE: RefCell<Option<Fake>> = const { RefCell::new(None) };
}

/// A kernel, and how it is to behave.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is something that kernels do or do not")]
pub(crate) struct Fake {
    /// How often opening the device answers `EBUSY`.
    pub(crate) busy: usize,
    /// What opening the device answers.
    pub(crate) open: Option<Errno>,
    /// What commands of these numbers answer, once each.
    pub(crate) fails: Vec<(u8, Errno)>,
    /// The release; 7.3.4 if nothing is said.
    pub(crate) release: Option<&'static str>,
    /// Links have at most 63 bytes.
    pub(crate) has_short_links: bool,
    /// Nothing in `/proc` can be read.
    pub(crate) has_no_proc: bool,
    /// There is no GET_NAME.
    pub(crate) is_old: bool,
    /// It says in fdinfo what is in a session, and lets sessions be retrieved again.
    pub(crate) is_rust: bool,
    /// It preserves and retrieves without doing anything for it.
    pub(crate) is_idle: bool,
    /// Commands so far, by number.
    pub(crate) asked: Vec<u8>,
    pub(crate) sessions: BTreeMap<u64, Session>,
    pub(crate) incoming: BTreeMap<Vec<u8>, BTreeMap<u64, OwnedFd>>,
    pub(crate) held: BTreeSet<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct Session {
    name: [u8; SESSION_NAME_LENGTH],
    is_incoming: bool,
    files: BTreeMap<u64, OwnedFd>,
}

/// This thread has a fake kernel until this is dropped.
pub(crate) struct Installed(());

impl Drop for Installed {
    fn drop(&mut self) {
        FAKE.with_borrow_mut(|fake| *fake = None);
    }
}

/// Gives this thread a fake kernel.
pub(crate) fn install(fake: Fake) -> Installed {
    FAKE.with_borrow_mut(|there| *there = Some(fake));
    Installed(())
}

/// Looks at, or changes, the fake kernel of this thread.
pub(crate) fn with<T>(work: impl FnOnce(&mut Fake) -> T) -> T {
    FAKE.with_borrow_mut(|fake| work(fake.as_mut().unwrap()))
}

/// All outgoing sessions become incoming ones.
pub(crate) fn kexec() {
    with(|fake| {
        fake.incoming.clear();
        fake.held.clear();
        for session in std::mem::take(&mut fake.sessions).into_values() {
            if !session.is_incoming {
                fake.incoming.insert(session.name.to_vec(), session.files);
            }
        }
    });
}

fn memfd() -> Result<OwnedFd> {
    memfd_create("fake", MemfdFlags::CLOEXEC)
}

fn inode(fd: impl AsFd) -> u64 {
    fstat(fd).map(|stat| stat.st_ino).unwrap_or_default()
}

pub(crate) fn open(path: &Path) -> Option<Result<OwnedFd>> {
    FAKE.with_borrow_mut(|fake| {
        let fake = fake.as_mut().filter(|_| path == Path::new(DEVICE))?;
        if fake.busy > 0 {
            fake.busy -= 1;
            return Some(Err(Errno::BUSY));
        }
        Some(fake.open.map_or_else(memfd, Err))
    })
}

/// The release of the fake kernel.
pub(crate) fn release() -> Option<Release> {
    let text = FAKE.with_borrow(|fake| Some(fake.as_ref()?.release.unwrap_or("7.3.4")))?;
    text.parse().ok()
}

/// The session behind a path in `/proc/self`.
fn session_at<T>(path: &Path, folder: &str, work: impl FnOnce(&Fake, &Session) -> T) -> Option<T> {
    let fd = path.strip_prefix(Path::new("/proc/self").join(folder)).ok()?;
    let inode = stat(Path::new("/proc/self/fd").join(fd)).ok()?.st_ino;
    FAKE.with_borrow(|fake| {
        let fake = fake.as_ref()?;
        Some(work(fake, fake.sessions.get(&inode)?))
    })
}

pub(crate) fn link(path: &Path) -> Option<Result<Vec<u8>>> {
    session_at(path, "fd", |fake, session| {
        if fake.has_no_proc {
            return Err(Errno::NOENT);
        }
        let name = session.name.iter().copied().take_while(|byte| *byte != 0);
        let text: Vec<u8> = b"anon_inode:[luo_session] ".iter().copied().chain(name).collect();
        if fake.has_short_links && text.len() >= 64 { Err(Errno::NAMETOOLONG) } else { Ok(text) }
    })
}

pub(crate) fn read(path: &Path) -> Option<Vec<u8>> {
    session_at(path, "fdinfo", |fake, _| {
        if fake.is_rust && !fake.has_no_proc {
            b"pos:\t0\nsession \"a\" state=retrieved files=0\n".into()
        } else {
            b"pos:\t0\n".into()
        }
    })
}

pub(crate) fn command<C: Command>(on: BorrowedFd<'_>, argument: &mut C) -> Option<Result<()>> {
    FAKE.with_borrow_mut(|fake| Some(fake.as_mut()?.command(on, C::NR, argument.as_mut_bytes())))
}

/// The argument of a command.
fn read_as<C: FromBytes>(bytes: &[u8]) -> C {
    C::read_from_bytes(bytes).unwrap()
}

/// Every file is there, and all are one.
fn answer_idly(on: BorrowedFd<'_>, nr: u8, bytes: &mut [u8]) -> Result<()> {
    if nr == RetrieveFd::NR {
        let mut argument: RetrieveFd = read_as(bytes);
        argument.fd = rustix::io::dup(on)?.into_raw_fd();
        bytes.copy_from_slice(zerocopy::IntoBytes::as_bytes(&argument));
    }
    Ok(())
}

impl Fake {
    fn command(&mut self, on: BorrowedFd<'_>, nr: u8, bytes: &mut [u8]) -> Result<()> {
        if self.is_idle && matches!(nr, PreserveFd::NR | RetrieveFd::NR) {
            return answer_idly(on, nr, bytes);
        }
        self.asked.push(nr);
        if let Some(at) = self.fails.iter().position(|(failing, _)| *failing == nr) {
            return Err(self.fails.remove(at).1);
        }
        let id = inode(on);
        match nr {
            CreateSession::NR => {
                let mut argument: CreateSession = read_as(bytes);
                argument.fd = self.create(argument.name)?;
                bytes.copy_from_slice(zerocopy::IntoBytes::as_bytes(&argument));
            }
            RetrieveSession::NR => {
                let mut argument: RetrieveSession = read_as(bytes);
                argument.fd = self.retrieve(argument.name)?;
                bytes.copy_from_slice(zerocopy::IntoBytes::as_bytes(&argument));
            }
            PreserveFd::NR => {
                let argument: PreserveFd = read_as(bytes);
                let release = self.release.and_then(|text| text.parse::<Release>().ok());
                let is_before =
                    |minor| release.as_ref().is_some_and(|release| release.is_before(7, minor));
                let session = self.sessions.get_mut(&id).ok_or(Errno::NOTTY)?;
                // The next kernel never sees it.
                if session.is_incoming && !is_before(2) {
                    return Err(Errno::INVAL);
                }
                session.preserve(&argument, is_before(1))?;
            }
            RetrieveFd::NR => {
                let mut argument: RetrieveFd = read_as(bytes);
                let session = self.sessions.get(&id).ok_or(Errno::NOTTY)?;
                let file = session.files.get(&argument.token).ok_or(Errno::NOENT)?;
                argument.fd = file.try_clone().map_err(|_| Errno::MFILE)?.into_raw_fd();
                bytes.copy_from_slice(zerocopy::IntoBytes::as_bytes(&argument));
            }
            Finish::NR => {
                let session = self.sessions.get_mut(&id).ok_or(Errno::NOTTY)?;
                if !session.is_incoming {
                    return Err(Errno::INVAL);
                }
                // With the implementation in C it stays what it was.
                session.is_incoming = !self.is_rust;
                session.files.clear();
            }
            GetName::NR if !self.is_old => {
                let mut argument: GetName = read_as(bytes);
                argument.name = self.sessions.get(&id).ok_or(Errno::NOTTY)?.name;
                bytes.copy_from_slice(zerocopy::IntoBytes::as_bytes(&argument));
            }
            _ => return Err(Errno::INVAL),
        }
        Ok(())
    }

    fn create(&mut self, name: [u8; SESSION_NAME_LENGTH]) -> Result<i32> {
        if self.sessions.values().any(|it| !it.is_incoming && it.name == name) {
            return Err(Errno::EXIST);
        }
        self.open_session(Session { name, is_incoming: false, files: BTreeMap::new() })
    }

    fn retrieve(&mut self, name: [u8; SESSION_NAME_LENGTH]) -> Result<i32> {
        if self.held.contains(&name[..]) {
            return Err(Errno::INVAL);
        }
        let files = self.incoming.remove(&name[..]).ok_or(Errno::NOENT)?;
        self.held.insert(name.to_vec());
        self.open_session(Session { name, is_incoming: true, files })
    }

    fn open_session(&mut self, session: Session) -> Result<i32> {
        let fd = memfd()?;
        self.sessions.insert(inode(&fd), session);
        Ok(fd.into_raw_fd())
    }
}

impl Session {
    fn preserve(&mut self, argument: &PreserveFd, accepts_twice: bool) -> Result<()> {
        if self.files.contains_key(&argument.token) {
            return Err(Errno::EXIST);
        }
        // By its number, as the kernel has it.
        let path = format!("/proc/self/fd/{}", argument.fd);
        let wanted = stat(&path).map_err(|_| Errno::BADF)?.st_ino;
        if !accepts_twice && self.files.values().any(|file| inode(file) == wanted) {
            return Err(Errno::BUSY);
        }
        let is_memfd = rustix::fs::readlink(&path, Vec::new())?.to_bytes().starts_with(b"/memfd:");
        if !is_memfd {
            return Err(Errno::NOENT);
        }
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
        self.files.insert(argument.token, file);
        Ok(())
    }
}
