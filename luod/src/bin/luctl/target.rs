// SPDX-License-Identifier: MIT OR Apache-2.0

//! The next kernel: checked, and loaded.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use luod::varlink::manager::{Check, Finding, Findings, Load, Severity};

use crate::arguments::{CheckedKernel, NextKernel};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::Output;

pub(crate) async fn check(
    client: &mut Client,
    kernel: &CheckedKernel,
    output: Output,
) -> Result<ExitCode, Failure> {
    let file = kernel.kernel.as_deref().map(open).transpose()?;
    let check = Check {
        kernel_file_descriptor: file.as_ref().map(|_| 0),
        cmdline: kernel.cmdline.clone(),
        ..Check::default()
    };
    let fds = file.into_iter().map(Into::into).collect();
    let found: Findings = client.call_with("Check", check, fds).await?;
    show(&found, output);
    if !output.is_json {
        println!("{}", verdict(&found.findings));
    }
    Ok(exit(&found.findings).into())
}

pub(crate) async fn load(
    client: &mut Client,
    kernel: &NextKernel,
    output: Output,
) -> Result<ExitCode, Failure> {
    let mut fds = vec![open(&kernel.kernel)?.into()];
    if let Some(initrd) = &kernel.initrd {
        fds.push(open(initrd)?.into());
    }
    let load = Load {
        kernel_file_descriptor: 0,
        initrd_file_descriptor: kernel.initrd.as_ref().map(|_| 1),
        cmdline: kernel.cmdline.clone(),
    };
    let found: Findings = client.call_with("Load", load, fds).await?;
    show(&found, output);
    if !output.is_json {
        let kernel = kernel.kernel.display();
        println!("{kernel} is loaded; {}", verdict(&found.findings));
    }
    Ok(Exit::Done.into())
}

fn show(found: &Findings, output: Output) {
    if output.is_json {
        Output::json(found);
    } else {
        output.findings(&found.findings);
    }
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

fn gravest(findings: &[Finding]) -> Severity {
    findings.iter().map(|it| it.severity).max().unwrap_or(Severity::Note)
}

fn verdict(findings: &[Finding]) -> &'static str {
    match gravest(findings) {
        Severity::Note => "an update can go on",
        Severity::Warning => "an update can go on, with warnings",
        Severity::Unknown => "an update stops, unless --accept-unknown is given",
        Severity::Error => "an update stops",
    }
}

fn exit(findings: &[Finding]) -> Exit {
    match gravest(findings) {
        Severity::Note | Severity::Warning => Exit::Done,
        Severity::Unknown | Severity::Error => Exit::CheckFailed,
    }
}
