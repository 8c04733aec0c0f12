// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether the C header of liblu is the one that its functions make.

use std::fs;

use anyhow::Result;

use super::difference::difference;
use super::{Check, Place, Report};
use crate::c_header;

/// The header that is there, against a new one.
pub(super) struct Header;

impl Check for Header {
    fn name(&self) -> &'static str {
        "header"
    }

    fn run(&self, place: &Place<'_>) -> Result<Report> {
        let there = fs::read_to_string(c_header::path(place.project)).unwrap_or_default();
        let heading = "liblu.h is not what the functions make:";
        let findings = difference(heading, &there, &c_header::make(place.project)?);
        let next = "write it with `cargo xtask header`, and read what changed: C programs see it";
        Ok(Report::of_findings(self.name(), &findings, next))
    }
}
