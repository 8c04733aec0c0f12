// SPDX-License-Identifier: GPL-2.0

//! The file descriptors of sessions.
//!
//! The commands that a descriptor takes depend on its session. An incoming session that is finished
//! leaves the descriptor idle: it holds nothing but the name. The first file that is preserved by
//! an idle descriptor makes an outgoing session of that name.

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
    new_mutex,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    str::CStr,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    }, //
};
use liveupdate_uapi::{
    Command,
    Finish,
    GetInfo,
    GetName,
    PreserveFd,
    RetrieveFd, //
};
use luo_core::{
    name::SessionName,
    token::Token, //
};
use zerocopy::IntoBytes;
use zerocopy_derive::{
    Immutable,
    IntoBytes, //
};

use crate::{
    command::Call,
    ffi::trace,
    gate::{
        Pass,
        Phase, //
    },
    registry::Place,
    session::{
        incoming,
        outgoing::{
            self,
            Origin,
            Reservation, //
        }, //
    },
    show,
    state::State, //
};

/// The private data of a descriptor.
#[pin_data]
pub(crate) struct Handle {
    state: &'static State,
    name: SessionName,
    /// Never held while a handler works.
    #[pin]
    role: Mutex<Role>,
}

/// The session of a descriptor.
enum Role {
    /// It is for the next kernel.
    Outgoing(Arc<outgoing::Session>),
    /// It is of the previous kernel.
    Incoming(Arc<incoming::Session>, Place),
    /// It is finished, or the descriptor is closed.
    Idle,
}

/// The text of the link to the file in `/proc/PID/fd`, behind `anon_inode:`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Link {
    prefix: [u8; 14],
    name: [u8; SessionName::SIZE],
}

impl Handle {
    fn new(state: &'static State, name: &SessionName, role: Role) -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self { state, name: *name, role <- new_mutex!(role, "luo::Handle::role") }),
            GFP_KERNEL,
        )
    }

    /// Makes the file; until then, dropping the handle has no effect on the session.
    fn open(self: Pin<KBox<Self>>) -> Result<ARef<File>> {
        let text = Link {
            prefix: *b"[luo_session] ",
            name: *self.name.as_array(),
        };
        let text = CStr::from_bytes_until_nul(text.as_bytes()).map_err(|_| EINVAL)?;
        SESSION.getfile(text, self, flags::O_RDWR)
    }

    fn preserve_fd(&self, call: &Call<PreserveFd>) -> Result {
        // The answer says nothing new. If it cannot be written, nothing must have happened.
        call.reply()?;
        let token = Token(call.argument.token);
        let pass = self.state.gate.enter()?;
        trace::preserve(&self.name, token, || {
            let reservation = self.reserve(token, &pass)?;
            let tables = &self.state.tables;
            let preserved = reservation.preserve(tables, call.argument.fd, &pass);
            preserved.inspect_err(|_| self.idle_if_unused(&pass))
        })
    }

    /// Reserves a token in the outgoing session, which an idle descriptor creates for that.
    fn reserve(&self, token: Token, pass: &Pass<'_>) -> Result<Reservation> {
        let mut role = self.role.lock();
        match &*role {
            Role::Outgoing(session) => Reservation::new(session.clone(), token),
            Role::Incoming(..) => Err(EINVAL),
            Role::Idle => {
                let mut outgoing = self.state.outgoing()?.lock();
                let session = outgoing.create(self.name, Origin::Preserve, pass)?;
                match Reservation::new(session.clone(), token) {
                    Ok(reservation) => {
                        *role = Role::Outgoing(session);
                        Ok(reservation)
                    }
                    Err(error) => {
                        // It has no files, so there is nothing to unpreserve.
                        let _unused = outgoing.remove(session.order(), pass);
                        Err(error)
                    }
                }
            }
        }
    }

    /// The first file could not be preserved: the name is given back, unless another thread uses
    /// the session.
    fn idle_if_unused(&self, pass: &Pass<'_>) {
        let mut role = self.role.lock();
        let Role::Outgoing(session) = &*role else {
            return;
        };
        if session.origin() == Origin::Create || !session.files().lock().is_unused() {
            return;
        }
        let order = session.order();
        if let Ok(outgoing) = self.state.outgoing() {
            // It has no files, so there is nothing to unpreserve.
            let _unused = outgoing.lock().remove(order, pass);
        }
        *role = Role::Idle;
    }

    fn retrieve_fd(&self, call: &mut Call<RetrieveFd>) -> Result {
        let fd = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)?;
        let file = self.retrieve(Token(call.argument.token))?;
        // Neither lock nor pass is held: userspace could keep others waiting.
        call.argument.fd = fd.reserved_fd() as i32;
        call.reply()?;
        fd.fd_install(file);
        Ok(())
    }

    fn retrieve(&self, token: Token) -> Result<ARef<File>> {
        let pass = self.state.gate.enter()?;
        let (session, _) = self.incoming()?;
        trace::retrieve(&self.name, token, || {
            session.retrieve(&self.state.tables, token, &pass)
        })
    }

    fn finish(&self, call: &Call<Finish>) -> Result {
        if call.argument.reserved != 0 {
            return Err(EINVAL);
        }
        // As for PRESERVE_FD.
        call.reply()?;
        trace::finish(&self.name, || {
            let pass = self.state.gate.enter()?;
            let (session, place) = self.incoming()?;
            session.finish(&self.state.tables, &pass)?;
            *self.role.lock() = Role::Idle;
            let finished = self.state.incoming.write().finish(place);
            drop(finished);
            Ok(())
        })
    }

    /// The session, if it is of the previous kernel.
    fn incoming(&self) -> Result<(Arc<incoming::Session>, Place)> {
        match &*self.role.lock() {
            Role::Incoming(session, place) => Ok((session.clone(), *place)),
            Role::Outgoing(_) | Role::Idle => Err(EINVAL),
        }
    }

    fn get_name(&self, call: &mut Call<GetName>) -> Result {
        if call.argument.reserved != 0 {
            return Err(EINVAL);
        }
        call.argument.name = *self.name.as_array();
        call.reply()
    }

    fn get_info(&self, call: &mut Call<GetInfo>) -> Result {
        call.argument.state = match &*self.role.lock() {
            Role::Outgoing(_) => GetInfo::OUTGOING,
            Role::Incoming(..) => GetInfo::INCOMING,
            Role::Idle => GetInfo::IDLE,
        };
        call.argument.features = GetInfo::RETRIEVE_AFTER_CLOSE | GetInfo::REUSE_AFTER_FINISH;
        call.reply()
    }

    /// The last descriptor is closed.
    fn close(&self) {
        let role = core::mem::replace(&mut *self.role.lock(), Role::Idle);
        match role {
            Role::Outgoing(session) => close_outgoing(self.state, &session),
            // It can be retrieved again.
            Role::Incoming(_, place) => self.state.incoming.write().put_back(place),
            Role::Idle => {}
        }
    }
}

/// Shows the session and its files.
impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.role.lock() {
            Role::Outgoing(session) => match preserved(self.state) {
                Some(files) => session.show(f, files),
                None => show::session(f, &self.name, "outgoing", None),
            },
            Role::Incoming(session, _) => session.show(f, &self.name, "retrieved"),
            Role::Idle => show::session(f, &self.name, "idle", Some(0)),
        }
    }
}

/// The state of preserved files. `None` while `reboot(2)` waits or freezes files: it must not wait
/// for readers.
pub(crate) fn preserved(state: &State) -> Option<&'static str> {
    state.gate.look().map(|phase| match phase {
        Phase::Running => "preserved",
        Phase::HandedOver => "frozen",
    })
}

/// The last descriptor of an outgoing session is closed: the session is not handed over, unless
/// `reboot(2)` has begun and succeeds.
fn close_outgoing(state: &State, session: &outgoing::Session) {
    let Ok(outgoing) = state.outgoing() else {
        return;
    };
    let order = session.order();
    let pass = state.gate.enter().or_else(|_| {
        outgoing.lock().abandon(order);
        // If `reboot(2)` has failed before the session was marked, it has not removed it.
        state.gate.enter()
    });
    if let Ok(pass) = pass {
        let removed = outgoing.lock().remove(order, &pass);
        if let Some(removed) = removed {
            removed.unpreserve(&pass);
        }
    }
}

/// CREATE_SESSION: creates a session for the next kernel, and a file that holds it.
///
/// # Errors
///
/// `EBUSY` if `reboot(2)` has begun, those of `Outgoing::create`, or why there is no file.
pub(crate) fn create(state: &'static State, name: SessionName) -> Result<ARef<File>> {
    trace::create(&name, || {
        let session = {
            let pass = state.gate.enter()?;
            let mut outgoing = state.outgoing()?.lock();
            outgoing.create(name, Origin::Create, &pass)?
        };
        let handle = Handle::new(state, &name, Role::Outgoing(session.clone()));
        let file = handle.and_then(Handle::open);
        file.inspect_err(|_| close_outgoing(state, &session))
    })
}

/// RETRIEVE_SESSION: gives a session of the previous kernel to a new file.
///
/// # Errors
///
/// `EBUSY` if `reboot(2)` has begun, those of `Incoming::hold`, or why there is no file.
pub(crate) fn retrieve(state: &'static State, name: SessionName) -> Result<ARef<File>> {
    trace::retrieve_session(&name, || {
        let _pass = state.gate.enter()?;
        let (session, place) = state.incoming.write().hold(&name)?;
        let handle = Handle::new(state, &name, Role::Incoming(session, place));
        let file = handle.and_then(Handle::open);
        file.inspect_err(|_| state.incoming.write().put_back(place))
    })
}

/// The files of sessions.
struct SessionFile;

static SESSION: Operations<SessionFile> = Operations::new();

#[vtable]
impl AnonInodeFile for SessionFile {
    type Ptr = Pin<KBox<Handle>>;

    fn release(handle: Pin<KBox<Handle>>) {
        handle.close();
    }

    fn ioctl(handle: Pin<&Handle>, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            PreserveFd::OPCODE => handle.preserve_fd(&Call::read(arg)?)?,
            RetrieveFd::OPCODE => handle.retrieve_fd(&mut Call::read(arg)?)?,
            Finish::OPCODE => handle.finish(&Call::read(arg)?)?,
            GetName::OPCODE => handle.get_name(&mut Call::read(arg)?)?,
            GetInfo::OPCODE => handle.get_info(&mut Call::read(arg)?)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }

    fn show_fdinfo(handle: Pin<&Handle>, m: &SeqFile, _file: &File) {
        seq_print!(m, "{}", &*handle);
    }
}
