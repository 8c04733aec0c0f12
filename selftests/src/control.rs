// SPDX-License-Identifier: MIT OR Apache-2.0

//! The second serial port: KTAP and events, one write for each line.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::termios::{self, OptionalActions};

use crate::event::Event;
use crate::plan::CONTROL_PARAMETER;
use crate::position::parameter;

/// The port to which the guest writes; clones share the port, and lines never mix.
#[derive(Clone, Debug)]
pub struct Control(Arc<Mutex<File>>);

impl Control {
    /// Opens the port, without the echo and the newline translation of a terminal.
    ///
    /// # Errors
    ///
    /// If the kernel's command line names no port, or the port cannot be opened.
    pub fn open() -> Result<Self> {
        let device = parameter(CONTROL_PARAMETER)?;
        let port = OpenOptions::new().read(true).write(true).open(&device);
        let port = port.with_context(|| format!("open {device}"))?;
        let mut settings = termios::tcgetattr(&port).context("read the port's settings")?;
        settings.make_raw();
        termios::tcsetattr(&port, OptionalActions::Now, &settings).context("set the port raw")?;
        Ok(Self(Arc::new(Mutex::new(port))))
    }

    /// Writes one line. An error cannot be reported anywhere; the host notices the silence.
    pub fn line(&self, text: &str) {
        let mut port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = port.write_all(format!("{text}\n").as_bytes());
    }

    /// Writes an event.
    pub fn event(&self, event: &Event) {
        self.line(&event.to_line());
    }

    /// Waits until the host has all of it.
    pub fn drain(&self) {
        let port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = termios::tcdrain(&*port);
    }
}
