// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's log: where a kernel begins, and what means trouble.

/// Marks of reports in the kernel's log, the most important first, with a name for people.
///
/// Each is looked for in the message itself, behind the time stamp.
const TROUBLE: &[(&str, &str)] = &[
    ("Kernel panic - not syncing", "kernel panic"),
    ("BUG: KASAN:", "KASAN report"),
    ("BUG: KFENCE:", "KFENCE report"),
    ("BUG: sleeping function called from invalid context", "sleeping in atomic context"),
    ("BUG: scheduling while atomic", "scheduling while atomic"),
    ("watchdog: BUG: soft lockup", "soft lockup"),
    ("BUG: workqueue lockup", "workqueue lockup"),
    ("[ BUG:", "lockdep report"),
    ("BUG:", "kernel BUG"),
    // SLUB: `BUG kmalloc-64 (Not tainted): Right Redzone overwritten`.
    ("BUG ", "slab corruption"),
    ("kernel BUG at ", "kernel BUG"),
    ("Oops:", "oops"),
    ("general protection fault", "oops"),
    ("Unable to handle kernel", "oops"),
    ("UBSAN:", "UBSAN report"),
    ("WARNING: possible circular locking", "lockdep report"),
    ("WARNING: possible recursive locking", "lockdep report"),
    ("WARNING: bad unlock balance", "lockdep report"),
    ("WARNING: inconsistent lock state", "lockdep report"),
    ("WARNING: suspicious RCU usage", "lockdep report"),
    ("INFO: trying to register non-static key", "lockdep report"),
    ("WARNING:", "kernel warning"),
    ("rcu: INFO: rcu_", "RCU stall"),
    ("rcu_preempt detected stalls", "RCU stall"),
    ("blocked for more than", "hung task"),
    ("blocked in I/O wait for more than", "hung task"),
    ("ODEBUG:", "debug objects report"),
    ("pagealloc: memory corruption", "memory corruption"),
    ("pagealloc: single bit error", "memory corruption"),
    ("list_add corruption", "list corruption"),
    ("list_del corruption", "list corruption"),
    ("Out of memory: Killed process", "out of memory"),
    ("new suspected memory leaks", "memory leak"),
    ("KHO restore failed", "KHO test failed"),
    ("was put more often than got", "wrong count of users"),
    ("is finished, but it was put once more", "wrong count of users"),
    ("came back as a file that is held", "wrong identity"),
    ("Failed to reserve scratch area", "no KHO scratch memory"),
    ("printk messages dropped", "lost part of the log"),
];

/// The beginning of the first message of a kernel.
const BANNER: &str = "Linux version ";

/// The message of a line: the text behind `[    0.123456]`, and a caller if there is one.
pub(crate) fn message(line: &str) -> &str {
    let mut rest = line.trim_start();
    while let Some((inside, behind)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        let inside = inside.trim();
        let is_stamp = inside.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let is_caller =
            inside.starts_with(['T', 'C']) && inside.bytes().skip(1).all(|b| b.is_ascii_digit());
        if inside.is_empty() || !(is_stamp || is_caller) {
            break;
        }
        rest = behind.trim_start();
    }
    rest
}

/// The version in the first message of a kernel: `7.3.4-c`.
pub(crate) fn banner(line: &str) -> Option<&str> {
    message(line).strip_prefix(BANNER)?.split(' ').next()
}

/// The trouble, if the line reports one.
pub(crate) fn trouble(line: &str) -> Option<&'static str> {
    let message = message(line);
    TROUBLE.iter().find(|(mark, _)| found(message, mark)).map(|(_, name)| *name)
}

/// Marks that end with a colon begin a message; others may stand anywhere in it.
fn found(message: &str, mark: &str) -> bool {
    if ["[ BUG", "BUG", "UBSAN", "WARNING"].iter().any(|word| mark.starts_with(word)) {
        return message.starts_with(mark);
    }
    message.contains(mark)
}

/// Whether a line ends a report of the kernel.
pub(crate) fn ends_report(line: &str) -> bool {
    let message = message(line);
    message.starts_with("---[ end") || message.starts_with("Rebooting in")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stamps_and_callers_are_no_part_of_a_message() {
        assert_eq!(
            message("[    0.000000] Linux version 7.3.4-c (x)"),
            "Linux version 7.3.4-c (x)"
        );
        assert_eq!(message("[   12.345678][  T123] hello"), "hello");
        assert_eq!(message("[drm] hello"), "[drm] hello");
        assert_eq!(message("[] hello"), "[] hello");
        assert_eq!(message(""), "");
    }

    #[test]
    fn a_kernel_begins_with_its_banner() {
        let line = "[    0.000000] Linux version 7.3.4-c (liveupdate@localhost) (clang 19) #1 SMP";
        assert_eq!(banner(line), Some("7.3.4-c"));
        assert_eq!(banner("[    1.0] the Linux version 7.3"), None);
    }

    #[test]
    fn trouble_has_a_name() {
        let cases = [
            ("[   1.0] Kernel panic - not syncing: sysrq triggered crash", Some("kernel panic")),
            ("[   1.0] ---[ end Kernel panic - not syncing: x ]---", Some("kernel panic")),
            ("[   1.0] BUG: KASAN: slab-use-after-free in luo_x+0x1/0x2", Some("KASAN report")),
            ("[   1.0] BUG: kernel NULL pointer dereference, address: 0", Some("kernel BUG")),
            ("[   1.0] kernel BUG at mm/slub.c:1!", Some("kernel BUG")),
            ("[   1.0] Oops: Oops: 0002 [#1] SMP", Some("oops")),
            ("[   1.0] WARNING: mm/x.c:1 at f+0x1/0x2, CPU#0: init/1", Some("kernel warning")),
            (
                "[   1.0] WARNING: possible circular locking dependency detected",
                Some("lockdep report"),
            ),
            ("[   1.0] [ BUG: Invalid wait context ]", Some("lockdep report")),
            ("[   1.0] BUG kmalloc-64 (Not tainted): Redzone", Some("slab corruption")),
            (
                "[   1.0] INFO: task init:1 blocked in I/O wait for more than 30 seconds.",
                Some("hung task"),
            ),
            ("[   1.0] rcu: INFO: rcu_preempt self-detected stall on CPU", Some("RCU stall")),
            ("[   1.0] INFO: task init:1 blocked for more than 120 seconds.", Some("hung task")),
            ("[   1.0] watchdog: BUG: soft lockup - CPU#1 stuck for 22s!", Some("soft lockup")),
            ("[   1.0] kmemleak: 3 new suspected memory leaks (see x)", Some("memory leak")),
            ("[   1.0] hrtimer: interrupt took 5000000 ns", None),
            ("[   1.0] Warning: unable to open an initial console.", None),
            ("[   1.0] vm-test: hop 1: a test of WARNING: words", None),
            ("[   1.0] liveupdate: Registered", None),
        ];
        for (line, expected) in cases {
            assert_eq!(trouble(line), expected, "{line}");
        }
    }

    #[test]
    fn a_recorded_boot_has_one_banner_and_no_trouble() {
        let recorded = include_str!("../../testdata/boot.log");
        assert_eq!(recorded.lines().filter(|line| banner(line).is_some()).count(), 1);
        assert_eq!(recorded.lines().find_map(trouble), None);
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parsers_panic(line in ".*") {
            message(&line);
            banner(&line);
            trouble(&line);
        }

        #[test]
        fn a_stamp_changes_nothing(seconds in 0u32..99999, text in "[A-Za-z: ]{0,40}") {
            let stamped = format!("[{seconds:5}.000001] {text}");
            prop_assert_eq!(trouble(&stamped), trouble(&text));
        }
    }
}
