// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tables for people, JSON for programs.

use std::io::IsTerminal as _;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use luod::varlink::manager::{Finding, Severity};
use serde::Serialize;

/// The way in which results are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) is_json: bool,
    has_color: bool,
}

impl Output {
    pub(crate) fn new(is_json: bool) -> Self {
        let has_color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { is_json, has_color }
    }

    /// A result for programs, on one line.
    pub(crate) fn json(value: &impl Serialize) {
        if let Ok(text) = serde_json::to_string(value) {
            println!("{text}");
        }
    }

    /// All is done, and there is nothing to show.
    pub(crate) fn done(self, text: &str) {
        if self.is_json {
            println!("{{}}");
        } else {
            println!("{text}");
        }
    }

    pub(crate) fn table<const N: usize>(self, header: [&str; N], rows: Vec<[String; N]>) {
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(header.map(|title| self.style(BOLD, title)));
        for row in rows {
            table.add_row(row);
        }
        for line in table.to_string().lines() {
            println!("{}", line.trim());
        }
    }

    /// A text in a color, on a terminal.
    pub(crate) fn style(self, code: &str, text: &str) -> String {
        if self.has_color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Findings, the gravest first, each with what to do.
    pub(crate) fn findings(self, findings: &[Finding]) {
        for finding in findings {
            let (code, word) = match finding.severity {
                Severity::Error => (RED, "error"),
                Severity::Unknown => (YELLOW, "unknown"),
                Severity::Warning => (YELLOW, "warning"),
                Severity::Note => (DIM, "note"),
            };
            let word = self.style(code, &format!("{word:<8}"));
            println!("{word} {}: {}", self.style(BOLD, &finding.id), finding.meaning);
            if let Some(advice) = &finding.advice {
                println!("         {}", self.style(DIM, &format!("→ {advice}")));
            }
        }
    }
}

pub(crate) const BOLD: &str = "1";
pub(crate) const DIM: &str = "2";
pub(crate) const RED: &str = "31";
pub(crate) const YELLOW: &str = "33";
pub(crate) const GREEN: &str = "32";
