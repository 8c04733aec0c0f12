// SPDX-License-Identifier: MIT OR Apache-2.0

//! The figures for programs: `bench.json`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::Column;
use crate::invocation::Invocation;
use crate::prepare::Prepared;

/// Version of the format: raised when a field goes away or changes its meaning.
const FORMAT: u32 = 2;

/// What was measured, and with what.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    format: u32,
    subject: String,
    /// The commit of this checkout, with `-dirty` if files differ from it; `None` without git.
    commit: Option<String>,
    /// The version of Linux.
    linux: &'a str,
    /// The key of each kernel: of its source, our files, its configuration and its compilers.
    kernels: BTreeMap<String, String>,
    /// Parameters of all kernels of the run; `xtask/bench.toml` of the commit has those of its cases.
    parameters: String,
    /// MiB of each machine.
    memory: u32,
    columns: &'a [Column],
}

impl<'a> Report<'a> {
    /// The report of a run.
    pub(super) fn new(
        subject: String,
        prepared: &'a Prepared,
        (parameters, memory): (String, u32),
        columns: &'a [Column],
    ) -> Self {
        let describe = Invocation::new([
            "git",
            "describe",
            "--always",
            "--dirty",
            "--abbrev=40",
            "--exclude=*",
        ]);
        let said = describe.output(&prepared.setup.project.folder).ok();
        let commit = said
            .filter(|output| output.status.success())
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let kernels = prepared.images.iter();
        let kernels = kernels.map(|(kernel, image)| (kernel.to_string(), image.key())).collect();
        let linux = &prepared.setup.source.version;
        Self { format: FORMAT, subject, commit, linux, kernels, parameters, memory, columns }
    }

    /// As indented text.
    pub(super) fn render(&self) -> Result<String> {
        serde_json::to_string_pretty(self).context("write the figures")
    }
}
