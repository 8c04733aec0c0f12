// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every method of the interfaces, called by a program that knows nothing of luod.

use anyhow::{Result, ensure};

use crate::luctl::{failure, output};

const AGENT: &str = "/run/luod/io.liveupdate.Agent";
const MANAGER: &str = "/run/luod/io.liveupdate.Manager";

/// Calls without an effect that lasts; the order matters.
const CALLS: [(&str, &str, &str, &str); 20] = [
    (AGENT, "Open", r#"{"label":"varlink"}"#, "sessionFileDescriptor"),
    (AGENT, "Open", r#"{"label":""}"#, "io.liveupdate.Agent.InvalidLabel"),
    (AGENT, "Open", r#"{"label":7}"#, "org.varlink.service.InvalidParameter"),
    (AGENT, "Keep", r#"{"label":"varlink"}"#, ""),
    (AGENT, "List", "{}", "\"varlink\""),
    (AGENT, "Discard", r#"{"label":"varlink"}"#, ""),
    (AGENT, "Discard", r#"{"label":"varlink"}"#, "io.liveupdate.Agent.NotOpen"),
    (AGENT, "Claim", r#"{"label":"varlink"}"#, "io.liveupdate.Agent.NoSession"),
    (AGENT, "Restored", r#"{"label":"varlink"}"#, "io.liveupdate.Agent.NoSession"),
    (AGENT, "Participate", r#"{"labels":[]}"#, "org.varlink.service.ExpectedMore"),
    (AGENT, "Ready", r#"{"participant":0,"generation":1}"#, "io.liveupdate.Agent.NoSuchParticipant"),
    (
        AGENT,
        "Refuse",
        r#"{"participant":0,"generation":1,"reason":"x"}"#,
        "io.liveupdate.Agent.NoSuchParticipant",
    ),
    (
        AGENT,
        "Extend",
        r#"{"participant":0,"generation":1,"timeMSec":1}"#,
        "io.liveupdate.Agent.NoSuchParticipant",
    ),
    (AGENT, "Nonsense", "{}", "org.varlink.service.MethodNotFound"),
    (MANAGER, "Status", "{}", "\"systemd\""),
    (MANAGER, "List", "{}", "\"sessions\""),
    (MANAGER, "Check", "{}", "target-missing"),
    (MANAGER, "Cancel", "{}", "io.liveupdate.Manager.NoUpdate"),
    (MANAGER, "Update", r#"{"dryRun":true}"#, "io.liveupdate.Manager.CheckFailed"),
    (
        MANAGER,
        "Discard",
        r#"{"owner":"user:0","label":"x","direction":"incoming"}"#,
        "io.liveupdate.Manager.NoSession",
    ),
];

pub(crate) fn check() -> Result<()> {
    for (socket, method, parameters, expected) in CALLS {
        let name = format!("{}.{method}", socket.trim_start_matches("/run/luod/"));
        let arguments = ["--json=short", "call", socket, &name, parameters];
        let said = if expected.starts_with("io.") || expected.starts_with("org.") {
            failure("varlinkctl", &arguments)?.0
        } else {
            output("varlinkctl", &arguments)?
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
    for (socket, interface) in [(AGENT, "io.liveupdate.Agent"), (MANAGER, "io.liveupdate.Manager")] {
        let text = output("varlinkctl", &["introspect", socket, interface])?;
        ensure!(text.contains("interface io.liveupdate."), "{socket} describes itself as `{text}`");
        let file = format!("/usr/share/luod/interfaces/{interface}.varlink");
        output("varlinkctl", &["validate-idl", &file])?;
        let info = output("varlinkctl", &["info", socket])?;
        ensure!(info.contains("luod"), "{socket} says `{info}`");
    }
    Ok(())
}
