// SPDX-License-Identifier: MIT OR Apache-2.0

//! Ctrl-C and its relatives: a flag that every loop looks at.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::failure::Interrupted;

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Begins to listen. A second signal ends the program on the spot.
pub(crate) fn listen() -> Result<()> {
    let flag = FLAG.get_or_init(Arc::default);
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(flag)))
            .context("listen to signals")?;
    }
    Ok(())
}

/// Whether a signal has come.
pub(crate) fn came() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// An error once a signal has come.
pub(crate) fn check() -> Result<()> {
    if came() { Err(Interrupted.into()) } else { Ok(()) }
}
