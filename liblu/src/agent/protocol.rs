// SPDX-License-Identifier: MIT OR Apache-2.0

//! The messages of `io.liveupdate.Agent`, as far as a client needs them. The interface itself is
//! `luod/interfaces/io.liveupdate.Agent.varlink`.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::wire::{Frame, broken};
use crate::{Error, ErrorKind, Result};

/// The name of the interface.
pub(crate) const INTERFACE: &str = "io.liveupdate.Agent";

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Call<P> {
    pub(crate) method: String,
    pub(crate) parameters: P,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) more: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionReply {
    pub(crate) session_file_descriptor: usize,
    pub(crate) session_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct EventReply {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) participant: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prepare: Option<Prepare>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) abort: Option<Abort>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) commit: Option<Commit>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Prepare {
    pub(crate) generation: u64,
    #[serde(rename = "deadlineMSec")]
    pub(crate) deadline: u64,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Abort {
    pub(crate) generation: u64,
    pub(crate) reason: String,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Commit {
    pub(crate) generation: u64,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ExtendReply {
    #[serde(rename = "deadlineMSec")]
    pub(crate) deadline: u64,
}

/// A reply, of which the parameters are not understood yet.
#[derive(Debug, Deserialize)]
struct Reply {
    error: Option<String>,
    #[serde(default)]
    parameters: serde_json::Value,
    #[serde(default)]
    continues: bool,
}

#[derive(Debug, Default, Deserialize)]
struct ErrorParameters {
    message: Option<String>,
    errno: Option<i32>,
}

/// A reply that was understood.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    pub(crate) value: T,
    pub(crate) fds: Vec<OwnedFd>,
    /// More replies follow.
    pub(crate) continues: bool,
}

impl<T> Answer<T> {
    /// The descriptor at an index.
    pub(crate) fn fd(self, at: usize) -> Result<OwnedFd> {
        let missing = || broken("a reply comes without its file descriptor");
        self.fds.into_iter().nth(at).ok_or_else(missing)
    }
}

/// Understands a reply.
///
/// # Errors
///
/// The error that it says, or [`ErrorKind::Protocol`].
pub(crate) fn answer<T: DeserializeOwned>(frame: Frame) -> Result<Answer<T>> {
    let malformed = |error: serde_json::Error| broken(&error.to_string());
    let reply: Reply = serde_json::from_slice(&frame.json).map_err(malformed)?;
    if let Some(name) = reply.error {
        return Err(said(&name, reply.parameters));
    }
    // Replies without parameters may leave them out.
    let parameters = match reply.parameters {
        serde_json::Value::Null => serde_json::Value::Object(serde_json::Map::new()),
        parameters => parameters,
    };
    let value = serde_json::from_value(parameters).map_err(malformed)?;
    Ok(Answer { value, fds: frame.fds, continues: reply.continues })
}

/// The error that a reply says.
fn said(name: &str, parameters: serde_json::Value) -> Error {
    let own = name.strip_prefix(INTERFACE).and_then(|name| name.strip_prefix('.'));
    let kind = match own {
        Some("NoSession") => ErrorKind::NoSession,
        Some("Held") => ErrorKind::Held,
        Some("NotOpen") => ErrorKind::NoFile,
        Some("InvalidLabel") => ErrorKind::InvalidName,
        Some("NotAllowed") => ErrorKind::Refused,
        Some("StaleGeneration") => ErrorKind::Stale,
        // As after a restart of the agent: take part again.
        Some("NoSuchParticipant") => ErrorKind::Disconnected,
        Some("TooManySessions" | "StoreFull") => ErrorKind::NoResources,
        Some("Committing") => ErrorKind::Leaving,
        Some("Unavailable") => ErrorKind::Unavailable,
        Some("KernelError") => ErrorKind::System,
        _ => match name {
            "org.varlink.service.MethodNotFound" | "org.varlink.service.InterfaceNotFound" => {
                ErrorKind::Unsupported
            }
            _ => ErrorKind::Protocol,
        },
    };
    let parameters: ErrorParameters = serde_json::from_value(parameters).unwrap_or_default();
    // It goes to terminals and logs.
    let printable = |text: String| text.chars().filter(|c| !c.is_control()).take(500).collect();
    let message: Option<String> = parameters.message.map(printable);
    let message = message.unwrap_or_else(|| format!("the agent says {}", name.escape_debug()));
    match parameters.errno.filter(|errno| kind == ErrorKind::System && (1..4096).contains(errno)) {
        // The kernel of both is the same one.
        Some(errno) => {
            let errno = Errno::from_raw_os_error(errno);
            Error::new(Error::system("", errno).kind(), message).caused_by(errno)
        }
        None => Error::new(kind, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> Error {
        let frame = Frame { json: json.into(), fds: Vec::new() };
        answer::<SessionReply>(frame).unwrap_err()
    }

    #[test]
    fn errors_have_kinds_and_words() {
        let text =
            r#"{"error":"io.liveupdate.Agent.NoSession","parameters":{"message":"none\u001b"}}"#;
        assert_eq!(error(text).kind(), ErrorKind::NoSession);
        assert_eq!(error(text).to_string(), "none");
        let other = error(r#"{"error":"io.other.Agent.NoSession"}"#);
        assert_eq!(other.kind(), ErrorKind::Protocol);
        assert_eq!(error("{}").kind(), ErrorKind::Protocol);
        assert_eq!(error("").kind(), ErrorKind::Protocol);
        let kernels = error(
            r#"{"error":"io.liveupdate.Agent.KernelError","parameters":{"message":"x","errno":12}}"#,
        );
        assert_eq!((kernels.kind(), kernels.errno()), (ErrorKind::NoResources, Errno::NOMEM));
        let unknown = error(r#"{"error":"org.varlink.service.MethodNotFound"}"#);
        assert_eq!(unknown.kind(), ErrorKind::Unsupported);
    }

    /// A program that takes another error for a cold start would lose its guest.
    #[test]
    fn only_one_error_is_a_cold_start() {
        for name in [
            "Held",
            "NotOpen",
            "InvalidLabel",
            "NotAllowed",
            "TooManySessions",
            "StoreFull",
            "NoSuchParticipant",
            "StaleGeneration",
            "Committing",
            "Unavailable",
            "KernelError",
            "New",
        ] {
            let text =
                format!(r#"{{"error":"{INTERFACE}.{name}","parameters":{{"message":"x"}}}}"#);
            assert_ne!(error(&text).kind(), ErrorKind::NoSession, "{name}");
        }
    }
}
