// SPDX-License-Identifier: GPL-2.0

//! The C interface of `include/linux/liveupdate.h`.

use core::{
    ffi::c_void,
    ptr::NonNull, //
};

use kernel::{
    bindings::{
        liveupdate_file_handler,
        liveupdate_flb, //
    },
    error::{
        code::*,
        from_result,
        Result, //
    },
    ffi::c_int,
    prelude::*,
};

use super::{
    flb::{
        Object,
        RawFlb, //
    },
    handler::RawHandler, //
};
use crate::{
    boot,
    flb,
    serialize,
    state, //
};

/// Whether LUO is on.
///
/// # Safety
///
/// None.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_enabled() -> bool {
    boot::is_enabled()
}

/// `reboot(LINUX_REBOOT_CMD_KEXEC)`: the point of no return, unless this fails.
///
/// # Safety
///
/// None.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_reboot() -> c_int {
    from_result(|| serialize::reboot().map(|()| 0))
}

/// Registers a file handler.
///
/// # Safety
///
/// `fh` must be a valid handler with constant operations and name, until it is unregistered and none
/// of its files is preserved or incoming.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_register_file_handler(
    fh: *mut liveupdate_file_handler,
) -> c_int {
    from_result(|| {
        let state = enabled()?;
        // SAFETY: The caller promises a valid handler.
        let handler = unsafe { RawHandler::new(fh) }?;
        state.handlers.write().add(handler)?;
        #[cfg(CONFIG_LIVEUPDATE_TEST)]
        // SAFETY: The function takes a registered handler.
        unsafe {
            kernel::bindings::liveupdate_test_register(fh);
        }
        Ok(0)
    })
}

/// Unregisters a file handler and what its files depend on.
///
/// # Safety
///
/// None; `fh` is only compared.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_unregister_file_handler(
    fh: *mut liveupdate_file_handler,
) {
    let Ok(state) = enabled() else {
        return;
    };
    let removed = state.handlers.write().remove(|handler| handler.is(fh));
    match removed {
        Some(flbs) => flb::unregister_all(state, &flbs),
        None => pr_warn!("a file handler was unregistered that was not registered\n"),
    }
}

/// Makes files of a handler depend on an object.
///
/// # Safety
///
/// `flb` must be a valid definition with constant operations and name, until it is unregistered and
/// no preserved or incoming file depends on it. `fh` is only compared.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_register_flb(
    fh: *mut liveupdate_file_handler,
    flb: *mut liveupdate_flb,
) -> c_int {
    from_result(|| {
        let state = enabled()?;
        // SAFETY: The caller promises a valid definition.
        let raw = unsafe { RawFlb::new(flb) }?;
        flb::register(state, |handler| handler.is(fh), raw, |there| there.is(flb))?;
        Ok(0)
    })
}

/// Makes files of a handler depend on an object no longer.
///
/// # Safety
///
/// None; both pointers are only compared.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_unregister_flb(
    fh: *mut liveupdate_file_handler,
    flb: *mut liveupdate_flb,
) {
    let Ok(state) = enabled() else {
        return;
    };
    let done = flb::unregister(state, |handler| handler.is(fh), |there| there.is(flb));
    if let Err(error) = done {
        pr_warn!("an object could not be unregistered from a file handler: {error:?}\n");
    }
}

/// The object of the last kernel, to be given back by [`liveupdate_flb_put_incoming`].
///
/// # Safety
///
/// `flb` must be a valid definition, and `objp` valid for a write.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_flb_get_incoming(
    flb: *mut liveupdate_flb,
    objp: *mut *mut c_void,
) -> c_int {
    from_result(|| {
        let state = enabled()?;
        // SAFETY: The caller promises a valid definition.
        let raw = unsafe { RawFlb::new(flb) }?;
        let object = state.incoming_flbs.get(&raw)?;
        // SAFETY: The caller promises that `objp` can be written to.
        unsafe { give(objp, object) }
    })
}

/// Gives back what [`liveupdate_flb_get_incoming`] gave.
///
/// # Safety
///
/// `flb` must be a valid definition.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_flb_put_incoming(flb: *mut liveupdate_flb) {
    // SAFETY: The caller promises a valid definition.
    if let (Ok(state), Ok(raw)) = (enabled(), unsafe { RawFlb::new(flb) }) {
        state.incoming_flbs.put(&raw);
    }
}

/// The object for the next kernel, to be given back by [`liveupdate_flb_put_outgoing`].
///
/// # Safety
///
/// `objp` must be valid for a write. `flb` is only compared.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_flb_get_outgoing(
    flb: *mut liveupdate_flb,
    objp: *mut *mut c_void,
) -> c_int {
    from_result(|| {
        let found = enabled()?.flbs.lock().find(|there| there.is(flb))?;
        let object = found.get()?;
        // SAFETY: The caller promises that `objp` can be written to.
        unsafe { give(objp, object) }
    })
}

/// Gives back what [`liveupdate_flb_get_outgoing`] gave.
///
/// # Safety
///
/// None; `flb` is only compared.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_flb_put_outgoing(flb: *mut liveupdate_flb) {
    let Ok(state) = enabled() else {
        return;
    };
    let found = state.flbs.lock().find(|there| there.is(flb));
    if let Ok(found) = found {
        found.put();
        // Its definition may go from now on, if nobody has registered it.
        state.flbs.lock().sweep();
    }
}

/// # Safety
///
/// `to` must be null or valid for a write.
unsafe fn give(to: *mut *mut c_void, object: Object) -> Result<c_int> {
    let to = NonNull::new(to).ok_or(EINVAL)?;
    // SAFETY: The caller promises that it can be written to.
    unsafe { to.write(object.as_ptr()) };
    Ok(0)
}

fn enabled() -> Result<&'static state::State> {
    if boot::is_enabled() {
        state::get()
    } else {
        Err(EOPNOTSUPP)
    }
}
