// SPDX-License-Identifier: GPL-2.0

//! Files and an object that behave as a test wants them to, over a live update.
//!
//! Everything that they are asked to do is written to the log. They are made of the safe traits of
//! [`kernel::liveupdate`] alone, and work with either implementation of the orchestrator.

#![deny(unsafe_code)]

use kernel::{
    fs::{
        file::{
            flags,
            FileDescriptorReservation, //
        },
        File, //
    },
    liveupdate::{
        FlbRegistration,
        HandlerRegistration, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*, //
};

pub mod abi;
mod files;
mod object;

use files::{
    TestFile,
    TestHandler,
    HANDLER, //
};
use object::{
    TestObject,
    OBJECT, //
};

module! {
    type: LuoTest,
    name: "luo_test",
    authors: ["The authors of the Live Update Orchestrator in Rust"],
    description: "Files that behave as tests want them to, over a live update",
    license: "GPL",
    params: {
        handler: u8 {
            default: 1,
            description: "Whether there is a handler for the files",
        },
    },
}

/// What is registered for as long as the kernel runs.
struct LuoTest {
    _device: Pin<KBox<MiscDeviceRegistration<Device>>>,
    _registered: Option<(
        FlbRegistration<TestObject, TestHandler>,
        HandlerRegistration<TestHandler>,
    )>,
}

impl kernel::Module for LuoTest {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        files::set_up()?;
        let has_handler = module_parameters::handler.value() != 0;
        let registered = if has_handler {
            HANDLER.register()
        } else {
            Err(EOPNOTSUPP)
        };
        let registered = match registered {
            Ok(handler) => {
                let object = OBJECT.register(&handler)?;
                Some((object, handler))
            }
            // There is no handler, or no live update.
            Err(error) if error == EOPNOTSUPP => None,
            Err(error) => return Err(error),
        };
        let options = MiscDeviceOptions {
            name: c"liveupdate_test",
        };
        let device = KBox::pin_init(MiscDeviceRegistration::register(options), GFP_KERNEL)?;
        Ok(Self {
            _device: device,
            _registered: registered,
        })
    }
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
            abi::NEW => {
                let fd = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)?;
                let number = fd.reserved_fd();
                fd.fd_install(TestFile::open(arg as u64)?);
                Ok(number as isize)
            }
            abi::GO => {
                files::go();
                Ok(0)
            }
            abi::MAY_FINISH => {
                files::may_finish(arg != 0);
                Ok(0)
            }
            abi::WAITING => Ok(files::waiting() as isize),
            abi::OUTGOING_OBJECT => Ok(*OBJECT.outgoing()?.get() as isize),
            abi::INCOMING_OBJECT => Ok(*OBJECT.incoming()?.get() as isize),
            abi::OBJECT_FAILS => {
                object::fail_next();
                Ok(0)
            }
            _ => Err(ENOTTY),
        }
    }
}
