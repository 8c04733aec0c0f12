// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command line of the next kernel, without I/O: without two parameters, no kernel takes anything over.

/// The parameter of the orchestrator. Without it, the kernel has none (`kernel/liveupdate`).
const LIVEUPDATE: &str = "liveupdate";

/// The parameter of KHO, which some kernels have on by default.
const KHO: &str = "kho";

/// Why a kernel with a command line would not take sessions over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineFault {
    /// Live updates are off.
    #[error(
        "the command line of the next kernel has no liveupdate=on, so it would take nothing over"
    )]
    NoLiveUpdate,
    /// KHO is switched off.
    #[error("the command line of the next kernel has kho=off, so it would take nothing over")]
    KhoOff,
    /// KHO is on in this kernel because of its command line alone.
    #[error(
        "the command line of the next kernel has no kho=on, which this kernel has: it takes nothing over unless \
         KHO is on there by default"
    )]
    KhoMissing,
}

/// Why a kernel with this command line would not take over what the running kernel, with its own, hands over.
pub fn fault(next: &str, running: &str) -> Option<CmdlineFault> {
    if switch(next, LIVEUPDATE) != Some(true) {
        return Some(CmdlineFault::NoLiveUpdate);
    }
    match (switch(next, KHO), switch(running, KHO)) {
        (Some(false), _) => Some(CmdlineFault::KhoOff),
        (None, Some(true)) => Some(CmdlineFault::KhoMissing),
        _ => None,
    }
}

/// The value of a parameter; the last one that the kernel understands counts.
fn switch(cmdline: &str, name: &str) -> Option<bool> {
    // The kernel leaves what stands behind `--` to init.
    let words = cmdline.split_ascii_whitespace().take_while(|word| *word != "--");
    words.filter_map(|word| truth(word.strip_prefix(name)?.strip_prefix('=')?)).last()
}

/// As `kstrtobool()` of the kernel reads it: by the first letter, or two.
fn truth(value: &str) -> Option<bool> {
    match value.as_bytes() {
        [b'y' | b'Y' | b't' | b'T' | b'1', ..] | [b'o' | b'O', b'n' | b'N', ..] => Some(true),
        [b'n' | b'N' | b'f' | b'F' | b'0', ..] | [b'o' | b'O', b'f' | b'F', ..] => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_the_parameters_takes_nothing_over() {
        for (next, running, expected) in [
            ("quiet kho=on liveupdate=on", "kho=on", None),
            ("liveupdate=1", "quiet", None),
            ("liveupdate=off liveupdate=yes", "", None),
            ("liveupdate=on kho=x", "", None),
            ("quiet", "kho=on", Some(CmdlineFault::NoLiveUpdate)),
            ("liveupdate=on liveupdate=0", "", Some(CmdlineFault::NoLiveUpdate)),
            ("xliveupdate=on", "", Some(CmdlineFault::NoLiveUpdate)),
            ("liveupdate", "", Some(CmdlineFault::NoLiveUpdate)),
            ("quiet -- liveupdate=on", "", Some(CmdlineFault::NoLiveUpdate)),
            ("liveupdate=on kho=off", "", Some(CmdlineFault::KhoOff)),
            ("liveupdate=on", "kho=y", Some(CmdlineFault::KhoMissing)),
        ] {
            assert_eq!(fault(next, running), expected, "{next:?} after {running:?}");
        }
    }
}
