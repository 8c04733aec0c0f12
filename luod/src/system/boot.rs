// SPDX-License-Identifier: MIT OR Apache-2.0

//! Loading a kernel, and leaving this one.

use std::fmt::Debug;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use liblu::kexec;

use crate::update::Method;

/// The ways to load and to leave a kernel. All of them take time.
pub trait Boot: Debug + Send + Sync {
    /// Loads a kernel in place of the one that is loaded.
    ///
    /// # Errors
    ///
    /// Those of [`kexec::Kernel::load`].
    fn load(&self, kernel: &File, initrd: Option<&File>, cmdline: &str) -> liblu::Result<()>;

    /// Forgets the kernel that is loaded.
    ///
    /// # Errors
    ///
    /// Those of [`kexec::unload`].
    fn unload(&self) -> liblu::Result<()>;

    /// Whether a kernel is loaded, by whomever.
    ///
    /// # Errors
    ///
    /// Those of [`kexec::is_loaded`].
    fn is_loaded(&self) -> liblu::Result<bool>;

    /// The command line of the running kernel, without what the boot loader has added.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    fn cmdline(&self) -> liblu::Result<String>;

    /// Leaves this kernel. It returns when the service manager has begun to, or if it fails.
    ///
    /// # Errors
    ///
    /// The reason, as a sentence.
    fn leave(&self, method: Method) -> Result<(), String>;
}

/// The real machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The program `systemctl`.
    pub systemctl: PathBuf,
}

impl Boot for Machine {
    fn load(&self, kernel: &File, initrd: Option<&File>, cmdline: &str) -> liblu::Result<()> {
        let mut image = kexec::Kernel::new(kernel).cmdline(cmdline);
        if let Some(initrd) = initrd {
            image = image.initrd(initrd);
        }
        image.load()
    }

    fn unload(&self) -> liblu::Result<()> {
        kexec::unload()
    }

    fn is_loaded(&self) -> liblu::Result<bool> {
        kexec::is_loaded()
    }

    fn cmdline(&self) -> liblu::Result<String> {
        kexec::running_cmdline()
    }

    fn leave(&self, method: Method) -> Result<(), String> {
        match method {
            Method::Elsewhere => Ok(()),
            Method::Systemctl => {
                let mut command = Command::new(&self.systemctl);
                command.args(["kexec", "--no-wall", "--no-ask-password"]);
                let output = command.output();
                let output = output.map_err(|error| {
                    format!("{} cannot be run: {error}", self.systemctl.display())
                })?;
                if output.status.success() {
                    return Ok(());
                }
                let said = String::from_utf8_lossy(&output.stderr);
                Err(format!("systemctl kexec has failed: {}", said.trim()))
            }
            Method::Now => {
                // Most of what is to be written is written while others still can write.
                rustix::fs::sync();
                let frozen = kexec::Frozen::all().map_err(|error| error.to_string())?;
                let error = kexec::reboot();
                drop(frozen);
                Err(error.to_string())
            }
        }
    }
}
