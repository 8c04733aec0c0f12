// SPDX-License-Identifier: GPL-2.0

//! The functions that C calls: the interface of `include/linux/liveupdate.h`, and what
//! `luo_init.c` calls while the kernel boots.

#![expect(
    unsafe_code,
    reason = "C passes pointers, and promises that they are valid"
)]

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
    ffi::{
        c_char,
        c_int, //
    },
    prelude::*,
    str::CStr, //
};

use crate::{
    boot::{
        self,
        state, //
    },
    ffi::{
        flb::RawFlb,
        handler::RawHandler, //
    },
    serialize, //
};

/// `liveupdate=`.
///
/// # Safety
///
/// `value` must be null or NUL-terminated.
#[export]
pub(crate) unsafe extern "C" fn luo_liveupdate_param(value: *mut c_char) -> c_int {
    // SAFETY: The caller promises it.
    from_result(|| boot::liveupdate_param(unsafe { text(value) }?).map(|()| 0))
}

/// `liveupdate_restore=`.
///
/// # Safety
///
/// `value` must be null or NUL-terminated.
#[export]
pub(crate) unsafe extern "C" fn luo_restore_param(value: *mut c_char) -> c_int {
    // SAFETY: The caller promises it.
    from_result(|| boot::restore_param(unsafe { text(value) }?).map(|()| 0))
}

/// # Safety
///
/// `value` must be null or NUL-terminated, and stay as it is while the result is used.
unsafe fn text<'a>(value: *const c_char) -> Result<&'a CStr> {
    if value.is_null() {
        return Err(EINVAL);
    }
    // SAFETY: The caller promises that it is NUL-terminated.
    Ok(unsafe { CStr::from_char_ptr(value) })
}

/// To be called once, before handlers register.
///
/// # Safety
///
/// None.
#[export]
pub(crate) unsafe extern "C" fn luo_early_init() -> c_int {
    from_result(|| boot::early_init().map(|()| 0))
}

/// To be called once, when KHO preserves memory and devices can be registered.
///
/// # Safety
///
/// None.
#[export]
pub(crate) unsafe extern "C" fn luo_late_init() -> c_int {
    from_result(|| boot::late_init().map(|()| 0))
}

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
    match state() {
        Ok(state) => from_result(|| serialize::reboot(state).map(|()| 0)),
        // LUO is off.
        Err(_) => 0,
    }
}

/// Registers a file handler.
///
/// # Safety
///
/// `fh` must be a valid handler with constant operations and name, until it is unregistered and
/// none of its files is preserved or incoming.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_register_file_handler(
    fh: *mut liveupdate_file_handler,
) -> c_int {
    from_result(|| {
        let tables = &state()?.tables;
        // SAFETY: The caller promises a valid handler.
        let handler = unsafe { RawHandler::new(fh) }?;
        tables.handlers.write().add(handler)?;
        #[cfg(CONFIG_LIVEUPDATE_TEST)]
        // SAFETY: The caller promises a valid handler; it has just been registered, and the
        // function registers more with it.
        unsafe {
            kernel::bindings::liveupdate_test_register(fh);
        }
        Ok(0)
    })
}

/// Unregisters a file handler, and its files from the FLBs that they depend on.
///
/// # Safety
///
/// None; `fh` is only compared.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_unregister_file_handler(
    fh: *mut liveupdate_file_handler,
) {
    let Ok(state) = state() else {
        return;
    };
    let removed = state.tables.unregister_handler(|handler| handler.is(fh));
    if removed.is_err() {
        pr_warn!("a file handler was unregistered that was not registered\n");
    }
}

/// Makes files of a handler depend on an FLB.
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
        let tables = &state()?.tables;
        // SAFETY: The caller promises a valid definition.
        let raw = unsafe { RawFlb::new(flb) }?;
        tables.register_flb(|handler| handler.is(fh), raw, |there| there.is(flb))?;
        Ok(0)
    })
}

/// Makes files of a handler depend on an FLB no longer.
///
/// # Safety
///
/// None; both pointers are only compared.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_unregister_flb(
    fh: *mut liveupdate_file_handler,
    flb: *mut liveupdate_flb,
) {
    let Ok(state) = state() else {
        return;
    };
    let tables = &state.tables;
    let done = tables.unregister_flb(|handler| handler.is(fh), |there| there.is(flb));
    if let Err(error) = done {
        pr_warn!("an FLB could not be unregistered from a file handler: {error:?}\n");
    }
}

/// The live object of an FLB of the previous kernel, to be given back by
/// [`liveupdate_flb_put_incoming`].
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
        let state = boot::kept_state()?;
        let to = NonNull::new(objp).ok_or(EINVAL)?;
        // SAFETY: The caller promises a valid definition.
        let raw = unsafe { RawFlb::new(flb) }?;
        let object = state.tables.incoming_flbs.get(&raw, &state.gate)?;
        // SAFETY: The caller promises that `objp` can be written to.
        unsafe { to.write(object.as_ptr()) };
        Ok(0)
    })
}

/// Gives back the live object that [`liveupdate_flb_get_incoming`] returned.
///
/// # Safety
///
/// `flb` must be a valid definition.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_flb_put_incoming(flb: *mut liveupdate_flb) {
    // SAFETY: The caller promises a valid definition.
    if let (Ok(state), Ok(raw)) = (boot::kept_state(), unsafe { RawFlb::new(flb) }) {
        state.tables.incoming_flbs.put(&raw, &state.gate);
    }
}

/// The live object of an FLB for the next kernel, to be given back by
/// [`liveupdate_flb_put_outgoing`].
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
        let to = NonNull::new(objp).ok_or(EINVAL)?;
        let found = state()?.tables.flbs.lock().find(|there| there.is(flb))?;
        let object = found.get()?;
        // SAFETY: The caller promises that `objp` can be written to.
        unsafe { to.write(object.as_ptr()) };
        Ok(0)
    })
}

/// Gives back the live object that [`liveupdate_flb_get_outgoing`] returned.
///
/// # Safety
///
/// None; `flb` is only compared.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_flb_put_outgoing(flb: *mut liveupdate_flb) {
    let Ok(state) = state() else {
        return;
    };
    let flbs = &state.tables.flbs;
    let found = flbs.lock().find(|there| there.is(flb));
    if let Ok(found) = found {
        found.put(&state.gate);
        // Its definition may go from now on, if it is not registered.
        flbs.lock().sweep();
    }
}
