// SPDX-License-Identifier: MIT OR Apache-2.0

//! Findings before an update, while there is a way back.

use std::collections::BTreeSet;

use liblu::{LiveUpdate, Support};

use super::State;
use crate::policy::{Presence, Unclaimed};
use crate::registry::Direction;
use crate::system::formats::{Evidence, Roots, files, roots};
use crate::target::cmdline::CmdlineFault;
use crate::target::{Doubt, Facts, Format, Refusal, Verdict, compare};
use crate::varlink::manager::{Finding, Severity};

/// A finding.
fn finding(
    id: &str,
    severity: Severity,
    meaning: impl Into<String>,
    advice: Option<&str>,
) -> Finding {
    Finding { id: id.into(), severity, meaning: meaning.into(), advice: advice.map(Into::into) }
}

/// Findings about the device and the running kernel. It opens the device.
pub(super) fn of_machine(device: &LiveUpdate) -> Vec<Finding> {
    let mut findings = Vec::new();
    let probe = liblu::probe_at(device);
    if let Err(error) = &probe.device {
        let (id, advice) = match error.kind() {
            liblu::ErrorKind::Busy => {
                ("device-busy", "end the process that `fuser /dev/liveupdate` shows")
            }
            liblu::ErrorKind::Unavailable => (
                "no-live-updates",
                "boot a kernel of 6.19 or later with CONFIG_LIVEUPDATE, and with `kho=on liveupdate=on` on its \
                 command line",
            ),
            _ => ("device", "see that luod runs as root, and that its unit allows the device"),
        };
        findings.push(finding(id, Severity::Error, error.to_string(), Some(advice)));
    }
    for defect in probe.defects {
        let meaning = format!("the running kernel has a known defect: {defect}");
        let advice = "update to a kernel without it as soon as possible";
        findings.push(finding("known-defect", Severity::Warning, meaning, Some(advice)));
    }
    findings
}

impl State {
    /// The formats of all that would be handed over now, with how they are known.
    pub(super) fn formats(&self) -> (Vec<Format>, Evidence, Support) {
        let Roots { formats, evidence } = roots();
        let mut all: BTreeSet<_> = formats.into_iter().collect();
        let mut shown = Support::Yes;
        for (number, entry) in self.custody.registry().iter() {
            if entry.state().direction() == Direction::Incoming {
                continue;
            }
            let files = self.custody.fd(number).and_then(|held| {
                let files = files(held)?;
                Some(files.into_iter().filter_map(|file| file.handler.parse().ok()))
            });
            match files {
                Some(files) => all.extend(files),
                None => shown = Support::Unknown,
            }
        }
        if shown != Support::Yes {
            // The C implementation shows no files; most are memfds.
            all.extend("memfd-v2".parse());
        }
        (all.into_iter().collect(), evidence, shown)
    }

    /// Findings about the sessions and clients.
    pub(super) fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.check_sessions(&mut findings);
        if let Some((room, used)) = self.store.usage()
            && used.saturating_mul(10) >= room.saturating_mul(9)
        {
            let meaning = format!("the fd store of luod has {used} of {room} sessions");
            let advice = "discard sessions that are not needed; 4096 are the most, with FileDescriptorStoreMax=4098 \
                          in luod.service";
            findings.push(finding("store-room", Severity::Warning, meaning, Some(advice)));
        }
        let there: BTreeSet<_> = self.members.values().map(|member| &member.owner).collect();
        for owner in self.required() {
            if !there.contains(&owner) {
                let meaning =
                    format!("the policy requires {owner}, and no client of it takes part");
                let advice = "start it, or change `required` in the policy";
                findings.push(finding("required-missing", Severity::Error, meaning, Some(advice)));
            }
        }
        if let Some(why) = &self.bad_policy {
            let meaning = format!("the policy cannot be read, so the default one holds: {why}");
            let advice = "mend it (`luctl policy check`), then `luctl reload`";
            findings.push(finding("bad-policy", Severity::Error, meaning, Some(advice)));
        }
        self.check_attended(&mut findings);
        if self.members.is_empty() {
            let meaning = "no client takes part in updates, so nobody is asked";
            findings.push(finding("no-clients", Severity::Note, meaning, None));
        }
        findings
    }

    fn check_sessions(&self, findings: &mut Vec<Finding>) {
        for unknown in &self.unknown {
            let meaning =
                format!("the fd store of luod has {:?}, of which luod knows nothing", unknown.name);
            let advice = "see `luctl list --all`; `luctl discard` gives it up";
            findings.push(finding("unknown-session", Severity::Warning, meaning, Some(advice)));
        }
        let incoming = self.custody.registry().by_owner().map(|(_, entry)| entry);
        for entry in incoming.filter(|it| it.state().direction() == Direction::Incoming) {
            let (label, owner) = (entry.label().as_str(), entry.owner());
            let came = format!("session {label:?} of {owner} came from the previous kernel");
            let advice = format!(
                "wait for its client, or give it up: luctl discard --owner {owner} --incoming {label}"
            );
            let advice = Some(&*advice);
            findings.push(match super::decision(&self.policy, owner).unclaimed {
                Unclaimed::Leave => {
                    let meaning = format!("{came} and is not restored; it ends with this kernel");
                    finding("unclaimed-session", Severity::Warning, meaning, advice)
                }
                // A file that was retrieved cannot be preserved again before its session is finished, and then
                // its client could not claim it if the update is off.
                Unclaimed::Carry => {
                    let meaning = format!(
                        "{came} and is not restored; the policy wants it carried over this update, which \
                         no kernel can do before its client has finished it"
                    );
                    finding("cannot-carry", Severity::Error, meaning, advice)
                }
            });
        }
    }

    /// An open session whose client does not take part would be given up when the client is stopped.
    fn check_attended(&self, findings: &mut Vec<Finding>) {
        let members = self.members.values();
        let attended: BTreeSet<_> =
            members.flat_map(|it| it.labels.iter().map(move |label| (&it.owner, label))).collect();
        for (_, entry) in self.custody.registry().by_owner() {
            let is_open = *entry.state() == crate::registry::State::Open && !entry.is_kept();
            let (owner, label) = (entry.owner(), entry.label());
            let is_kept = super::keeps(&self.policy, self.bad_policy.as_ref(), owner);
            if !is_open || is_kept || attended.contains(&(owner, label)) {
                continue;
            }
            let label = label.as_str();
            let meaning = format!(
                "session {label:?} of {owner} is open, and no client takes part for it: it would be lost"
            );
            let advice = format!(
                "wait for its client, which comes back soon after a restart of luod, or give it up: luctl discard \
                 --owner {owner} {label}"
            );
            findings.push(finding("unattended-session", Severity::Error, meaning, Some(&advice)));
        }
    }

    /// Owners of which a client must be ready.
    pub(super) fn required(&self) -> BTreeSet<crate::owner::Owner> {
        let sessions = self.custody.registry().by_owner().map(|(_, entry)| entry.owner().clone());
        let there = self.members.values().map(|member| member.owner.clone()).chain(sessions);
        let is_required = |owner: &crate::owner::Owner| {
            super::decision(&self.policy, owner).presence == Presence::Required
        };
        self.policy.required().chain(there.filter(is_required)).collect()
    }
}

/// Findings about a target kernel.
pub(super) fn of_target(
    facts: &Facts,
    formats: &[Format],
    evidence: Evidence,
    shown: Support,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    match compare(formats, facts) {
        Verdict::Yes => {}
        Verdict::No(refusals) => findings.extend(refusals.iter().map(|refusal| {
            let id = match refusal {
                Refusal::OptionOff(_) => "target-option",
                Refusal::NoOrchestrator => "target-no-live-updates",
                Refusal::OtherVersion { .. } | Refusal::Missing(_) => "target-format",
            };
            let advice = "choose another kernel, or update with a reboot";
            finding(id, Severity::Error, refusal.to_string(), Some(advice))
        })),
        Verdict::Unknown(doubts) => findings.extend(doubts.iter().map(|doubt| {
            let id = match doubt {
                Doubt::Unread(_) => "target-unread",
                Doubt::MaybeInModule(_) => "target-module",
                Doubt::OnlyMentioned(_) | Doubt::NotSeen(_) | Doubt::ByFeatures(_) => {
                    "target-unknown"
                }
            };
            let advice = "go on with --accept-unknown if you know better";
            finding(id, Severity::Unknown, doubt.to_string(), Some(advice))
        })),
    }
    if evidence == Evidence::Guess {
        let meaning =
            "this luod does not know the formats of the running kernel, which does not show them";
        let advice = "mount debugfs, update luod, or go on with --accept-unknown";
        findings.push(finding("formats-guessed", Severity::Unknown, meaning, Some(advice)));
    }
    if shown != Support::Yes {
        let meaning =
            "the running kernel does not show the files of sessions; they are taken for memfds";
        findings.push(finding("files-not-shown", Severity::Note, meaning, None));
    }
    let release = facts.release.as_deref().unwrap_or("of an unknown release");
    let layers = facts.layers.to_string();
    let layers = if layers.is_empty() { layers } else { format!(" ({layers})") };
    let meaning = format!("the target kernel is {release}{layers}");
    findings.push(finding("target", Severity::Note, meaning, None));
    findings
}

/// No kernel is loaded, or nobody knows which.
pub(super) fn no_target(is_loaded: bool) -> Finding {
    if is_loaded {
        let meaning = "a kernel is loaded that luod has not loaded, so luod cannot tell whether it takes over";
        let advice = "load it with `luctl load`, or go on with --accept-unknown";
        return finding("target-foreign", Severity::Unknown, meaning, Some(advice));
    }
    let advice = "load one with `luctl load`";
    finding("target-missing", Severity::Error, "no kernel is loaded", Some(advice))
}

/// The command line of the target kernel keeps it from taking over.
pub(super) fn of_cmdline(fault: CmdlineFault) -> Finding {
    let severity = match fault {
        CmdlineFault::NoLiveUpdate | CmdlineFault::KhoOff => Severity::Error,
        CmdlineFault::KhoMissing => Severity::Unknown,
    };
    let advice = "load it again with `--cmdline \"... kho=on liveupdate=on\"`";
    finding("target-cmdline", severity, fault.to_string(), Some(advice))
}

/// Whether a kernel is loaded cannot be found out.
pub(super) fn no_kexec(error: &liblu::Error) -> Finding {
    let advice = "boot a kernel with CONFIG_KEXEC_FILE";
    finding("no-kexec", Severity::Error, super::error::sentence(error), Some(advice))
}

/// The service manager would lose the sessions.
pub(super) fn cannot_carry(why: String) -> Finding {
    let advice = "update systemd, mend the unit, or use --now, which needs no service manager";
    finding("service-manager", Severity::Error, why, Some(advice))
}

/// The findings, the gravest first.
pub(super) fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Why an update does not begin, if it does not.
pub(super) fn stops(findings: &[Finding], accept_unknown: bool, overridden: &[String]) -> bool {
    let stops = |it: &Finding| match it.severity {
        Severity::Error => true,
        Severity::Unknown => !accept_unknown,
        Severity::Note | Severity::Warning => false,
    };
    findings.iter().any(|it| stops(it) && !overridden.contains(&it.id))
}
