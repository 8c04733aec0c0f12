// SPDX-License-Identifier: GPL-2.0

//! Files and an FLB that behave as a test wants, over a live update.
//!
//! Each of their callbacks writes a line to the log. They use only the safe traits of
//! [`kernel::liveupdate`], and work with either implementation of the orchestrator.

#![deny(unsafe_code)]

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
    sync::aref::ARef, //
};

pub mod abi;
mod counted;
mod files;
mod gate;
mod object;
mod registration;
mod watch;

use counted::CountedFile;
use files::TestFile;
use object::OBJECT;

module! {
    type: LuoTest,
    name: "luo_test",
    authors: ["The authors of the Live Update Orchestrator in Rust"],
    description: "Files that behave as tests want them to, over a live update",
    license: "GPL",
}

/// The module, which stays for as long as the kernel runs.
struct LuoTest {
    _device: Pin<KBox<MiscDeviceRegistration<Device>>>,
}

impl kernel::Module for LuoTest {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        gate::set_up()?;
        registration::set_up()?;
        match registration::handler(true)
            .and_then(|()| registration::object(true))
            .and_then(|()| registration::others())
        {
            Ok(()) => {}
            // Live update is off.
            Err(error) if error == EOPNOTSUPP => {}
            Err(error) => return Err(error),
        }
        let options = MiscDeviceOptions {
            name: c"liveupdate_test",
        };
        let device = KBox::pin_init(MiscDeviceRegistration::register(options), GFP_KERNEL)?;
        Ok(Self { _device: device })
    }
}

/// Gives a file a new descriptor in the process.
fn install(file: ARef<File>) -> Result<isize> {
    let fd = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)?;
    let number = fd.reserved_fd();
    fd.fd_install(file);
    Ok(number as isize)
}

/// `/dev/liveupdate_test`.
struct Device;

#[vtable]
impl MiscDevice for Device {
    type Ptr = ();

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result {
        Ok(())
    }

    fn ioctl((): (), _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            abi::NEW => install(TestFile::open(arg as u64)?),
            abi::NEW_COUNTED => install(CountedFile::open()?),
            abi::COUNTED => Ok(counted::handed_over()? as isize),
            abi::GO => {
                gate::open(arg as u64);
                Ok(0)
            }
            abi::MAY_FINISH => {
                files::may_finish(arg != 0);
                Ok(0)
            }
            abi::WAITING => Ok(gate::waiting(arg as u64) as isize),
            abi::OUTGOING_OBJECT => Ok(*OBJECT.outgoing()?.get() as isize),
            abi::INCOMING_OBJECT => Ok(*OBJECT.incoming()?.get() as isize),
            abi::OBJECT_FAILS => {
                object::fail_next();
                Ok(0)
            }
            abi::OBJECT_IS_SLOW => {
                object::slow_next();
                Ok(0)
            }
            abi::HANDLER => registration::handler(arg != 0).map(|()| 0),
            abi::PLAIN_HANDLER => registration::plain(arg != 0).map(|()| 0),
            abi::DEPENDENCE => registration::object(arg != 0).map(|()| 0),
            abi::HOLD_OUTGOING => registration::hold_outgoing(arg != 0).map(|()| 0),
            abi::HOLD_INCOMING => registration::hold_incoming(arg != 0).map(|()| 0),
            _ => Err(ENOTTY),
        }
    }
}
