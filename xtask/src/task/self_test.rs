// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask self-test`: guests that go wrong on purpose must be reported as exactly that.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use selftests::plan::Misbehaviour;

use crate::failure::TestsFailed;
use crate::guest::Pid1;
use crate::judge::{self, Ran};
use crate::kernel::{Hops, Profile};
use crate::outcome::{Trouble, Verdict};
use crate::prepare::Prepared;
use crate::run_folder;
use crate::runner::Runner;
use crate::suite::{Kind, Platform, Suite, Test, Vm, machines};
use crate::task::vm_test::{BuildOptions, MachineOptions, default_hops};

/// The options of `cargo xtask self-test`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    build: BuildOptions,
    #[command(flatten)]
    machine: MachineOptions,
}

/// A guest that goes wrong, and what must be said about it.
struct Case {
    name: &'static str,
    how: Misbehaviour,
    hop: usize,
    verdict: Verdict,
    /// Part of the detail of the verdict.
    detail: &'static str,
    /// The beginning of the only trouble; empty for none.
    trouble: &'static str,
}

impl Case {
    /// The behaviour of the guest, in words; a name of a step has no spaces.
    fn sentence(&self) -> String {
        self.name.replace('-', " ")
    }
}

const CASES: &[Case] = &[
    Case {
        name: "fails",
        how: Misbehaviour::Fail,
        hop: 2,
        verdict: Verdict::Failed,
        detail: "failing as told",
        trouble: "",
    },
    Case {
        name: "skips",
        how: Misbehaviour::Skip,
        hop: 1,
        verdict: Verdict::Failed,
        detail: "was skipped",
        trouble: "",
    },
    Case {
        name: "says-nothing",
        how: Misbehaviour::NoVerdict,
        hop: 2,
        verdict: Verdict::Missing,
        detail: "",
        trouble: "",
    },
    Case {
        name: "says-two-verdicts",
        how: Misbehaviour::TwoVerdicts,
        hop: 2,
        verdict: Verdict::Failed,
        detail: "has 2 verdicts: ok, not ok",
        trouble: "",
    },
    Case {
        name: "hangs",
        how: Misbehaviour::Hang,
        hop: 2,
        verdict: Verdict::Missing,
        detail: "",
        trouble: "silence in hop 2 (",
    },
    Case {
        name: "panics",
        how: Misbehaviour::Panic,
        hop: 2,
        verdict: Verdict::Missing,
        detail: "",
        trouble: "kernel panic in hop 2 (",
    },
    Case {
        name: "warns",
        how: Misbehaviour::Warn,
        hop: 1,
        verdict: Verdict::Passed,
        detail: "",
        trouble: "kernel warning in hop 1 (",
    },
    Case {
        name: "leaves-early",
        how: Misbehaviour::LeaveEarly,
        hop: 1,
        verdict: Verdict::Passed,
        detail: "",
        trouble: "QEMU ended in hop 1 (",
    },
];

/// Runs the task.
pub(crate) fn run(options: &Options) -> Result<()> {
    let hops = default_hops(&crate::project::Project::open()?);
    let prepared = Prepared::make(&Pid1::PLAIN, &hops.0, &options.build.request())?;
    let folder = run_folder::create(&prepared.setup.cache, None)?;
    let runner = Runner::new(&prepared, options.build.profile, options.machine.clone(), &folder)?;
    let platform = Platform { guest: &Pid1::PLAIN, profile: options.build.profile };
    let limits = options.machine.limits(platform, hops.0.len());

    let vms = CASES.iter().map(|case| {
        let mut limits = limits;
        if case.how == Misbehaviour::Hang && options.build.profile == Profile::Release {
            // Long enough for a boot; the debug profile is silent for longer when all is well.
            limits.silence = Duration::from_secs(15);
        }
        (case.vm(&hops, platform), limits)
    });
    let machines = runner.run_all(vms.collect()).all()?;
    let mut failed = 0;
    for (case, ran) in CASES.iter().zip(&machines) {
        match case.judge(ran, &folder) {
            Ok(()) => println!("ok    a guest that {} is reported as that", case.sentence()),
            Err(error) => {
                failed += 1;
                println!("FAIL  a guest that {}: {error:#}", case.sentence());
            }
        }
    }
    println!("{} passed, {failed} failed", CASES.len() - failed);
    if failed == 0 { Ok(()) } else { Err(TestsFailed.into()) }
}

impl Case {
    fn test(&self) -> Test {
        Test {
            suite: Suite::Scenarios,
            name: self.name.into(),
            about: "",
            kind: Kind::Misbehave(self.how, self.hop),
        }
    }

    /// The machine whose guest goes wrong.
    fn vm(&self, hops: &Hops, platform: Platform) -> Vm {
        let mut vm = machines(&[self.test()], hops, platform).remove(0);
        vm.name = format!("self-test-{}", self.name);
        vm
    }

    /// Whether the machine was judged as it should be.
    fn judge(&self, ran: &Ran, folder: &Path) -> Result<()> {
        let log = folder.join(judge::log_name(&ran.vm));
        let shown = judge::test(&self.test(), &[ran]);
        ensure!(shown.cells.len() == 1, "{} cells; {}", shown.cells.len(), log.display());
        let cell = &shown.cells[0];
        let detail = cell.detail.as_deref().unwrap_or_default();
        ensure!(
            (cell.hop, cell.verdict) == (self.hop, self.verdict) && detail.contains(self.detail),
            "judged {cell:?}; {}",
            log.display()
        );
        let troubles: Vec<Trouble> = judge::troubles(ran);
        let as_expected = match &troubles[..] {
            [] => self.trouble.is_empty(),
            [trouble] => !self.trouble.is_empty() && trouble.what.starts_with(self.trouble),
            _ => false,
        };
        ensure!(as_expected, "troubles {troubles:?}; {}", log.display());
        if self.how == Misbehaviour::Hang {
            let excerpt = ran.record.excerpt();
            let is_shown = excerpt.iter().any(|line| line.contains("NMI backtrace for cpu"));
            ensure!(is_shown, "what the processors did is not shown; {}", log.display());
        }
        Ok(())
    }
}
