// SPDX-License-Identifier: GPL-2.0

//! Boot parameters, the order of set-up, and the one static that leads to the state.

use kernel::{
    kho,
    prelude::*,
    str::{
        kstrtobool,
        CStr, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        SetOnce, //
    },
};

use crate::{
    debugfs,
    deserialize::{
        self,
        Found,
        Unusable, //
    },
    device,
    ffi,
    registry::Outgoing,
    state::State, //
};

static STATE: SetOnce<Pin<KBox<State>>> = SetOnce::new();

/// `liveupdate=on`, and nothing has failed.
static ENABLED: Atomic<bool> = Atomic::new(false);

/// `liveupdate_restore=continue`.
static CONTINUE: Atomic<bool> = Atomic::new(false);

/// Whether LUO is on.
pub(crate) fn is_enabled() -> bool {
    ENABLED.load(Relaxed)
}

/// The state of LUO.
///
/// # Errors
///
/// `EOPNOTSUPP` if LUO is off.
pub(crate) fn state() -> Result<&'static State> {
    kept_state().and_then(|state| is_enabled().then_some(state).ok_or(EOPNOTSUPP))
}

/// The state of LUO, also if it was switched off because the handover for the next kernel could not
/// be set up: FLBs of the previous kernel have users all the same.
///
/// # Errors
///
/// `EOPNOTSUPP` if LUO is off.
pub(crate) fn kept_state() -> Result<&'static State> {
    STATE.as_ref().map(|state| &**state).ok_or(EOPNOTSUPP)
}

struct Luo;

impl device::Root for Luo {
    fn state() -> Result<&'static State> {
        state()
    }
}

/// `liveupdate=`: whether LUO is on; off by default.
pub(crate) fn liveupdate_param(value: &CStr) -> Result {
    ENABLED.store(kstrtobool(value)?, Relaxed);
    Ok(())
}

/// `liveupdate_restore=`: whether a handover that cannot be used is a `panic`, which is the
/// default, or the kernel should `continue` without it.
pub(crate) fn restore_param(value: &CStr) -> Result {
    let goes_on = match value.to_bytes() {
        b"continue" => true,
        b"panic" => false,
        _ => return Err(EINVAL),
    };
    CONTINUE.store(goes_on, Relaxed);
    Ok(())
}

/// Finds the handover of the previous kernel, before handlers register.
pub(crate) fn early_init() -> Result {
    if !kho::is_enabled() {
        if is_enabled() {
            pr_warn!("Disabling liveupdate because KHO is disabled\n");
        }
        ENABLED.store(false, Relaxed);
    }
    if !is_enabled() {
        return Ok(());
    }
    let found = deserialize::find().unwrap_or_else(go_on_without);
    let has_come = found.liveupdate_num > 0;
    match State::new(found.liveupdate_num, found.incoming, found.flbs) {
        Ok(state) => {
            STATE.populate(state);
            Ok(())
        }
        // Subsystems would take it for a cold boot.
        Err(error) if has_come => ffi::panic(fmt!("no room for the handover: {error:?}")),
        Err(error) => off_if_failed(Err(error)),
    }
}

/// Panics, or goes on if the command line says so.
fn go_on_without(why: Unusable) -> Found {
    let Unusable {
        part,
        failure,
        liveupdate_num,
    } = why;
    if !CONTINUE.load(Relaxed) {
        ffi::panic(fmt!(
            "the {part} of the previous kernel cannot be used: {failure}; \
             liveupdate_restore=continue boots without it"
        ));
    }
    pr_err!(
        "the {part} of the previous kernel cannot be used: {failure}; \
         booting without it (liveupdate_restore=continue)\n"
    );
    if liveupdate_num.is_none() {
        pr_warn!("the live update number is lost, and starts again at 1\n");
    }
    Found::damaged(liveupdate_num.unwrap_or(0))
}

/// Sets up the handover for the next kernel, and the device.
pub(crate) fn late_init() -> Result {
    let Ok(state) = state() else {
        return Ok(());
    };
    let outgoing = Outgoing::new(state.liveupdate_num.saturating_add(1));
    let set_up = outgoing.and_then(|outgoing| state.set_outgoing(outgoing));
    off_if_failed(set_up.and_then(|()| device::register::<Luo>()))?;
    // LUO works without.
    debugfs::register(state).inspect_err(|error| pr_warn!("no files in debugfs: {error:?}\n"))
}

fn off_if_failed(set_up: Result) -> Result {
    set_up.inspect_err(|error| {
        pr_err!("cannot set up: {error:?}\n");
        ENABLED.store(false, Relaxed);
    })
}
