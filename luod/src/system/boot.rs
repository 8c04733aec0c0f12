// SPDX-License-Identifier: MIT OR Apache-2.0

//! Loading a kernel, and leaving this one.

use std::fmt::Debug;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

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

    /// Leaves this kernel, as long as `permit` is true. It returns when the service manager has begun to, or if
    /// it fails.
    ///
    /// # Errors
    ///
    /// The reason, as a sentence.
    fn leave(&self, method: Method, permit: &AtomicBool) -> Result<(), String>;

    /// Whether the service manager carries sessions over `systemctl kexec`, and has at least so many of them.
    ///
    /// # Errors
    ///
    /// The reason why it does not, as a sentence.
    fn carries(&self, sessions: u32) -> Result<(), String>;
}

/// The real machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The program `systemctl`.
    pub systemctl: PathBuf,
}

/// The first systemd that carries the fd store of services over a kexec, with sessions in it.
const SYSTEMD: u32 = 262;

/// The unit of luod.
const UNIT: &str = "luod.service";

impl Machine {
    fn run(&self, mut command: Command) -> Result<std::process::Output, String> {
        let output = command.output();
        output.map_err(|error| format!("{} cannot be run: {error}", self.systemctl.display()))
    }

    /// The value of a property, by `systemctl show`.
    fn show(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.systemctl);
        command.args(["show", "--value"]).args(words);
        let output = self.run(command)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("systemctl show has failed: {}", said.trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
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

    fn carries(&self, sessions: u32) -> Result<(), String> {
        let version = self.show(&["--property=Version"])?;
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        if digits.parse::<u32>().is_ok_and(|version| version < SYSTEMD) {
            return Err(format!(
                "systemd {version} does not carry the fd store of luod over a kexec; {SYSTEMD} does"
            ));
        }
        let preserve = self.show(&["--property=FileDescriptorStorePreserve", UNIT])?;
        if preserve != "yes" {
            return Err(format!("{UNIT} has FileDescriptorStorePreserve={preserve}, not yes"));
        }
        // It drops what does not fit without a word.
        let stored = self.show(&["--property=NFileDescriptorStore", UNIT])?;
        if stored.parse().is_ok_and(|stored: u32| stored < sessions) {
            return Err(format!(
                "systemd holds {stored} file descriptors for {UNIT}, and luod has {sessions} sessions there"
            ));
        }
        Ok(())
    }

    fn leave(&self, method: Method, permit: &AtomicBool) -> Result<(), String> {
        let is_off = || (!permit.load(Ordering::SeqCst)).then_some("the update is off");
        match method {
            Method::Elsewhere => Ok(()),
            Method::Systemctl => {
                let mut command = Command::new(&self.systemctl);
                command.args(["kexec", "--no-wall", "--no-ask-password"]);
                if let Some(why) = is_off() {
                    return Err(why.into());
                }
                let output = self.run(command)?;
                if output.status.success() {
                    return Ok(());
                }
                let said = String::from_utf8_lossy(&output.stderr);
                Err(format!("systemctl kexec has failed: {}", said.trim()))
            }
            Method::Now => {
                // What was written since clients prepared.
                rustix::fs::sync();
                let frozen = kexec::Frozen::all().map_err(|error| error.to_string())?;
                if let Some(why) = is_off() {
                    return Err(why.into());
                }
                let error = kexec::reboot();
                drop(frozen);
                Err(error.to_string())
            }
        }
    }
}
