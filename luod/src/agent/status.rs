// SPDX-License-Identifier: MIT OR Apache-2.0

//! The state of the agent, for administrators.

use std::fmt::Write as _;

use super::Agent;
use crate::owner::Owner;
use crate::registry;
use crate::system::formats::files;
use crate::update::Phase;
use crate::varlink::agent::{Direction, State};
use crate::varlink::manager as words;

/// Counts since luod was started.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) begun: u64,
    pub(super) aborted: u64,
}

/// Clients that are named at once; people do not read more.
const NAMED: usize = 50;

impl Agent {
    /// The state of the agent.
    pub fn status(&self) -> words::Status {
        let state = self.state();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        words::Status {
            mode: if state.store.is_managed() {
                words::Mode::Systemd
            } else {
                words::Mode::Standalone
            },
            version: env!("CARGO_PKG_VERSION").into(),
            phase: state.phase(),
            generation: state.generation().map(|it| it.0),
            awaited: state.awaited(),
            unnamed: state.unnamed(),
            target: state.target.as_ref().map(|it| it.shown.clone()),
            participants: count(state.members.len()),
            sessions: count(state.custody.registry().iter().count()),
            last_failure: state.last_failure.clone(),
        }
    }

    /// All sessions of all owners, and those that luod does not know.
    pub fn list_all(&self) -> Vec<words::Session> {
        let state = self.state();
        let mut all: Vec<_> = state
            .custody
            .registry()
            .by_owner()
            .map(|(number, entry)| words::Session {
                owner: Some(entry.owner().to_string()),
                label: Some(entry.label().as_str().into()),
                session_name: entry.name().to_string(),
                direction: Direction::from(entry.state().direction()).as_str().into(),
                state: State::from(entry.state()).as_str().into(),
                files: state.custody.fd(number).and_then(files).map(shown),
            })
            .collect();
        all.extend(state.unknown.iter().map(|unknown| words::Session {
            owner: None,
            label: None,
            session_name: unknown.shown_name(),
            direction: Direction::from(unknown.direction()).as_str().into(),
            state: "unknown".into(),
            files: files(&unknown.fd).map(shown),
        }));
        all
    }

    /// Figures in the text format of OpenMetrics.
    pub fn metrics(&self) -> String {
        let state = self.state();
        let (mut outgoing, mut incoming) = (0_u64, 0_u64);
        for (_, entry) in state.custody.registry().iter() {
            match entry.state().direction() {
                registry::Direction::Outgoing => outgoing += 1,
                registry::Direction::Incoming => incoming += 1,
            }
        }
        let generation = state.custody.registry().generation().0;
        let Counts { begun, aborted } = state.counts;
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, samples: &[(&str, u64)]| {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "# TYPE {name} {kind}\n# HELP {name} {help}");
            let suffix = if kind == "counter" { "_total" } else { "" };
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{suffix}{labels} {value}");
            }
        };
        let sessions =
            [("{direction=\"outgoing\"}", outgoing), ("{direction=\"incoming\"}", incoming)];
        metric("luod_sessions", "gauge", "Sessions in custody.", &sessions);
        let unknown = state.unknown.len() as u64;
        metric(
            "luod_unknown",
            "gauge",
            "Stored descriptors that luod does not know.",
            &[("", unknown)],
        );
        let members = state.members.len() as u64;
        metric(
            "luod_participants",
            "gauge",
            "Clients that take part in updates.",
            &[("", members)],
        );
        let awaited = state.machine.awaited().count() as u64;
        metric("luod_awaited", "gauge", "Clients whose answer is awaited.", &[("", awaited)]);
        metric("luod_generation", "gauge", "Number of the last update.", &[("", generation)]);
        metric(
            "luod_updates",
            "counter",
            "Updates that were begun since the start of luod.",
            &[("", begun)],
        );
        metric(
            "luod_aborts",
            "counter",
            "Updates that were called off since then.",
            &[("", aborted)],
        );
        if let Some((room, used)) = state.store.usage() {
            metric("luod_store_used", "gauge", "Sessions in the fd store.", &[("", used.into())]);
            metric("luod_store_room", "gauge", "Sessions that fit.", &[("", room.into())]);
        }
        text.push_str("# EOF\n");
        text
    }
}

impl super::State {
    pub(super) fn phase(&self) -> words::Phase {
        match self.machine.phase() {
            Phase::Idle | Phase::Loaded if self.is_checking => words::Phase::Checking,
            Phase::Idle => words::Phase::Idle,
            Phase::Loaded => words::Phase::Loaded,
            Phase::Preparing { .. } => words::Phase::Preparing,
            Phase::Freezing { .. } => words::Phase::Freezing,
            Phase::Committing { .. } => words::Phase::Committing,
        }
    }

    pub(super) fn awaited(&self) -> Vec<words::Awaited> {
        let now = self.now();
        let awaited = |(id, owner): (_, &Owner)| {
            let labels = self.members.get(&id).map(|it| it.labels.as_slice()).unwrap_or_default();
            let left = self.machine.left(now, id).unwrap_or_default();
            words::Awaited {
                owner: owner.to_string(),
                labels: labels.iter().map(|label| label.as_str().into()).collect(),
                left: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            }
        };
        self.machine.awaited().take(NAMED).map(awaited).collect()
    }

    /// The number of clients that are awaited besides those that are named.
    pub(super) fn unnamed(&self) -> Option<u32> {
        let rest = self.machine.awaited().skip(NAMED).count();
        u32::try_from(rest).ok().filter(|rest| *rest > 0)
    }
}

fn shown(files: Vec<crate::system::formats::File>) -> Vec<words::File> {
    let shown = |file: crate::system::formats::File| words::File {
        token: file.token,
        handler: Some(file.handler),
        state: Some(file.state),
    };
    files.into_iter().map(shown).collect()
}
