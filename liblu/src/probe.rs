// SPDX-License-Identifier: MIT OR Apache-2.0

//! What this kernel offers.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use liveupdate_uapi::GetInfo;
use rustix::io::Errno;

use crate::session::is_session;
use crate::{Defect, ErrorKind, LiveUpdate, Release, Result, SessionName, sys};

/// Whether a kernel can do something.
///
/// ```
/// assert_eq!(liblu::Support::Unknown.to_string(), "unknown");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Support {
    /// It can.
    Yes,
    /// It cannot.
    No,
    /// There was no session to try it on.
    Unknown,
}

impl From<bool> for Support {
    fn from(can: bool) -> Self {
        if can { Self::Yes } else { Self::No }
    }
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        })
    }
}

/// What a session of this kernel can do.
///
/// ```no_run
/// # let session = liblu::LiveUpdate::new().create(&"vm-17".parse()?)?;
/// let features = liblu::probe_session(&session);
/// println!("GET_NAME: {}", features.get_name);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// The kernel says what a session is called (7.2 and later). Without it, the text of its link
    /// does, which needs `/proc`.
    pub get_name: Support,
    /// A finished session can be used for the next update (the implementation in Rust). Without it, a
    /// new session must be created.
    pub reuse_after_finish: Support,
    /// A session that was closed unfinished can be retrieved again (the implementation in Rust).
    /// Without it, the files that were not retrieved are destroyed.
    pub retrieve_after_close: Support,
}

impl Features {
    const UNKNOWN: Self = Self {
        get_name: Support::Unknown,
        reuse_after_finish: Support::Unknown,
        retrieve_after_close: Support::Unknown,
    };
}

/// What this kernel offers. As text it is for people.
///
/// ```
/// println!("{}", liblu::probe());
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Probe {
    /// Its release.
    pub release: Release,
    /// Whether there are live updates, and for this process; the error says why not.
    pub device: Result<()>,
    /// What sessions can do.
    pub features: Features,
    /// What is known to be wrong with this release, the worst first.
    pub defects: Vec<Defect>,
}

/// Each gets a session of its own.
static PROBES: AtomicU32 = AtomicU32::new(0);

/// Looks at what this kernel offers.
///
/// If the device can be opened, a session is created, looked at and closed. Without rights, ask
/// [`probe_session`] about a session that was passed.
///
/// ```
/// let probe = liblu::probe();
/// if let Err(error) = &probe.device {
///     println!("Linux {}: {error}", probe.release);
/// }
/// ```
pub fn probe() -> Probe {
    probe_at(&LiveUpdate::new())
}

/// Like [`probe`], of a device elsewhere or with other patience.
///
/// ```
/// let elsewhere = liblu::LiveUpdate::at("/nonexistent/liveupdate");
/// assert!(liblu::probe_at(&elsewhere).device.is_err());
/// ```
pub fn probe_at(device: &LiveUpdate) -> Probe {
    let release = Release::running();
    let defects = Defect::of(&release);
    let number = PROBES.fetch_add(1, Ordering::Relaxed);
    let name = SessionName::new(format!("liblu-probe-{}-{number}", std::process::id()));
    let session = name.and_then(|name| device.create(&name));
    let (device, features) = match session {
        Ok(session) => (Ok(()), probe_session(&session)),
        // A process of another PID namespace does the same: there are live updates.
        Err(error) if error.kind() == ErrorKind::NameTaken => (Ok(()), Features::UNKNOWN),
        Err(error) => (Err(error), Features::UNKNOWN),
    };
    Probe { release, device, features, defects }
}

/// Looks at what the kernel of a session offers, by the session alone. Of what is no session, nothing
/// is known.
///
/// ```no_run
/// # let session = liblu::LiveUpdate::new().create(&"vm-17".parse()?)?;
/// let features = liblu::probe_session(&session);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn probe_session(session: impl AsFd) -> Features {
    let session: BorrowedFd<'_> = session.as_fd();
    // Anything else may take these numbers for something of its own.
    if !matches!(is_session(session), Ok(true)) {
        return Features::UNKNOWN;
    }
    let get_name = match sys::get_name(session) {
        Ok(_) => Support::Yes,
        Err(Errno::NOTTY | Errno::INVAL) => Support::No,
        Err(_) => Support::Unknown,
    };
    let (reuse, retrieve) = match sys::get_info(session) {
        Ok(info) => {
            let has = |feature| Support::from(info.features & feature != 0);
            (has(GetInfo::REUSE_AFTER_FINISH), has(GetInfo::RETRIEVE_AFTER_CLOSE))
        }
        Err(Errno::NOTTY | Errno::INVAL) => (Support::No, Support::No),
        Err(_) => (Support::Unknown, Support::Unknown),
    };
    Features { get_name, reuse_after_finish: reuse, retrieve_after_close: retrieve }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Linux                       {}", self.release)?;
        match &self.device {
            Ok(()) => writeln!(f, "live updates                yes")?,
            Err(error) => match error.unavailable() {
                Some(why) => writeln!(f, "live updates                no: {why}")?,
                None => writeln!(f, "live updates                no: {error}")?,
            },
        }
        let features = &self.features;
        writeln!(f, "sessions say their names    {}", features.get_name)?;
        writeln!(f, "reuse after finish          {}", features.reuse_after_finish)?;
        write!(f, "retrieve again after close  {}", features.retrieve_after_close)?;
        self.defects.iter().try_for_each(|defect| write!(f, "\ndefect  {defect}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeKernel, Implementation, Operation};

    #[test]
    #[cfg_attr(miri, ignore = "rustix and Miri do not agree on uname")]
    fn kernels_are_told_apart() {
        let (yes, no) = (Support::Yes, Support::No);
        let of = |kernel: &FakeKernel| {
            let probe = probe_at(&kernel.device());
            assert!(probe.device.is_ok());
            assert!(probe.to_string().contains("live updates                yes"));
            let it = probe.features;
            [it.get_name, it.reuse_after_finish, it.retrieve_after_close]
        };
        let kernel = FakeKernel::new();
        assert_eq!(of(&kernel), [yes, no, no]);
        kernel.set_implementation(Implementation::Rust);
        assert_eq!(of(&kernel), [yes, yes, yes]);
        let old = FakeKernel::new();
        old.set_release("7.1.2".parse().unwrap());
        assert_eq!(of(&old), [no, no, no]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "rustix and Miri do not agree on uname")]
    fn a_name_that_is_taken_means_that_there_are_live_updates() {
        let kernel = FakeKernel::new();
        kernel.fail_next(Operation::Create, Errno::EXIST);
        let probe = probe_at(&kernel.device());
        assert!(probe.device.is_ok());
        assert_eq!(probe.features, Features::UNKNOWN);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstatfs")]
    fn a_file_that_is_no_session_is_unknown() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(probe_session(&file), Features::UNKNOWN);
    }

    #[test]
    #[cfg_attr(miri, ignore = "rustix and Miri do not agree on uname")]
    fn without_a_device_nobody_knows() {
        let probe = probe_at(&LiveUpdate::at("/nonexistent/liveupdate"));
        assert_eq!(probe.features, Features::UNKNOWN);
        assert!(probe.to_string().contains("live updates                no: "));
    }
}
