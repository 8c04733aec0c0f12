// SPDX-License-Identifier: MIT OR Apache-2.0

//! The machine that a guest gets. It does not change with an update: the next kernel gets it with the state.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, value_parser};
use serde::{Deserialize, Serialize};

/// A VMM whose guest survives updates of the host's kernel.
///
/// Started for the first time it boots a guest. Started again after an update, with the same name, it goes on
/// with that guest.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// Name of the guest, the label of its session
    pub(crate) name: String,
    /// Kernel of the guest, a bzImage
    #[arg(long)]
    pub(crate) kernel: PathBuf,
    /// Its initramfs
    #[arg(long)]
    pub(crate) initrd: PathBuf,
    /// Its command line
    #[arg(long, default_value = "console=ttyS0")]
    pub(crate) cmdline: String,
    #[command(flatten)]
    pub(crate) config: Config,
}

/// What the guest sees.
#[derive(Clone, Debug, Deserialize, Parser, PartialEq, Eq, Serialize)]
pub(crate) struct Config {
    /// Virtual CPUs
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u8).range(1..=4))]
    pub(crate) vcpus: u8,
    /// A region of memory, in MiB: `96`, `64,huge` with huge pages, or `64,reserved`, which the guest's kernel
    /// leaves to its programs
    #[arg(long, required = true)]
    pub(crate) ram: Vec<Region>,
    /// Persistent memory that the guest has as a disk, in MiB
    #[arg(long, default_value_t = 0)]
    pub(crate) disk: u32,
}

/// A region of the guest's memory, a memfd of its own.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Region {
    /// Its size in bytes.
    pub(crate) size: u64,
    pub(crate) kind: Kind,
}

/// What a region is for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Kind {
    /// Memory.
    Normal,
    /// Memory with huge pages, where the host has them.
    Huge,
    /// Memory that the guest's kernel does not use by itself, so most of it is never there.
    Reserved,
    /// A disk.
    Disk,
}

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

impl FromStr for Region {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (size, kind) = text.split_once(',').unwrap_or((text, ""));
        let mib: u32 = size.parse().map_err(|_| format!("`{size}` is no number of MiB"))?;
        if mib < 2 || !mib.is_multiple_of(2) {
            return Err(format!("{mib} MiB: a region has an even number of MiB"));
        }
        let kind = match kind {
            "" => Kind::Normal,
            "huge" => Kind::Huge,
            "reserved" => Kind::Reserved,
            other => return Err(format!("`{other}` is neither `huge` nor `reserved`")),
        };
        Ok(Self { size: u64::from(mib) * MIB, kind })
    }
}

/// Where PCI, the APICs and firmware are on a PC.
const HOLE: std::ops::Range<u64> = 3 << 30..4 << 30;

/// Disks begin at multiples of it, for their page structures.
const DISK_ALIGNMENT: u64 = 128 << 20;

impl Config {
    /// All regions with the guest's addresses, in their order.
    pub(crate) fn layout(&self) -> Vec<(u64, Region)> {
        let mut regions = Vec::new();
        let mut end = 0;
        let disk = Region { size: u64::from(self.disk) * MIB, kind: Kind::Disk };
        for region in self.ram.iter().chain((disk.size > 0).then_some(&disk)) {
            let mut start: u64 = end;
            if region.kind == Kind::Disk {
                start = start.next_multiple_of(DISK_ALIGNMENT);
            }
            if start < HOLE.end && start + region.size > HOLE.start {
                start = HOLE.end;
            }
            end = start + region.size;
            regions.push((start, region.clone()));
        }
        regions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_leave_out_the_hole_and_disks_are_aligned() {
        let ram = ["96", "64,huge", "3000", "32,reserved"].map(|text| text.parse().unwrap());
        let config = Config { vcpus: 1, ram: ram.into(), disk: 16 };
        let starts: Vec<_> = config.layout().into_iter().map(|(start, _)| start >> 20).collect();
        assert_eq!(starts, [0, 96, 4096, 7096, 7168]);
    }

    #[test]
    fn a_region_that_makes_no_sense_is_refused() {
        for text in ["", "x", "0", "3", "64,large"] {
            assert!(text.parse::<Region>().is_err(), "{text}");
        }
    }
}
