// SPDX-License-Identifier: GPL-2.0

//! Boot parameters, and what is set up when.

use kernel::{
    fmt, kho,
    prelude::*,
    str::{
        kstrtobool,
        CStr, //
    },
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};
use luo_core::wire::{
    Damage,
    LuoSer,
    SUBTREE, //
};
use zerocopy::FromBytes;

use crate::{
    debugfs, deserialize, device,
    ffi::{
        self,
        memory::HandedOver, //
    },
    flb::IncomingFlbs,
    registry::{
        Incoming,
        Outgoing, //
    },
    state::{
        self,
        State, //
    },
};

/// `liveupdate=on`, until something says otherwise.
static ENABLED: Atomic<bool> = Atomic::new(false);

/// `liveupdate_restore=continue`.
static CONTINUE: Atomic<bool> = Atomic::new(false);

/// Whether LUO is on.
pub(crate) fn is_enabled() -> bool {
    ENABLED.load(Relaxed)
}

/// `liveupdate=`: whether LUO is on; off by default.
pub(crate) fn liveupdate_param(value: Option<&CStr>) -> Result {
    ENABLED.store(kstrtobool(value.ok_or(EINVAL)?)?, Relaxed);
    Ok(())
}

/// `liveupdate_restore=`: whether to `panic`, which is the default, or to `continue` if what the
/// last kernel has left cannot be used.
pub(crate) fn liveupdate_restore_param(value: Option<&CStr>) -> Result {
    let goes_on = match value.ok_or(EINVAL)?.to_bytes() {
        b"continue" => true,
        b"panic" => false,
        _ => return Err(EINVAL),
    };
    CONTINUE.store(goes_on, Relaxed);
    Ok(())
}

/// Finds what the last kernel has left, before anybody registers.
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
    let state = match find() {
        Ok(state) => state,
        Err(why) if CONTINUE.load(Relaxed) => {
            pr_err!("{why}; going on without it (liveupdate_restore=continue)\n");
            State::new(0, Incoming::Damaged, IncomingFlbs::none())
        }
        Err(why) => ffi::panic(fmt!(
            "{why}; boot with liveupdate_restore=continue to go on without it"
        )),
    };
    state.map(State::publish).inspect_err(|error| {
        pr_err!("cannot set up: {error:?}\n");
        ENABLED.store(false, Relaxed);
    })
}

/// Why the state of the last kernel cannot be used.
enum Unusable {
    Kho(Error),
    Damaged(&'static str, Damage),
    TooMuch(Error),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kho(error) => write!(f, "cannot find what the last kernel left: {error:?}"),
            Self::Damaged(what, damage) => {
                write!(
                    f,
                    "the {what} of the last kernel cannot be used: {}",
                    damage
                )
            }
            Self::TooMuch(error) => write!(f, "cannot read what the last kernel left: {error:?}"),
        }
    }
}

/// Makes the state from what the last kernel has left, if there was one.
fn find() -> Result<Result<Pin<KBox<State>>>, Unusable> {
    let (memory, found) = match HandedOver::take(SUBTREE, size_of::<LuoSer>()) {
        Ok(found) => found,
        Err(error) if error == ENOENT => {
            return Ok(State::new(0, Incoming::nothing(), IncomingFlbs::none()));
        }
        Err(error) => return Err(Unusable::Kho(error)),
    };
    let (root, _) = LuoSer::read_from_prefix(found.bytes()).map_err(|_| Unusable::Kho(EINVAL))?;
    root.check()
        .map_err(|damage| Unusable::Damaged("root", damage))?;
    let number = root.liveupdate_num;
    pr_info!("Retrieved live update data, liveupdate number: {number}\n");

    deserialize::check_sessions(&memory, root.sessions)
        .map_err(|damage| Unusable::Damaged("sessions", damage))?;
    let flbs = deserialize::flbs(&memory, root.flbs).map_err(|failure| match failure {
        deserialize::Failure::Damaged(damage) => Unusable::Damaged("FLBs", damage),
        deserialize::Failure::Other(error) => Unusable::TooMuch(error),
    })?;
    let incoming = Incoming::Unread {
        memory,
        root: found,
    };
    Ok(State::new(number, incoming, flbs))
}

/// Sets up what goes to the next kernel, and the device.
pub(crate) fn late_init() -> Result {
    if !is_enabled() {
        return Ok(());
    }
    set_up_outgoing()
        .and_then(|()| device::register())
        .inspect_err(|error| {
            pr_err!("cannot set up what goes to the next kernel: {error:?}\n");
            ENABLED.store(false, Relaxed);
        })?;
    // LUO works without.
    debugfs::register().inspect_err(|error| pr_warn!("no files in debugfs: {error:?}\n"))
}

fn set_up_outgoing() -> Result {
    let state = state::get()?;
    let outgoing = Outgoing::new(state.liveupdate_num.saturating_add(1))?;
    state.set_outgoing(outgoing)
}
