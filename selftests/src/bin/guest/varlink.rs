// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every method of the interfaces, called by a program that knows nothing of luod.

use anyhow::{Result, ensure};

use selftests::luctl::{failure, output};

const AGENT: &str = "/run/luod/io.liveupdate.Agent";
const MANAGER: &str = "/run/luod/io.liveupdate.Manager";

/// What `varlinkctl` prints.
enum Outcome {
    /// It succeeds, and prints this.
    Reply(&'static str),
    /// It fails, and prints this. Errors of `org.varlink.service` are words of its own.
    Error(&'static str),
}

use Outcome::{Error, Reply};

/// Calls without an effect that lasts; the order matters.
const CALLS: [(&str, &str, &str, Outcome); 19] = [
    (AGENT, "Open", r#"{"label":"varlink"}"#, Reply("sessionFileDescriptor")),
    (AGENT, "Open", r#"{"label":""}"#, Error("io.liveupdate.Agent.InvalidLabel")),
    (AGENT, "Open", r#"{"label":7}"#, Error("\"parameter\":\"label\"")),
    // The session of a program that has ended is given up, so others have another label.
    (AGENT, "Keep", r#"{"label":"none"}"#, Error("io.liveupdate.Agent.NotOpen")),
    (AGENT, "List", "{}", Reply("\"sessions\"")),
    (AGENT, "Discard", r#"{"label":"none"}"#, Error("io.liveupdate.Agent.NotOpen")),
    (AGENT, "Claim", r#"{"label":"varlink"}"#, Error("io.liveupdate.Agent.NoSession")),
    (AGENT, "Restored", r#"{"label":"varlink"}"#, Error("io.liveupdate.Agent.NoSession")),
    (AGENT, "Participate", r#"{"labels":[]}"#, Error("io.liveupdate.Agent.Participate() failed")),
    (
        AGENT,
        "Ready",
        r#"{"participant":0,"generation":1}"#,
        Error("io.liveupdate.Agent.NoSuchParticipant"),
    ),
    (
        AGENT,
        "Refuse",
        r#"{"participant":0,"generation":1,"reason":"x"}"#,
        Error("io.liveupdate.Agent.NoSuchParticipant"),
    ),
    (
        AGENT,
        "Extend",
        r#"{"participant":0,"generation":1,"timeMSec":1}"#,
        Error("io.liveupdate.Agent.NoSuchParticipant"),
    ),
    (AGENT, "Nonsense", "{}", Error("\"method\":\"io.liveupdate.Agent.Nonsense\"")),
    (MANAGER, "Status", "{}", Reply("\"systemd\"")),
    (MANAGER, "List", "{}", Reply("\"sessions\"")),
    (MANAGER, "Check", "{}", Reply("\"findings\"")),
    (MANAGER, "Cancel", "{}", Error("io.liveupdate.Manager.NoUpdate")),
    (MANAGER, "Update", r#"{"dryRun":true}"#, Error("io.liveupdate.Manager.CheckFailed")),
    (
        MANAGER,
        "Discard",
        r#"{"owner":"user:0","label":"x","direction":"incoming"}"#,
        Error("io.liveupdate.Manager.NoSession"),
    ),
];

pub(crate) fn check() -> Result<()> {
    for (socket, method, parameters, expected) in CALLS {
        let name = format!("{}.{method}", socket.trim_start_matches("/run/luod/"));
        let arguments = ["--json=short", "call", socket, &name, parameters];
        let (said, expected) = match expected {
            Reply(text) => (output("varlinkctl", &arguments)?, text),
            Error(text) => (failure("varlinkctl", &arguments)?.0, text),
        };
        ensure!(said.contains(expected), "{name} {parameters} says `{said}`, not `{expected}`");
    }
    for (method, expected) in [("Reload", "warnings"), ("Metrics", "# EOF")] {
        let name = format!("io.liveupdate.Manager.{method}");
        let said = output("varlinkctl", &["--json=short", "call", MANAGER, &name, "{}"])?;
        ensure!(said.contains(expected), "{name} says `{said}`");
    }
    let load = [
        "--json=short",
        "--push-fd=/usr/bin/true",
        "call",
        MANAGER,
        "io.liveupdate.Manager.Load",
        r#"{"kernelFileDescriptor":0}"#,
    ];
    let (said, _) = failure("varlinkctl", &load)?;
    ensure!(said.contains("io.liveupdate.Manager.BadKernel"), "a program is a kernel: {said}");
    output("varlinkctl", &["call", MANAGER, "io.liveupdate.Manager.Unload", "{}"])?;
    for (socket, interface) in [(AGENT, "io.liveupdate.Agent"), (MANAGER, "io.liveupdate.Manager")]
    {
        let text = output("varlinkctl", &["introspect", socket, interface])?;
        ensure!(text.contains("interface io.liveupdate."), "{socket} describes itself as `{text}`");
        let file = format!("/usr/share/luod/interfaces/{interface}.varlink");
        output("varlinkctl", &["validate-idl", &file])?;
        let info = output("varlinkctl", &["info", socket])?;
        ensure!(info.contains("luod"), "{socket} says `{info}`");
    }
    Ok(())
}
