// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is handed over against what the target can read.

use super::{Config, Doubt, Facts, Format, Owner, Refusal, Setting, Source};

/// Whether the target can take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It knows each format that is handed over.
    Yes,
    /// It cannot, for these reasons.
    No(Vec<Refusal>),
    /// Maybe. All doubts are here, and nothing speaks against it.
    Unknown(Vec<Doubt>),
}

/// What one format amounts to.
enum Finding {
    Known,
    Refused(Refusal),
    Doubtful(Doubt),
}

/// Whether `target` can take over what is handed over: the formats of KHO, LUO, and of each handler and
/// FLB with something preserved. The root of LUO must be among them, even if it has no session.
pub fn compare(handed_over: &[Format], target: &Facts) -> Verdict {
    if let Some(unread) = &target.unread {
        return Verdict::Unknown(vec![unread.clone().into()]);
    }
    if let Some(option) = option_off(target.config.as_ref()) {
        return Verdict::No(vec![Refusal::OptionOff(option)]);
    }
    if !has_orchestrator(target) {
        return Verdict::No(vec![Refusal::NoOrchestrator]);
    }
    let (mut refusals, mut doubts) = (Vec::new(), Vec::new());
    for format in handed_over {
        match find(format, target) {
            Finding::Refused(refusal) if !refusals.contains(&refusal) => refusals.push(refusal),
            Finding::Doubtful(doubt) if !doubts.contains(&doubt) => doubts.push(doubt),
            Finding::Known | Finding::Refused(_) | Finding::Doubtful(_) => {}
        }
    }
    if !refusals.is_empty() {
        Verdict::No(refusals)
    } else if !doubts.is_empty() {
        Verdict::Unknown(doubts)
    } else {
        Verdict::Yes
    }
}

/// The first option without which nothing is taken over, and that is off.
fn option_off(config: Option<&Config>) -> Option<&'static str> {
    let config = config?;
    ["KEXEC_HANDOVER", "LIVEUPDATE"].into_iter().find(|option| config.get(option) == Setting::Off)
}

/// Whether anything in the image is of LUO. Its ground, KHO, is of no use alone.
fn has_orchestrator(target: &Facts) -> bool {
    target.mentions_liveupdate
        || target.config.as_ref().is_some_and(|config| config.get("LIVEUPDATE") != Setting::Off)
        || target.formats.iter().any(|(format, source)| {
            source == Source::Section || format.is_versioned() && format.owner() == Owner::Luo
        })
}

fn find(wanted: &Format, target: &Facts) -> Finding {
    let formats = &target.formats;
    if wanted.is_versioned() && formats.get(wanted).is_some() {
        return Finding::Known;
    }
    // Such a name says nothing of the features beside it.
    let described = |name| formats.get(&name) == Some(Source::Section);
    if Format::new(wanted.family()).is_ok_and(described) {
        return Finding::Doubtful(Doubt::ByFeatures(wanted.clone()));
    }
    if formats.mentions(wanted) {
        return Finding::Doubtful(Doubt::OnlyMentioned(wanted.clone()));
    }
    let known: Vec<Format> = formats.of_family(wanted.family()).cloned().collect();
    if !known.is_empty() {
        return Finding::Refused(Refusal::OtherVersion { wanted: wanted.clone(), known });
    }
    match (wanted.owner(), &target.config) {
        // A constant of these may be in the code, in pieces.
        (Owner::Kho | Owner::Luo, _) => Finding::Doubtful(Doubt::NotSeen(wanted.clone())),
        (Owner::Handler, Some(config)) => handler(wanted, config),
        (Owner::Handler, None) => Finding::Doubtful(Doubt::MaybeInModule(wanted.clone())),
    }
}

/// A format of a handler that the image does not have.
fn handler(wanted: &Format, config: &Config) -> Finding {
    if wanted.family() == "memfd" && config.get("LIVEUPDATE_MEMFD") == Setting::Off {
        Finding::Refused(Refusal::OptionOff("LIVEUPDATE_MEMFD"))
    } else if config.get("MODULES") != Setting::Off {
        Finding::Doubtful(Doubt::MaybeInModule(wanted.clone()))
    } else if wanted.is_versioned() {
        Finding::Refused(Refusal::Missing(wanted.clone()))
    } else {
        // Only names with a version are collected from an image.
        Finding::Doubtful(Doubt::NotSeen(wanted.clone()))
    }
}
