// SPDX-License-Identifier: MIT OR Apache-2.0

//! Defects of QEMU that end a machine through no fault of its guest.

use std::path::PathBuf;

use super::{Accel, Record};
use crate::outcome::Retry;

/// A defect of QEMU that is known to its developers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Defect {
    /// Words of the message with which QEMU ends.
    words: &'static str,
    /// The accelerator that has it.
    accel: Accel,
    /// The fault, for a reader of the report.
    fault: &'static str,
    /// The report about it.
    report: &'static str,
}

/// The list is for defects whose cause is known and lies in QEMU: any other end is trouble.
const DEFECTS: &[Defect] = &[Defect {
    // One processor sizes the BARs of a PCI device, which replaces the map of memory, while another
    // one under TCG looks a device up in the map with an index that it took from the old one.
    words: "iotlb_to_section: Assertion",
    accel: Accel::Tcg,
    fault: "a processor used a memory map that another one had replaced",
    report: "https://gitlab.com/qemu-project/qemu/-/issues/1921",
}];

impl Defect {
    /// The defect that ended the machine of `record`, if one did.
    pub(crate) fn of(record: &Record, accel: Accel) -> Option<&'static Self> {
        let alarm = record.alarm.as_ref().filter(|alarm| alarm.kind == super::run::QEMU_ENDED)?;
        let is = |it: &&Self| it.accel == accel && alarm.detail.contains(it.words);
        DEFECTS.iter().find(is)
    }

    /// The second run of a machine because of it; `log` is that of the first run.
    pub(crate) fn retry(&self, machine: &str, log: PathBuf) -> Retry {
        Retry { machine: machine.into(), defect: self.fault, report: self.report, log }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::Watch;
    use crate::vm::run::QEMU_ENDED;

    fn ended(kind: &str, detail: &str) -> Record {
        let mut watch = Watch::new(|_| true);
        watch.raise(kind, detail.into());
        watch.finish()
    }

    #[test]
    fn only_the_end_of_qemu_by_a_known_defect_is_one() {
        let words = "signal: 6 (SIGABRT); qemu-system-x86_64: physmem.c:2671: iotlb_to_section: \
                     Assertion `section_index < d->map.sections_nb' failed.";
        let of = |kind, words, accel| Defect::of(&ended(kind, words), accel);
        assert_eq!(of(QEMU_ENDED, words, Accel::Tcg), DEFECTS.first());
        assert_eq!(of(QEMU_ENDED, words, Accel::Kvm), None);
        assert_eq!(of("kernel panic", words, Accel::Tcg), None);
        let other = words.replace("iotlb_to_section", "tcg_gen_code");
        assert_eq!(of(QEMU_ENDED, &other, Accel::Tcg), None);
    }
}
