// SPDX-License-Identifier: GPL-2.0

//! `/dev/liveupdate`.

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
            Atomic,
            Release, //
        },
        SetOnce, //
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
    deserialize,
    session,
    state, //
};

/// The device, which stays for ever.
static DEVICE: SetOnce<Pin<KBox<MiscDeviceRegistration<Device>>>> = SetOnce::new();

/// Makes the device appear.
pub(crate) fn register() -> Result {
    let options = MiscDeviceOptions {
        name: c"liveupdate",
    };
    DEVICE.populate(KBox::pin_init(
        MiscDeviceRegistration::register(options),
        GFP_KERNEL,
    )?);
    Ok(())
}

/// Whether somebody has the device open.
static IN_USE: Atomic<bool> = Atomic::new(false);

/// The only open file of the device.
///
/// # Invariants
///
/// There is one at most, and `IN_USE` is true while there is.
struct Device(());

impl Device {
    fn new() -> Result<Self> {
        IN_USE.cmpxchg(false, true, Acquire).map_err(|_| EBUSY)?;
        // INVARIANT: It was false.
        Ok(Self(()))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        IN_USE.store(false, Release);
    }
}

#[vtable]
impl MiscDevice for Device {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let device = KBox::new(Device::new()?, GFP_KERNEL)?;
        deserialize::sessions(state::get()?)?;
        Ok(device)
    }

    fn ioctl(_device: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            CreateSession::OPCODE => create(&mut Call::read(arg)?)?,
            RetrieveSession::OPCODE => retrieve(&mut Call::read(arg)?)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

fn create(call: &mut Call<CreateSession>) -> Result {
    let fd = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)?;
    let name = SessionName::new(&call.argument.name).map_err(|_| EINVAL)?;
    let file = session::create(name)?;
    call.argument.fd = fd.reserved_fd() as i32;
    call.reply()?;
    fd.fd_install(file);
    Ok(())
}

fn retrieve(call: &mut Call<RetrieveSession>) -> Result {
    let fd = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)?;
    // No session has a name that is none.
    let name = SessionName::new(&call.argument.name).map_err(|_| ENOENT)?;
    let file = session::retrieve(name)?;
    call.argument.fd = fd.reserved_fd() as i32;
    call.reply()?;
    fd.fd_install(file);
    Ok(())
}
