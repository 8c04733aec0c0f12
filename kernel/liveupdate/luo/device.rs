// SPDX-License-Identifier: GPL-2.0

//! `/dev/liveupdate`.

use core::marker::PhantomData;

use kernel::{
    fs::{
        file::{
            flags,
            FileDescriptorReservation, //
        },
        File, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Release, //
        }, //
    },
};
use liveupdate_uapi::{
    Command,
    CreateSession,
    RetrieveSession, //
};
use luo_core::name::SessionName;

use crate::{
    command::Call,
    descriptor,
    deserialize,
    state::State, //
};

/// Leads to the state: a misc device has no data of its own.
pub(crate) trait Root: 'static {
    /// The state.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if there is none.
    fn state() -> Result<&'static State>;
}

/// Makes the device appear, which stays for ever.
pub(crate) fn register<R: Root>() -> Result {
    let options = MiscDeviceOptions {
        name: c"liveupdate",
    };
    let device = MiscDeviceRegistration::<Device<R>>::register(options);
    core::mem::forget(KBox::pin_init(device, GFP_KERNEL)?);
    Ok(())
}

/// The only open file of the device.
///
/// # Invariants
///
/// There is one at most, and `device_is_open` is true while there is.
struct Device<R> {
    state: &'static State,
    root: PhantomData<fn(R)>,
}

impl<R: Root> Device<R> {
    fn new() -> Result<Self> {
        let state = R::state()?;
        let is_open = &state.device_is_open;
        is_open.cmpxchg(false, true, Acquire).map_err(|_| EBUSY)?;
        // INVARIANT: It was false.
        Ok(Self {
            state,
            root: PhantomData,
        })
    }
}

impl<R> Drop for Device<R> {
    fn drop(&mut self) {
        self.state.device_is_open.store(false, Release);
    }
}

#[vtable]
impl<R: Root> MiscDevice for Device<R> {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let device = KBox::new(Device::new()?, GFP_KERNEL)?;
        deserialize::sessions(device.state)?;
        Ok(device)
    }

    fn ioctl(device: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            CreateSession::OPCODE => create(device.state, &mut Call::read(arg)?)?,
            RetrieveSession::OPCODE => retrieve(device.state, &mut Call::read(arg)?)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

fn create(state: &'static State, call: &mut Call<CreateSession>) -> Result {
    let fd = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)?;
    let name = SessionName::new(&call.argument.name).map_err(|_| EINVAL)?;
    let file = descriptor::create(state, name)?;
    call.argument.fd = fd.reserved_fd() as i32;
    call.reply()?;
    fd.fd_install(file);
    Ok(())
}

fn retrieve(state: &'static State, call: &mut Call<RetrieveSession>) -> Result {
    let fd = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)?;
    // No session has an empty name, or one without an end.
    let name = SessionName::new(&call.argument.name).map_err(|_| ENOENT)?;
    let file = descriptor::retrieve(state, name)?;
    call.argument.fd = fd.reserved_fd() as i32;
    call.reply()?;
    fd.fd_install(file);
    Ok(())
}
