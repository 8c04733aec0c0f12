// SPDX-License-Identifier: MIT OR Apache-2.0

//! Unified kernel images: <https://uapi-group.org/specifications/specs/unified_kernel_image/>.

use std::ops::Range;

use super::super::layer::Layer;
use super::super::unread::Unread;
use super::pe::Pe;
use super::text;

/// What a UKI says of the kernel in it.
#[derive(Debug)]
pub(in super::super) struct Uki {
    pub(in super::super) kernel: Range<usize>,
    pub(in super::super) cmdline: Option<String>,
    pub(in super::super) release: Option<String>,
    pub(in super::super) os_release: Option<String>,
}

impl Uki {
    pub(in super::super) fn parse(bytes: &[u8]) -> Result<Self, Unread> {
        let pe = Pe::parse(bytes, Layer::Uki)?;
        // Profiles have sections of their own behind those of the base, which are the default.
        let section = |name| pe.sections(name).next();
        let told = |name| section(name).map(|range| text(&bytes[range]));
        let kernel = match pe.sections(b".linux").count() {
            0 => return Err(Unread::NoKernel),
            1 => section(b".linux").ok_or(Unread::NoKernel)?,
            several => return Err(Unread::SeveralKernels(several)),
        };
        Ok(Self {
            kernel,
            cmdline: told(b".cmdline"),
            release: told(b".uname"),
            os_release: told(b".osrel"),
        })
    }
}
