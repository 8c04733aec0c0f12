// SPDX-License-Identifier: MIT OR Apache-2.0

//! QEMU's monitor: a command at a time, events in between.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// An answer takes milliseconds, but a busy host may have none of them for a while.
const PATIENCE: Duration = Duration::from_mins(1);

/// Time between two looks at work that QEMU does in the background.
const PACE: Duration = Duration::from_millis(2);

/// A connection to the monitor.
pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
    events: VecDeque<String>,
    /// The version of QEMU.
    pub(crate) version: String,
}

impl Monitor {
    /// Begins the conversation.
    pub(crate) fn new(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(PATIENCE)).context("set a timeout")?;
        let mut monitor = Self {
            stream: BufReader::new(stream),
            events: VecDeque::new(),
            version: String::new(),
        };
        let greeting = monitor.line().context("QEMU does not greet")?;
        let version = &greeting["QMP"]["version"]["qemu"];
        ensure!(version.is_object(), "QEMU greets with {greeting}");
        let number = |part: &str| version[part].as_u64().unwrap_or_default();
        monitor.version = format!("{}.{}.{}", number("major"), number("minor"), number("micro"));
        monitor.command("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Runs a command, and returns what it returns.
    pub(crate) fn command(&mut self, name: &str, arguments: &Value) -> Result<Value> {
        let text = json!({ "execute": name, "arguments": arguments }).to_string();
        let sent = writeln!(&mut self.stream.get_ref(), "{text}");
        sent.with_context(|| format!("send {name} to QEMU"))?;
        loop {
            let mut line = self.line().with_context(|| format!("QEMU does not answer {name}"))?;
            if let Some(event) = line["event"].as_str() {
                self.events.push_back(event.to_owned());
            } else if !line["error"].is_null() {
                bail!(
                    "QEMU refuses {name}: {}",
                    line["error"]["desc"].as_str().unwrap_or("no reason")
                );
            } else if line.get("return").is_some() {
                return Ok(line["return"].take());
            }
        }
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        let count = self.stream.read_line(&mut line).context("read from QEMU")?;
        ensure!(count > 0, "QEMU has closed its monitor");
        serde_json::from_str(&line).with_context(|| format!("understand QEMU: {line}"))
    }

    /// The state of the guest: `running`, `paused`, `postmigrate`, ...
    pub(crate) fn status(&mut self) -> Result<String> {
        let status = self.command("query-status", &json!({}))?;
        Ok(status["status"].as_str().context("QEMU says no status")?.to_owned())
    }

    /// Sets what the state is to be: devices without memory.
    pub(crate) fn exclude_memory(&mut self) -> Result<()> {
        let shared = json!([{ "capability": "x-ignore-shared", "state": true }]);
        self.command("migrate-set-capabilities", &json!({ "capabilities": shared }))?;
        self.command("migrate-set-parameters", &json!({ "mode": "cpr-reboot" }))?;
        Ok(())
    }

    /// Waits until the state is out, or in.
    pub(crate) fn wait_for_migration(&mut self, deadline: Instant) -> Result<()> {
        loop {
            let now = self.command("query-migrate", &json!({}))?;
            match now["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => {
                    bail!("{}", now["error-desc"].as_str().unwrap_or("QEMU does not say why"));
                }
                _ => {}
            }
            ensure!(Instant::now() < deadline, "it takes too long: {now}");
            std::thread::sleep(PACE);
        }
    }

    /// The next event, if one came.
    pub(crate) fn event(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if self.stream.buffer().is_empty() && !self.is_readable()? {
                return Ok(None);
            }
            let line = self.line()?;
            self.events.extend(line["event"].as_str().map(str::to_owned));
        }
    }

    fn is_readable(&self) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut polled = [PollFd::new(self, PollFlags::IN)];
        match poll(&mut polled, Some(&now)) {
            Ok(count) => Ok(count > 0),
            Err(errno) if io::Error::from(errno).kind() == ErrorKind::Interrupted => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A monitor whose other end says this, and what it was sent.
    fn with(answers: &str) -> (Result<Monitor>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let greeting = r#"{"QMP": {"version": {"qemu": {"major": 10, "minor": 1, "micro": 2}}}}"#;
        write!(&theirs, "{greeting}\r\n{{\"return\": {{}}}}\r\n{answers}").unwrap();
        (Monitor::new(ours), theirs)
    }

    #[test]
    fn commands_have_answers_and_events_are_kept() {
        let (monitor, _other) = with(
            "{\"event\": \"STOP\"}\n{\"return\": {\"status\": \"paused\"}}\n{\"event\": \"RESUME\"}\n",
        );
        let mut monitor = monitor.unwrap();
        assert_eq!(monitor.version, "10.1.2");
        assert_eq!(monitor.status().unwrap(), "paused");
        assert_eq!(monitor.event().unwrap().as_deref(), Some("STOP"));
        assert_eq!(monitor.event().unwrap().as_deref(), Some("RESUME"));
        assert_eq!(monitor.event().unwrap(), None);
    }

    #[test]
    fn errors_say_the_reason_of_qemu() {
        let (monitor, other) =
            with("{\"error\": {\"class\": \"GenericError\", \"desc\": \"no room\"}}\n");
        let mut monitor = monitor.unwrap();
        let error = monitor.command("migrate", &json!({})).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refuses migrate: no room");
        drop(other);
        assert!(format!("{:#}", monitor.status().unwrap_err()).contains("query-status"));
    }
}
