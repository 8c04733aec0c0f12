// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is handed over against what an image has.

use luod::target::{Doubt, Facts, Format, Packing, Refusal, Unread, Verdict, compare};

use crate::make::{bzimage, config, elf, elf_with, memory, memory_with};
use crate::{facts, formats, handed_over};

fn format(name: &str) -> Format {
    name.parse().unwrap()
}

/// A kernel with these strings and LUO's name.
fn kernel(strings: &[u8]) -> Facts {
    facts(&elf(&memory_with(&[b"liveupdate\0", strings, b"\0"].concat())))
}

/// A kernel with the formats of 7.3 and a configuration.
fn configured(text: &str) -> Facts {
    kernel(&[b"kho-v4\0luo-v5\0memfd-v2\0", &config(text)[..]].concat())
}

const ON: &str = "CONFIG_KEXEC_HANDOVER=y\nCONFIG_LIVEUPDATE=y\nCONFIG_LIVEUPDATE_MEMFD=y\n";

fn other_version(wanted: &str, known: &[&str]) -> Refusal {
    Refusal::OtherVersion { wanted: format(wanted), known: formats(known) }
}

#[test]
fn all_formats_known_is_yes() {
    for facts in
        [facts(&elf(&memory())), configured(ON), configured(&format!("{ON}CONFIG_MODULES=y\n"))]
    {
        assert_eq!(compare(&handed_over(), &facts), Verdict::Yes);
    }
}

#[test]
fn another_version_is_no() {
    let target = kernel(b"kho-v4\0luo-v4\0luo-v6\0memfd-v1\0");
    let refusals = vec![
        other_version("luo-v5", &["luo-v4", "luo-v6"]),
        other_version("memfd-v2", &["memfd-v1"]),
    ];
    assert_eq!(compare(&handed_over(), &target), Verdict::No(refusals));
}

#[test]
fn a_version_that_only_begins_alike_is_another() {
    let target = kernel(b"kho-v4\0luo-v50\0memfd-v2\0");
    assert_eq!(
        compare(&handed_over(), &target),
        Verdict::No(vec![other_version("luo-v5", &["luo-v50"])])
    );
}

#[test]
fn a_kernel_without_luo_is_no() {
    for strings in [&b"nospectre_v1\0"[..], b"kho-v4\0", b"kernel/liveupdate.c\0"] {
        let target = facts(&elf(&memory_with(strings)));
        assert_eq!(compare(&handed_over(), &target), Verdict::No(vec![Refusal::NoOrchestrator]));
    }
}

#[test]
fn options_that_are_off_are_no() {
    let off = |text: &str| compare(&handed_over(), &configured(text));
    assert_eq!(
        off("CONFIG_LIVEUPDATE=y\n"),
        Verdict::No(vec![Refusal::OptionOff("KEXEC_HANDOVER")])
    );
    assert_eq!(
        off("CONFIG_KEXEC_HANDOVER=y\n# CONFIG_LIVEUPDATE is not set\n"),
        Verdict::No(vec![Refusal::OptionOff("LIVEUPDATE")])
    );
    let strings = [
        b"kho-v4\0luo-v5\0",
        &config("CONFIG_KEXEC_HANDOVER=y\nCONFIG_LIVEUPDATE=y\nCONFIG_MODULES=y\n")[..],
    ];
    let verdict = compare(&handed_over(), &kernel(&strings.concat()));
    assert_eq!(verdict, Verdict::No(vec![Refusal::OptionOff("LIVEUPDATE_MEMFD")]));
}

#[test]
fn a_handler_that_is_missing_may_be_in_a_module() {
    let wanted = formats(&["kho-v4", "luo-v5", "vfio-pci-v1"]);
    let doubt = Verdict::Unknown(vec![Doubt::MaybeInModule(format("vfio-pci-v1"))]);
    let verdict = |text: &str| compare(&wanted, &configured(text));
    assert_eq!(compare(&wanted, &facts(&elf(&memory()))), doubt);
    assert_eq!(verdict(&format!("{ON}CONFIG_MODULES=y\n")), doubt);
    assert_eq!(verdict(ON), Verdict::No(vec![Refusal::Missing(format("vfio-pci-v1"))]));
}

#[test]
fn a_name_without_a_version_cannot_be_missed() {
    let wanted = formats(&["luo-v5", "vfio"]);
    let doubt = Verdict::Unknown(vec![Doubt::NotSeen(format("vfio"))]);
    assert_eq!(compare(&wanted, &configured(ON)), doubt);
}

#[test]
fn a_mention_is_unknown() {
    let target = kernel(b"kho-v4\0xluo-v5\0memfd-v2 and more\0memfd-v1\0");
    let doubts =
        vec![Doubt::OnlyMentioned(format("luo-v5")), Doubt::OnlyMentioned(format("memfd-v2"))];
    assert_eq!(compare(&handed_over(), &target), Verdict::Unknown(doubts));
}

#[test]
fn luo_without_its_format_is_unknown() {
    let doubts = vec![Doubt::NotSeen(format("kho-v4")), Doubt::NotSeen(format("luo-v5"))];
    assert_eq!(compare(&handed_over(), &kernel(b"memfd-v2\0")), Verdict::Unknown(doubts));
}

#[test]
fn features_without_versions_are_unknown() {
    let target = facts(&elf_with(&memory_with(b"kho-v4\0memfd-v2\0"), b"", Some(b"luo\0")));
    let doubts = vec![Doubt::ByFeatures(format("luo-v5"))];
    assert_eq!(compare(&handed_over(), &target), Verdict::Unknown(doubts));
    let doubts = vec![Doubt::ByFeatures(format("luo"))];
    assert_eq!(compare(&formats(&["luo"]), &target), Verdict::Unknown(doubts));
    // A version in the section says all.
    let target = facts(&elf_with(&memory_with(b"kho-v4\0memfd-v2\0"), b"", Some(b"luo-v5\0")));
    assert_eq!(compare(&handed_over(), &target), Verdict::Yes);
}

#[test]
fn refusals_go_before_doubts_and_nothing_is_said_twice() {
    let wanted = formats(&["luo-v5", "kho-v4", "luo-v5", "other-v1", "other-v1"]);
    let target = kernel(b"luo-v6\0kho-v4\0");
    assert_eq!(compare(&wanted, &target), Verdict::No(vec![other_version("luo-v5", &["luo-v6"])]));
    let target = kernel(b"luo-v5\0kho-v4\0");
    assert_eq!(
        compare(&wanted, &target),
        Verdict::Unknown(vec![Doubt::MaybeInModule(format("other-v1"))])
    );
}

#[test]
fn an_image_that_is_not_read_is_unknown_whatever_is_handed_over() {
    let target = facts(&bzimage(Packing::Lzo, b""));
    let doubts = vec![Doubt::Unread(Unread::Unsupported(Packing::Lzo))];
    assert_eq!(compare(&handed_over(), &target), Verdict::Unknown(doubts.clone()));
    assert_eq!(compare(&[], &target), Verdict::Unknown(doubts));
}

#[test]
fn every_reason_says_what_to_do() {
    let one = || format("memfd-v2");
    let refusals = [
        Refusal::OptionOff("LIVEUPDATE"),
        Refusal::NoOrchestrator,
        other_version("luo-v5", &["luo-v4", "luo-v6"]),
        Refusal::Missing(one()),
    ];
    let doubts = [
        Doubt::Unread(Unread::Unsupported(Packing::Lzo)),
        Doubt::MaybeInModule(one()),
        Doubt::OnlyMentioned(one()),
        Doubt::NotSeen(one()),
        Doubt::ByFeatures(one()),
    ];
    let said =
        refusals.iter().map(ToString::to_string).chain(doubts.iter().map(ToString::to_string));
    for sentence in said {
        let (meaning, way_out) = sentence.rsplit_once("; ").unwrap();
        assert!(meaning.contains("target") && way_out.len() > 15, "{sentence}");
    }
    assert_eq!(
        other_version("luo-v5", &["luo-v4", "luo-v6"]).to_string(),
        "this kernel hands over luo-v5, the target kernel reads luo-v4, luo-v6; choose a kernel that \
         reads luo-v5, or update with a reboot"
    );
}
