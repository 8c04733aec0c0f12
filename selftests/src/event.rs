// SPDX-License-Identifier: MIT OR Apache-2.0

//! Events: messages of the guest to the host between verdicts.
//!
//! An event is one KTAP diagnostic line, `# event {"event":"init",...}`, so that the stream stays
//! KTAP for any other reader.

use serde::{Deserialize, Serialize};

use crate::measure::Measurement;

/// The beginning of an event line.
pub const PREFIX: &str = "# event ";

/// A moment in the life of the guest.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// PID 1 runs.
    Init {
        /// Number of this hop, from 1.
        hop: usize,
        /// `uname -r` of the kernel.
        release: String,
    },
    /// `/dev/liveupdate` was opened: the kernel has read the handover.
    DeviceOpened,
    /// The session of PID 1 and its file are retrieved.
    Retrieved,
    /// The session of PID 1 is finished.
    Finished,
    /// A step begins.
    Step {
        /// Its name.
        name: String,
    },
    /// A result of a measurement.
    Measured(Measurement),
    /// The next kernel is loaded.
    Loaded,
    /// `reboot(KEXEC)` is called now.
    Reboot,
    /// The last hop is over; the guest switches off.
    Done,
}

impl Event {
    /// The line of this event, without a newline.
    pub fn to_line(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{PREFIX}{json}")
    }

    /// Reads a line; `None` if it is not the line of an event, `Some(Err)` if it looks like one and
    /// is not.
    pub fn parse(line: &str) -> Option<Result<Self, serde_json::Error>> {
        line.strip_prefix(PREFIX).map(serde_json::from_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_event_reads_back() {
        let event = Event::Init { hop: 2, release: "7.3.4".into() };
        assert_eq!(event.to_line(), r#"# event {"event":"init","hop":2,"release":"7.3.4"}"#);
        assert_eq!(Event::parse(&event.to_line()).unwrap().unwrap(), event);
        assert!(Event::parse("# comment").is_none());
        assert!(Event::parse("# event {}").unwrap().is_err());
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in "(# event )?.*") {
            let _ = Event::parse(&line);
        }

        #[test]
        fn any_release_survives(release in ".*", hop in 0usize..1000) {
            let event = Event::Init { hop, release };
            prop_assert_eq!(Event::parse(&event.to_line()).unwrap().unwrap(), event);
        }
    }
}
