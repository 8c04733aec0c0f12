// SPDX-License-Identifier: GPL-2.0

//! Sessions, and the file descriptors that hold them.
//!
//! What a descriptor may do is up to the session that it holds. FINISH turns an incoming session
//! into an outgoing one of the same name; nothing goes the other way.

use kernel::{
    fmt,
    fs::{
        anon_inode::{
            AnonInodeFile,
            Operations, //
        },
        file::flags,
        file::FileDescriptorReservation,
        File, //
    },
    new_rwsem,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    str::CStr,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow,
        RwSem, //
    }, //
};
use liveupdate_uapi::{
    Command,
    Finish,
    GetName,
    PreserveFd,
    RetrieveFd, //
};
use luo_core::name::SessionName;

use crate::{
    command::Call,
    debugfs,
    ffi::trace,
    file::Token,
    registry::Slot,
    state, //
};

pub(crate) mod incoming;
pub(crate) mod outgoing;

/// What the descriptor of a session holds.
#[pin_data]
pub(crate) struct Handle {
    name: SessionName,
    /// Commands hold it for reading. FINISH and close, which change it, for writing.
    #[pin]
    role: RwSem<Role>,
}

/// A session, seen from its descriptor.
pub(crate) enum Role {
    /// It is for the next kernel.
    Outgoing(Arc<outgoing::Session>),
    /// It is of the last kernel.
    Incoming(Arc<incoming::Session>),
    /// It was of the last kernel and is finished, but another outgoing session has the name.
    Displaced,
}

impl Handle {
    fn new(name: SessionName, role: Role) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self { name, role <- new_rwsem!(role, "luo::Handle::role") }),
            GFP_KERNEL,
        )
    }

    /// Makes the file; without one, the handle does nothing by itself.
    fn open(self: Arc<Self>) -> Result<ARef<File>> {
        const PREFIX: &[u8] = b"[luo_session] ";
        let mut text = [0; PREFIX.len() + SessionName::SIZE];
        let (prefix, name) = text.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        name.copy_from_slice(self.name.as_array());
        let text = CStr::from_bytes_until_nul(&text).map_err(|_| EINVAL)?;
        SESSION.getfile(text, self, flags::O_RDWR)
    }

    /// Shows the session and its files.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // FINISH holds it for as long as handlers work.
        let Some(role) = self.role.try_read() else {
            return debugfs::show_session(f, &self.name, "finishing", None);
        };
        match &*role {
            Role::Outgoing(session) => session.show(f),
            Role::Incoming(session) => session.show(f, "retrieved"),
            Role::Displaced => debugfs::show_session(f, &self.name, "displaced", Some(0)),
        }
    }

    fn preserve_fd(&self, call: &Call<PreserveFd>) -> Result {
        check_running()?;
        match &*self.role.read() {
            Role::Outgoing(session) => session.preserve(call),
            Role::Incoming(_) => Err(EINVAL),
            Role::Displaced => Err(EEXIST),
        }
    }

    fn retrieve_fd(&self, call: &mut Call<RetrieveFd>) -> Result {
        check_running()?;
        let role = self.role.read();
        let Role::Incoming(session) = &*role else {
            return Err(EINVAL);
        };
        let fd = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)?;
        let file = session.retrieve(Token(call.argument.token))?;
        call.argument.fd = fd.reserved_fd() as i32;
        call.reply()?;
        fd.fd_install(file);
        Ok(())
    }

    fn finish(&self, call: &Call<Finish>) -> Result {
        if call.argument.reserved != 0 {
            return Err(EINVAL);
        }
        check_running()?;
        trace::finish(&self.name, || self.finish_session(call))
    }

    fn finish_session(&self, call: &Call<Finish>) -> Result {
        let mut role = match self.role.try_write() {
            Some(role) => role,
            // In the wrong direction there is nothing to wait for, and nobody must wait for this.
            None if !matches!(&*self.role.read(), Role::Incoming(_)) => return Err(EINVAL),
            None => self.role.write(),
        };
        let Role::Incoming(session) = &*role else {
            return Err(EINVAL);
        };
        if !session.can_finish() {
            return Err(EBUSY);
        }
        // All that can fail comes first.
        let state = state::get()?;
        call.reply()?;
        let next = match state.outgoing()?.lock().create(self.name) {
            Ok(session) => Role::Outgoing(session),
            Err(error) if error == EEXIST => Role::Displaced,
            Err(error) => return Err(error),
        };
        let _slot = match state.incoming.write().sessions() {
            Ok(sessions) => sessions.remove_node(&self.name),
            Err(_) => None,
        };
        if let Role::Incoming(session) = core::mem::replace(&mut *role, next) {
            session.finish();
        }
        Ok(())
    }

    fn get_name(&self, call: &mut Call<GetName>) -> Result {
        if call.argument.reserved != 0 {
            return Err(EINVAL);
        }
        call.argument.name = *self.name.as_array();
        call.reply()
    }

    /// Ends the hold of a descriptor on the session.
    fn close(&self) {
        match core::mem::replace(&mut *self.role.write(), Role::Displaced) {
            Role::Outgoing(session) => session.close(),
            Role::Incoming(session) => put_back(session),
            Role::Displaced => {}
        }
    }
}

/// Lets somebody else retrieve a session that is not finished.
fn put_back(session: Arc<incoming::Session>) {
    let Ok(state) = state::get() else {
        return;
    };
    let name = *session.name();
    if let Ok(sessions) = state.incoming.write().sessions() {
        if let Some(slot) = sessions.get_mut(&name) {
            *slot = Slot::Waiting(session);
        }
    }
}

/// Refuses to go on when the handover is written.
fn check_running() -> Result {
    state::get()?.check_running()
}

/// Creates a session for the next kernel, and a file that holds it.
///
/// # Errors
///
/// Those of `Outgoing::create`, or why there is no file.
pub(crate) fn create(name: SessionName) -> Result<ARef<File>> {
    trace::create(&name, || {
        let session = state::get()?.outgoing()?.lock().create(name)?;
        let handle = Handle::new(name, Role::Outgoing(session.clone()));
        handle
            .and_then(Handle::open)
            .inspect_err(|_| session.close())
    })
}

/// Gives a session of the last kernel to a new file.
///
/// # Errors
///
/// `ENOENT` if there is none of this name, `EINVAL` if a file has it, `EBUSY` if the kernel is being
/// left, or why there is no file.
pub(crate) fn retrieve(name: SessionName) -> Result<ARef<File>> {
    trace::retrieve_session(&name, || {
        check_running()?;
        let state = state::get()?;
        let mut incoming = state.incoming.write();
        let slot = incoming.sessions()?.get_mut(&name).ok_or(ENOENT)?;
        let Slot::Waiting(session) = slot else {
            return Err(EINVAL);
        };
        let handle = Handle::new(name, Role::Incoming(session.clone()))?;
        *slot = Slot::Held(handle.clone());
        drop(incoming);
        handle.clone().open().inspect_err(|_| handle.close())
    })
}

/// What the files of sessions do.
struct SessionFile;

static SESSION: Operations<SessionFile> = Operations::new();

#[vtable]
impl AnonInodeFile for SessionFile {
    type Ptr = Arc<Handle>;

    fn release(handle: Arc<Handle>) {
        handle.close();
    }

    fn ioctl(handle: ArcBorrow<'_, Handle>, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            PreserveFd::OPCODE => handle.preserve_fd(&Call::read(arg)?)?,
            RetrieveFd::OPCODE => handle.retrieve_fd(&mut Call::read(arg)?)?,
            Finish::OPCODE => handle.finish(&Call::read(arg)?)?,
            GetName::OPCODE => handle.get_name(&mut Call::read(arg)?)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }

    fn show_fdinfo(handle: ArcBorrow<'_, Handle>, m: &SeqFile, _file: &File) {
        seq_print!(m, "{}", Shown(&handle));
    }
}

/// A handle, to be formatted.
struct Shown<'a>(&'a Handle);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show(f)
    }
}
