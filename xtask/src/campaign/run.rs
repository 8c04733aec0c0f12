// SPDX-License-Identifier: MIT OR Apache-2.0

//! Parts of campaigns are run, and those that have passed are remembered.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cache::{Cache, Key, Passed};
use crate::campaign::Part;
use crate::process::{Job, bound, returned};
use crate::progress::{Progress, say};
use crate::project::Project;
use crate::{check, interrupt, mutant};

/// How a part went.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// It has passed, now or in an earlier run on the same checkout.
    Passed { earlier: bool },
    /// It has failed, and this is why.
    Failed(String),
}

/// A part that was run.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    pub(crate) name: String,
    pub(crate) command: String,
    pub(crate) verdict: Verdict,
    pub(crate) elapsed: Duration,
    pub(crate) log: PathBuf,
}

/// The record of parts that have passed.
const RECORD: &str = "campaigns.json";

/// Keys of the checkout.
struct Checkout {
    whole: String,
    without_mutants: String,
}

impl Checkout {
    fn of(project: &Path) -> Result<Self> {
        let without_mutants = check::checkout(project, Some(mutant::FOLDER))?;
        Ok(Self { whole: check::checkout(project, None)?, without_mutants })
    }
}

/// Mutants that run side by side, so that one can be built while the other is booted.
const MUTANTS_AT_ONCE: usize = 2;

/// Runs parts, also after failures; those that have passed on this checkout only if `again` says so.
pub(crate) fn run(
    cache: &Cache,
    project: &Project,
    parts: &[Part],
    again: bool,
    folder: &Path,
) -> Result<Vec<Ran>> {
    let run = Run {
        cache,
        project,
        checkout: Checkout::of(&project.folder)?,
        passed: Mutex::new(Passed::open(cache, RECORD)),
        again,
        folder,
    };
    let (mutants, others): (Vec<_>, Vec<_>) =
        (0..).zip(parts).partition(|(_, part)| part.mutant.is_some());
    let mut all = run.in_turn(&Mutex::new(others.into_iter()))?;
    let mutants = Mutex::new(mutants.into_iter());
    thread::scope(|scope| {
        let mut threads = Vec::new();
        threads.resize_with(MUTANTS_AT_ONCE, || scope.spawn(|| run.in_turn(&mutants)));
        for thread in threads {
            all.extend(returned(thread.join())?);
        }
        anyhow::Ok(())
    })?;
    all.sort_by_key(|(number, _)| *number);
    Ok(all.into_iter().map(|(_, ran)| ran).collect())
}

/// A run of parts.
struct Run<'a> {
    cache: &'a Cache,
    project: &'a Project,
    checkout: Checkout,
    passed: Mutex<Passed<'a>>,
    again: bool,
    folder: &'a Path,
}

/// A part, and its place in the list.
type Numbered<T> = (usize, T);

impl<'a> Run<'a> {
    /// Runs one after the other of those that are left.
    fn in_turn<'p>(
        &self,
        left: &Mutex<impl Iterator<Item = Numbered<&'p Part>>>,
    ) -> Result<Vec<Numbered<Ran>>> {
        let left = || left.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |(number, part)| {
            // Where no verdict can be kept, the other thread need not find one.
            let ran = self.one(part).inspect_err(|_| left().by_ref().for_each(drop))?;
            Ok((number, ran))
        };
        std::iter::from_fn(|| left().next()).map(one).collect()
    }

    fn one(&self, part: &Part) -> Result<Ran> {
        let key = part.key(&self.checkout);
        let log = self.folder.join(format!("{}.log", part.name.replace([' ', ',', '*'], "-")));
        let begin = Instant::now();
        let verdict = if !self.again && self.passed().has(&key) {
            say(&format!("done {} (passed before on this checkout)", part.name));
            Verdict::Passed { earlier: true }
        } else {
            match run_one(self.cache, self.project, part, &log) {
                Ok(()) => {
                    self.passed().add(key)?;
                    Verdict::Passed { earlier: false }
                }
                Err(error) => {
                    interrupt::check()?;
                    say(&format!("FAIL {}: {error}", part.name));
                    Verdict::Failed(format!("{error:#}"))
                }
            }
        };
        let (name, command) = (part.name.clone(), part.command());
        Ok(Ran { name, command, verdict, elapsed: begin.elapsed(), log })
    }

    fn passed(&self) -> MutexGuard<'_, Passed<'a>> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs one part, with its output in `log`.
pub(crate) fn run_one(cache: &Cache, project: &Project, part: &Part, log: &Path) -> Result<()> {
    let mut step = Progress::begin(cache, format!("campaign {}", part.name));
    let mut command = bound(&part.program);
    command.args(&part.arguments).current_dir(project.folder.join(part.folder));
    command.envs(part.environment.iter().copied());
    Job::new(command, log).within(part.limit).on_line(|line| step.now(line)).run()?;
    step.done();
    Ok(())
}

impl Part {
    /// A key of the checkout and of all that the part is.
    fn key(&self, checkout: &Checkout) -> String {
        let Checkout { whole, without_mutants } = checkout;
        let key = Key::of("campaign", 1).with(&self.name).with(self.command());
        match &self.mutant {
            Some(patch) => key.with(without_mutants).with(patch).finish(),
            None => key.with(whole).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, script: &str) -> Part {
        let (program, arguments) = (PathBuf::from("sh"), vec!["-c".into(), script.into()]);
        let limit = Duration::from_secs(1);
        let (typed, environment, name, mutant) = ("sh", vec![], name.into(), None);
        Part { name, program, typed, arguments, folder: "", environment, limit, mutant }
    }

    #[test]
    fn a_mutant_depends_on_no_other_mutant() {
        let checkout = |whole: &str| Checkout { whole: whole.into(), without_mutants: "x".into() };
        let (with, without) = (checkout("with one more"), checkout("as it was"));
        let other = part("soak rust*2", "true");
        assert_ne!(other.key(&with), other.key(&without));
        let of = |patch: &str| Part { mutant: Some(patch.into()), ..other.clone() };
        assert_eq!(of("a").key(&with), of("a").key(&without));
        assert_ne!(of("a").key(&with), of("b").key(&with));
        assert!(other.is("rust*2") && !other.is("soak"));
    }

    #[test]
    fn two_mutants_run_at_a_time_and_the_order_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, project) = (Cache::at(folder.path()).unwrap(), Project::open().unwrap());
        let path = |name: &str| folder.path().join(name).display().to_string();
        // Each waits for the other.
        let mutant = |name: &str, mine: &str, other: &str| {
            let script = format!("touch {}; until test -e {}; do :; done", path(mine), path(other));
            Part { mutant: Some(name.into()), ..part(name, &script) }
        };
        let parts = [
            mutant("mutants one", "a", "b"),
            part("good", "true"),
            mutant("mutants two", "b", "a"),
            part("bad", "false"),
        ];
        let ran = run(&cache, &project, &parts, false, folder.path()).unwrap();
        let ran: Vec<_> = ran.iter().map(|ran| (&*ran.name, ran.passed())).collect();
        let expected =
            [("mutants one", true), ("good", true), ("mutants two", true), ("bad", false)];
        assert_eq!(ran, expected);
    }

    #[test]
    fn what_has_passed_is_not_run_again_and_what_failed_is() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, project) = (Cache::at(folder.path()).unwrap(), Project::open().unwrap());
        let mark = folder.path().join("mark");
        let script = format!("echo x >> {0}; test $(wc -l < {0}) -ge 2", mark.display());
        let parts = [part("good", "true"), part("second time", &script), part("slow", "sleep 9")];
        let verdicts = || -> Vec<Verdict> {
            let ran = run(&cache, &project, &parts, false, folder.path()).unwrap();
            ran.into_iter().map(|ran| ran.verdict).collect()
        };
        let first = verdicts();
        assert!(matches!(
            &first[..],
            [Verdict::Passed { earlier: false }, Verdict::Failed(_), Verdict::Failed(why)]
                if why.contains("not done after 1.0 s")
        ));
        assert!(matches!(
            &verdicts()[..2],
            [Verdict::Passed { earlier: true }, Verdict::Passed { earlier: false }]
        ));
    }
}
