// SPDX-License-Identifier: MIT OR Apache-2.0

//! The output of the guest so far, hop by hop, and whether it is time to give up.
//!
//! Pure: lines and times go in, a record and alarms come out.

use std::time::Duration;

use selftests::event::Event;

use crate::vm::kernel_log;
use crate::vm::ktap::{self, Line, Subtests};

/// Lines of the log that an alarm shows before and from the line that raised it.
const BEFORE: usize = 5;
const AFTER: usize = 60;

/// Kind of the alarm about a machine that says nothing.
pub(super) const SILENCE: &str = "silence";

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// The kernel's log.
    Console,
    /// KTAP of PID 1.
    Control,
    /// QEMU itself.
    Qemu,
    /// QEMU's answers to questions.
    Monitor,
}

/// All that a virtual machine said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// A record for each kernel that spoke, in order.
    pub(crate) hops: Vec<HopRecord>,
    /// Why the machine was, or should have been, given up.
    pub(crate) alarm: Option<Alarm>,
    /// Whether the guest said that it is done.
    pub(crate) done: bool,
}

/// The output of one hop.
#[derive(Clone, Debug, Default)]
pub(crate) struct HopRecord {
    /// Version in the kernel's banner.
    pub(crate) release: String,
    /// When the kernel's first line came, since the start of the machine.
    pub(crate) first_line: Duration,
    /// The kernel's log.
    pub(crate) log: Vec<String>,
    /// Events of PID 1, with their times.
    pub(crate) events: Vec<(Event, Duration)>,
    /// How many steps PID 1 announced.
    pub(crate) planned: Option<usize>,
    /// Verdicts, in the order in which they were said.
    pub(crate) verdicts: Vec<Said>,
    /// Steps that were begun, in order.
    pub(crate) steps: Vec<StepRecord>,
}

/// A verdict as it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) name: String,
    pub(crate) ok: bool,
    pub(crate) excused: bool,
    /// Why the step makes no sense in this hop, if PID 1 says so.
    pub(crate) not_applicable: Option<String>,
    pub(crate) at: Duration,
}

/// A step that was begun.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepRecord {
    pub(crate) name: String,
    pub(crate) began: Duration,
    /// Diagnostics of PID 1 and output of the program.
    pub(crate) output: Vec<String>,
    /// Subtests of the program.
    pub(crate) subtests: Subtests,
}

/// A reason to give the machine up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alarm {
    /// Number of the hop, from 1; 0 before the first kernel spoke.
    pub(crate) hop: usize,
    /// The trouble, in short: `kernel panic`.
    pub(crate) kind: String,
    /// The line or the circumstance behind it.
    pub(crate) detail: String,
    /// Index of the first line of the hop's log that matters.
    at_line: usize,
}

impl Alarm {
    /// Whether the kernel has raised it by a report or by silence, and not PID 1, QEMU or a limit.
    pub(crate) fn is_of_kernel(&self) -> bool {
        kernel_log::trouble(&self.detail).is_some() || self.kind == SILENCE
    }
}

impl HopRecord {
    /// When `event` came, if it did.
    pub(crate) fn time_of(&self, event: &Event) -> Option<Duration> {
        self.events.iter().find(|(there, _)| there == event).map(|(_, at)| *at)
    }

    /// When PID 1 began.
    pub(crate) fn init(&self) -> Option<Duration> {
        let is_init = |event: &Event| matches!(event, Event::Init { .. });
        self.events.iter().find(|(event, _)| is_init(event)).map(|(_, at)| *at)
    }
}

impl Record {
    /// The lines of the log that matter for the alarm.
    pub(crate) fn excerpt(&self) -> Vec<String> {
        let Some(alarm) = &self.alarm else {
            return Vec::new();
        };
        let Some(hop) = alarm.hop.checked_sub(1).and_then(|index| self.hops.get(index)) else {
            return Vec::new();
        };
        let lines = hop.log.iter().skip(alarm.at_line.saturating_sub(BEFORE));
        let mut shown = Vec::new();
        for (index, line) in lines.take(BEFORE + AFTER).enumerate() {
            shown.push(line.clone());
            if index > BEFORE && kernel_log::ends_report(line) {
                break;
            }
        }
        shown
    }
}

/// Hops at the end of a chain of which everything is remembered. Of the others, verdicts and evidence
/// are.
pub(super) const LAST_HOPS: usize = 20;

/// Whether a line of the kernel's log has a part in a verdict, so that it must be remembered.
pub(crate) type IsEvidence = fn(&str) -> bool;

/// Takes in lines.
#[derive(Debug)]
pub(crate) struct Watch {
    record: Record,
    /// How many hops PID 1 has announced.
    announced: usize,
    is_evidence: IsEvidence,
}

impl Watch {
    /// Nothing was said yet.
    pub(crate) fn new(is_evidence: IsEvidence) -> Self {
        Self { record: Record::default(), announced: 0, is_evidence }
    }

    /// Takes in one line; the first alarm stays.
    pub(crate) fn line(&mut self, port: Port, line: &str, at: Duration) {
        match port {
            Port::Console => self.console(line, at),
            Port::Control => self.control(line, at),
            Port::Qemu | Port::Monitor => {}
        }
    }

    /// Raises an alarm from outside: silence, a limit, the end of QEMU.
    pub(crate) fn raise(&mut self, kind: &str, detail: String) {
        let hop = self.record.hops.len();
        let lines = self.record.hops.last().map_or(0, |hop| hop.log.len());
        // The last message is the important one now.
        let at_line = lines.saturating_sub(20);
        self.alarm(Alarm { hop, kind: kind.into(), detail, at_line });
    }

    /// Whether there is an alarm.
    pub(crate) fn is_alarmed(&self) -> bool {
        self.record.alarm.is_some()
    }

    /// The output so far.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// The output.
    pub(crate) fn finish(self) -> Record {
        self.record
    }

    /// Forgets details of a hop that is no longer among the last ones: chains may be long.
    fn forget(&mut self) {
        let old = self.record.hops.len().checked_sub(LAST_HOPS + 1);
        let Some(hop) = old.and_then(|index| self.record.hops.get_mut(index)) else {
            return;
        };
        // An alarm shows lines of its hop.
        if self.record.alarm.is_none() {
            hop.log.retain(|line| (self.is_evidence)(line));
            hop.log.shrink_to_fit();
            let has_failed =
                |name: &str| hop.verdicts.iter().any(|said| said.name == name && !said.ok);
            for step in hop.steps.iter_mut().filter(|step| !has_failed(&step.name)) {
                step.output = Vec::new();
            }
        }
    }

    fn alarm(&mut self, alarm: Alarm) {
        self.record.alarm.get_or_insert(alarm);
    }

    fn console(&mut self, line: &str, at: Duration) {
        if let Some(release) = kernel_log::banner(line) {
            let hop = HopRecord { release: release.into(), first_line: at, ..HopRecord::default() };
            self.record.hops.push(hop);
            self.forget();
        }
        let number = self.record.hops.len();
        let Some(hop) = self.record.hops.last_mut() else {
            return;
        };
        hop.log.push(line.to_owned());
        let at_line = hop.log.len().saturating_sub(1);
        if let Some(kind) = kernel_log::trouble(line) {
            let detail = kernel_log::message(line).to_owned();
            self.alarm(Alarm { hop: number, kind: kind.into(), detail, at_line });
        }
    }

    fn control(&mut self, line: &str, at: Duration) {
        let line = ktap::parse(line);
        if let Line::Event(event) = line {
            self.event(event, at);
            return;
        }
        // PID 1 speaks for the hop that it announced, whatever state the console is in.
        let index = self.announced.checked_sub(1);
        let hop = index.and_then(|index| self.record.hops.get_mut(index));
        match (line, hop) {
            (Line::BailOut(why), _) => {
                let why = why.to_owned();
                self.raise("PID 1 gave up", why);
            }
            (Line::Plan(number), Some(hop)) => hop.planned = Some(number),
            (Line::Result(result), Some(hop)) => hop.verdicts.push(Said {
                name: result.name.into(),
                ok: result.ok,
                excused: result.excused,
                not_applicable: result.not_applicable.map(str::to_owned),
                at,
            }),
            (Line::Nested(text), Some(hop)) => {
                if let Some(step) = hop.steps.last_mut() {
                    step.subtests.line(text);
                    step.output.push(text.into());
                }
            }
            (Line::Diagnostic(text) | Line::Other(text), Some(hop)) => {
                if let Some(step) = hop.steps.last_mut() {
                    step.output.push(text.into());
                }
            }
            (Line::Version | Line::Event(_), Some(_)) | (_, None) => {}
        }
    }

    fn event(&mut self, event: Event, at: Duration) {
        if let Event::Init { hop, release } = &event {
            self.announced += 1;
            let spoke = self.record.hops.get(self.announced - 1).map(|hop| hop.release.clone());
            if *hop != self.announced || spoke.as_ref() != Some(release) {
                let detail = format!(
                    "PID 1 says hop {hop}, kernel {release}; on the console this is hop {}, kernel {}",
                    self.announced,
                    spoke.as_deref().unwrap_or("none")
                );
                self.raise("a hop out of order", detail);
            }
        }
        if event == Event::Done {
            self.record.done = true;
        }
        let index = self.announced.checked_sub(1);
        let Some(hop) = index.and_then(|index| self.record.hops.get_mut(index)) else {
            return;
        };
        if let Event::Step { name } = &event {
            hop.steps.push(StepRecord { name: name.clone(), began: at, ..StepRecord::default() });
        }
        hop.events.push((event, at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds lines: `C ` for the console, `K ` for control, a second each.
    fn watch(lines: &[&str]) -> Record {
        let mut watch = Watch::new(|line| line.contains("evidence"));
        for (second, line) in (0..).zip(lines) {
            let port = if line.starts_with('C') { Port::Console } else { Port::Control };
            watch.line(port, &line[2..], Duration::from_secs(second));
        }
        watch.finish()
    }

    const BOOT: &[&str] = &[
        "C SeaBIOS",
        "C [ 0.0] Linux version 7.3.4-c (x)",
        "C [ 0.1] hello",
        "K KTAP version 1",
        r#"K # event {"event":"init","hop":1,"release":"7.3.4-c"}"#,
        "K 1..1",
        r#"K # event {"event":"step","name":"one"}"#,
    ];

    #[test]
    fn a_hop_is_recorded() {
        let record = watch(&[BOOT, &["K   1..1", "K   ok 1 sub", "K ok 1 one"]].concat());
        let hop = &record.hops[0];
        assert_eq!((hop.release.as_str(), hop.planned), ("7.3.4-c", Some(1)));
        assert_eq!(hop.first_line, Duration::from_secs(1));
        assert_eq!(hop.init(), Some(Duration::from_secs(4)));
        assert_eq!(hop.steps[0].subtests.verdict(), Ok(1));
        assert_eq!(hop.verdicts[0].name, "one");
        assert_eq!(record.alarm, None);
        assert!(!record.done);
    }

    #[test]
    fn a_panic_is_an_alarm_with_the_lines_around_it() {
        let more = ["C [ 1.0] before", "C [ 1.1] Kernel panic - not syncing: x", "C [ 1.2] after"];
        let record = watch(&[BOOT, &more].concat());
        let alarm = record.alarm.as_ref().unwrap();
        assert_eq!((alarm.hop, alarm.kind.as_str()), (1, "kernel panic"));
        assert_eq!(alarm.detail, "Kernel panic - not syncing: x");
        assert_eq!(record.excerpt().last().unwrap(), "[ 1.2] after");
        assert!(record.excerpt().contains(&"[ 1.0] before".to_owned()));
    }

    #[test]
    fn the_first_alarm_stays() {
        let more =
            ["C [ 1.0] WARNING: x", "C [ 1.1] Kernel panic - not syncing: x", "K Bail out! y"];
        let record = watch(&[BOOT, &more].concat());
        assert_eq!(record.alarm.unwrap().kind, "kernel warning");
    }

    #[test]
    fn a_second_kernel_is_a_second_hop() {
        let more = [
            "C [ 0.0] Linux version 7.3.4-rust (x)",
            r#"K # event {"event":"init","hop":2,"release":"7.3.4-rust"}"#,
            r#"K # event {"event":"done"}"#,
        ];
        let record = watch(&[BOOT, &more].concat());
        assert_eq!(record.hops.len(), 2);
        assert!(record.done && record.alarm.is_none());
    }

    #[test]
    fn of_a_long_chain_the_last_logs_and_all_evidence_stay() {
        let hop = |number: usize| {
            [
                "C [ 0.0] Linux version 7.3.4-rust (x)".to_owned(),
                format!("C [ 0.1] evidence {number}"),
                "C [ 0.2] hello".to_owned(),
                format!(r#"K # event {{"event":"init","hop":{number},"release":"7.3.4-rust"}}"#),
                r#"K # event {"event":"step","name":"one"}"#.to_owned(),
                "K   words".to_owned(),
                format!("K {} 1 one", if number == 2 { "not ok" } else { "ok" }),
            ]
        };
        let count = LAST_HOPS + 5;
        let lines: Vec<String> = (1..=count).flat_map(hop).collect();
        let record = watch(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let lines = |number: usize| record.hops[number - 1].log.len();
        let output = |number: usize| record.hops[number - 1].steps[0].output.len();
        assert_eq!(record.hops.len(), count);
        assert_eq!((lines(1), lines(5), lines(6), lines(count)), (1, 1, 3, 3));
        // The words of a step that has failed are shown with its verdict.
        assert_eq!((output(1), output(2), output(count)), (0, 1, 1));
    }

    #[test]
    fn a_hop_that_is_not_the_next_is_an_alarm() {
        for (hop, release) in [(3, "7.3.4-c"), (2, "7.3.4-rust")] {
            let init = format!(r#"K # event {{"event":"init","hop":{hop},"release":"{release}"}}"#);
            let more = ["C [ 0.0] Linux version 7.3.4-c (x)", &init];
            let record = watch(&[BOOT, &more].concat());
            assert_eq!(record.alarm.unwrap().kind, "a hop out of order");
        }
    }

    #[test]
    fn giving_up_is_an_alarm() {
        let record = watch(&[BOOT, &["K Bail out! no disk"]].concat());
        let alarm = record.alarm.unwrap();
        assert_eq!((alarm.kind.as_str(), alarm.detail.as_str()), ("PID 1 gave up", "no disk"));
    }

    proptest! {
        #[test]
        fn no_lines_make_it_panic(lines in proptest::collection::vec("[CK] .{0,60}", 0..30)) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            watch(&[BOOT, &lines[..]].concat()).excerpt();
            watch(&lines).excerpt();
        }
    }
}
