// SPDX-License-Identifier: MIT OR Apache-2.0

//! QEMU's monitor: it knows where the processors are when a guest does not say.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// A connection by QMP, QEMU's protocol of JSON lines.
pub(super) struct Monitor(UnixStream);

impl Monitor {
    /// The end of this program and the end of QEMU, neither of which is inherited yet.
    pub(super) fn pair() -> Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair().context("make a pair of sockets")?;
        Ok((Self(ours), theirs.into()))
    }

    /// Where the answers come.
    pub(super) fn answers(&self) -> Result<OwnedFd> {
        Ok(self.0.try_clone().context("share a socket")?.into())
    }

    /// Asks for the registers of all processors, then sends an NMI, upon which the kernel panics with
    /// the backtraces of all of them (`unknown_nmi_panic`).
    ///
    /// A QEMU that has ended does not answer, which is no error.
    pub(super) fn ask_what_it_does(&mut self) {
        let registers = json!({
            "execute": "human-monitor-command",
            "arguments": { "command-line": "info registers -a" },
        });
        for command in [
            json!({ "execute": "qmp_capabilities" }),
            registers,
            json!({ "execute": "inject-nmi" }),
        ] {
            let _ = writeln!(self.0, "{command}");
        }
    }
}

/// The lines of text in an answer; events and empty answers have none.
pub(super) fn text(answer: &str) -> Vec<String> {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let text = match (&answer["return"], &answer["error"]["desc"]) {
        (Value::String(text), _) | (_, Value::String(text)) => text.as_str(),
        _ => "",
    };
    text.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_text_or_none() {
        assert_eq!(text(r#"{"return": "CPU#0\r\nRAX=0\r\n"}"#), ["CPU#0", "RAX=0"]);
        assert_eq!(text(r#"{"error": {"class": "GenericError", "desc": "no"}}"#), ["no"]);
        for other in [r#"{"return": {}}"#, r#"{"event": "RESET"}"#, "", "no JSON"] {
            assert!(text(other).is_empty(), "{other}");
        }
    }
}
