// SPDX-License-Identifier: MIT OR Apache-2.0

//! The state of a fake kernel, and its commands.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use liveupdate_uapi::{GetInfo, SESSION_NAME_LENGTH};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fcntl_get_seals;
use rustix::io::{Errno, Result};

use super::registry::{self, Role};
use super::{FileId, Implementation, Operation, file_id};
use crate::{Release, SessionName};

type Files = BTreeMap<u64, OwnedFd>;

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is something that kernels do or do not")]
pub(super) struct State {
    pub(super) implementation: Implementation,
    pub(super) release: Release,
    pub(super) is_leaving: bool,
    pub(super) has_short_links: bool,
    pub(super) has_no_proc: bool,
    pub(super) is_idle: bool,
    pub(super) refuses: Option<Operation>,
    pub(super) fails: VecDeque<(Operation, Errno)>,
    pub(super) asked: Vec<Operation>,
    /// The other end of the open device, and its inode.
    device: Option<Open>,
    /// Sessions with open descriptors.
    sessions: BTreeMap<u64, Session>,
    next: u64,
    /// Sessions of the previous kernel that nobody holds.
    incoming: HashMap<SessionName, Files>,
}

/// A descriptor that was given out.
#[derive(Debug)]
struct Open {
    /// Its file.
    file: FileId,
    /// The other end, which hangs up when the last descriptor is closed.
    other_end: UnixStream,
}

#[derive(Debug)]
struct Session {
    name: SessionName,
    direction: Direction,
    files: Files,
    /// Tokens of files that were retrieved, or could not be, with the error.
    retrieved: BTreeMap<u64, Option<Errno>>,
    open: Open,
}

impl Session {
    /// Files that cannot be preserved: those that are preserved, and those that are retrieved and not
    /// finished.
    fn held(&self) -> impl Iterator<Item = &OwnedFd> {
        let is_held = |token: &u64| match self.direction {
            Direction::Outgoing => true,
            Direction::Incoming => self.retrieved.get(token) == Some(&None),
            Direction::Finished | Direction::Idle => false,
        };
        self.files.iter().filter(move |(token, _)| is_held(token)).map(|(_, file)| file)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Outgoing,
    Incoming,
    /// A finished session of the implementation in C is of no use.
    Finished,
    Idle,
}

impl Default for State {
    fn default() -> Self {
        Self {
            implementation: Implementation::C,
            release: Release::of("7.3.4"),
            is_leaving: false,
            has_short_links: false,
            has_no_proc: false,
            is_idle: false,
            refuses: None,
            fails: VecDeque::new(),
            asked: Vec::new(),
            device: None,
            sessions: BTreeMap::new(),
            next: 0,
            incoming: HashMap::new(),
        }
    }
}

impl Open {
    /// A descriptor, and what the kernel keeps of it.
    fn new(kernel: &Arc<Mutex<State>>, role: Role) -> Result<(OwnedFd, Self)> {
        let pair = UnixStream::pair();
        let (end, other_end) =
            pair.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE))?;
        let file = file_id(&end);
        registry::add(file, kernel, role);
        Ok((end.into(), Self { file, other_end }))
    }

    fn is_closed(&self) -> bool {
        let mut fds = [PollFd::new(&self.other_end, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok()
            && fds.iter().any(|fd| fd.revents().contains(PollFlags::HUP))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        registry::remove(self.file);
    }
}

impl State {
    /// Notices which descriptors are closed.
    pub(super) fn sweep(&mut self) {
        self.device.take_if(|device| device.is_closed());
        let closed = self.sessions.iter().filter(|(_, session)| session.open.is_closed());
        let closed: Vec<_> = closed.map(|(number, _)| *number).collect();
        for session in closed.iter().filter_map(|number| self.sessions.remove(number)) {
            // With the implementation in C it is finished.
            let comes_back = self.implementation == Implementation::Rust;
            if session.direction == Direction::Incoming && comes_back {
                self.incoming.insert(session.name, session.files);
            }
        }
    }

    pub(super) fn kexec(&mut self) {
        self.device = None;
        self.is_leaving = false;
        let sessions = std::mem::take(&mut self.sessions).into_values();
        let outgoing = sessions.filter(|session| session.direction == Direction::Outgoing);
        self.incoming = outgoing.map(|session| (session.name, session.files)).collect();
    }

    pub(super) fn names(&self) -> Vec<SessionName> {
        let held = self.sessions.values().filter(|session| {
            matches!(session.direction, Direction::Outgoing | Direction::Incoming)
        });
        held.map(|session| session.name).chain(self.incoming.keys().copied()).collect()
    }

    /// Notes a command, and lets it fail if a test wants that.
    fn begin(&mut self, operation: Operation) -> Result<()> {
        self.asked.push(operation);
        match self.fails.iter().position(|(failing, _)| *failing == operation) {
            Some(at) => Err(self.fails.remove(at).map_or(Errno::IO, |(_, errno)| errno)),
            None => Ok(()),
        }
    }

    /// As [`Self::begin`], of a command that changes something.
    fn begin_change(&mut self, operation: Operation) -> Result<()> {
        self.begin(operation)?;
        let is_refused = self.refuses.take_if(|it| *it == operation).is_some();
        if self.is_leaving || is_refused { Err(Errno::BUSY) } else { Ok(()) }
    }

    pub(super) fn open(&mut self, kernel: &Arc<Mutex<Self>>) -> Result<OwnedFd> {
        self.begin(Operation::Open)?;
        if self.device.is_some() {
            return Err(Errno::BUSY);
        }
        let (fd, open) = Open::new(kernel, Role::Device)?;
        self.device = Some(open);
        Ok(fd)
    }

    pub(super) fn create(
        &mut self,
        kernel: &Arc<Mutex<Self>>,
        name: &SessionName,
    ) -> Result<OwnedFd> {
        self.begin_change(Operation::Create)?;
        if self.is_taken(name) {
            return Err(Errno::EXIST);
        }
        self.add(kernel, *name, Direction::Outgoing, Files::new())
    }

    fn is_taken(&self, name: &SessionName) -> bool {
        let mut sessions = self.sessions.values();
        sessions.any(|it| it.direction == Direction::Outgoing && it.name == *name)
    }

    pub(super) fn retrieve(
        &mut self,
        kernel: &Arc<Mutex<Self>>,
        name: &SessionName,
    ) -> Result<OwnedFd> {
        self.begin_change(Operation::Retrieve)?;
        let held = |it: &Session| {
            matches!(it.direction, Direction::Incoming | Direction::Finished) && it.name == *name
        };
        if self.sessions.values().any(held) {
            return Err(Errno::INVAL);
        }
        let files = self.incoming.remove(name).ok_or(Errno::NOENT)?;
        self.add(kernel, *name, Direction::Incoming, files)
    }

    fn add(
        &mut self,
        kernel: &Arc<Mutex<Self>>,
        name: SessionName,
        direction: Direction,
        files: Files,
    ) -> Result<OwnedFd> {
        let number = self.next;
        self.next += 1;
        let (fd, open) = Open::new(kernel, Role::Session(number))?;
        let retrieved = BTreeMap::new();
        self.sessions.insert(number, Session { name, direction, files, retrieved, open });
        Ok(fd)
    }

    fn session(&mut self, number: u64) -> Result<&mut Session> {
        self.sessions.get_mut(&number).ok_or(Errno::NOTTY)
    }

    pub(super) fn preserve_fd(
        &mut self,
        number: u64,
        file: Option<BorrowedFd<'_>>,
        token: u64,
    ) -> Result<()> {
        if self.is_idle {
            return Ok(());
        }
        self.begin_change(Operation::PreserveFd)?;
        let takes_twice = self.release.is_before(7, 1);
        let knows_direction = !self.release.is_before(7, 2);
        let session = self.session(number)?;
        let (name, direction) = (session.name, session.direction);
        if direction != Direction::Outgoing && direction != Direction::Idle && knows_direction {
            return Err(Errno::INVAL);
        }
        if session.files.contains_key(&token)
            || direction == Direction::Idle && self.is_taken(&name)
        {
            return Err(Errno::EXIST);
        }
        let file = file.ok_or(Errno::BADF)?.try_clone_to_owned();
        let file = file.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::BADF))?;
        // As the only handler of Linux 7.3, that of memfds.
        fcntl_get_seals(&file).map_err(|_| Errno::NOENT)?;
        let identity = file_id(&file);
        let mut preserved = self.sessions.values();
        let is_preserved = preserved.any(|it| it.held().any(|file| file_id(file) == identity));
        if is_preserved && !takes_twice {
            return Err(Errno::BUSY);
        }
        let session = self.session(number)?;
        if session.direction == Direction::Idle {
            session.direction = Direction::Outgoing;
        }
        session.files.insert(token, file);
        Ok(())
    }

    pub(super) fn retrieve_fd(&mut self, number: u64, token: u64) -> Result<OwnedFd> {
        if self.is_idle {
            return self
                .session(number)
                .map(|it| it.open.other_end.as_fd())?
                .try_clone_to_owned()
                .map_err(|_| Errno::MFILE);
        }
        let is_refused = self.is_leaving || self.refuses == Some(Operation::RetrieveFd);
        let begun = self.begin_change(Operation::RetrieveFd);
        let remembers = !self.release.is_before(7, 0) || self.release.text() == "6.19.9";
        let session = self.session(number)?;
        match session.direction {
            Direction::Incoming => {}
            Direction::Finished => return Err(Errno::NOENT),
            Direction::Outgoing | Direction::Idle => return Err(Errno::INVAL),
        }
        let file = session.files.get(&token).ok_or(Errno::NOENT)?;
        if let Some(Some(errno)) = session.retrieved.get(&token) {
            return Err(*errno);
        }
        if let Err(errno) = begun {
            // The others do not come from the handler.
            let is_handlers = !matches!(errno, Errno::MFILE | Errno::NOMEM) && !is_refused;
            if is_handlers && remembers {
                session.retrieved.insert(token, Some(errno));
            }
            return Err(errno);
        }
        let copy = file.try_clone().map_err(|_| Errno::MFILE)?;
        session.retrieved.insert(token, None);
        Ok(copy)
    }

    pub(super) fn finish(&mut self, number: u64) -> Result<()> {
        self.begin_change(Operation::Finish)?;
        let implementation = self.implementation;
        let session = self.session(number)?;
        session.direction = match (session.direction, implementation) {
            (Direction::Incoming, Implementation::Rust) => Direction::Idle,
            (Direction::Incoming | Direction::Finished, Implementation::C) => Direction::Finished,
            _ => return Err(Errno::INVAL),
        };
        session.files.clear();
        Ok(())
    }

    pub(super) fn get_name(&mut self, number: u64) -> Result<[u8; SESSION_NAME_LENGTH]> {
        self.begin(Operation::GetName)?;
        if self.release.is_before(7, 2) {
            return Err(Errno::INVAL);
        }
        Ok(self.session(number)?.name.to_array())
    }

    pub(super) fn get_info(&mut self, number: u64) -> Result<GetInfo> {
        if self.implementation == Implementation::C {
            return Err(Errno::INVAL);
        }
        let mut info = GetInfo::new();
        info.state = match self.session(number)?.direction {
            Direction::Outgoing => GetInfo::OUTGOING,
            Direction::Incoming => GetInfo::INCOMING,
            Direction::Finished | Direction::Idle => GetInfo::IDLE,
        };
        info.features = GetInfo::RETRIEVE_AFTER_CLOSE | GetInfo::REUSE_AFTER_FINISH;
        Ok(info)
    }

    pub(super) fn link(&mut self, number: u64) -> Result<Vec<u8>> {
        if self.has_no_proc {
            return Err(Errno::NOENT);
        }
        let has_short_links = self.has_short_links;
        let name = self.session(number)?.name;
        let text = [b"anon_inode:[luo_session] ", name.as_bytes()].concat();
        if has_short_links && text.len() >= 64 { Err(Errno::NAMETOOLONG) } else { Ok(text) }
    }
}
