// SPDX-License-Identifier: MIT OR Apache-2.0

//! `scripts/checkpatch.pl --strict`: no errors, and no warnings but those that are listed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cache::{Cache, Key};
use crate::failure::{Failure, NextStep};
use crate::process::{Job, bound};
use crate::progress::Progress;
use crate::series::place::Place;

/// The list, in the project.
const LIST: &str = "patches/checkpatch.toml";

/// The program, in the tree.
const PROGRAM: &str = "scripts/checkpatch.pl";

/// What it said about the mails of the last run.
const RECORD: &str = "series-checkpatch.json";

/// What checkpatch finds at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    /// Which patch, by its name in `patches/`.
    patch: String,
    is_error: bool,
    /// What checkpatch calls it: `LONG_LINE`.
    kind: String,
    text: String,
    /// File of the tree; none for the words of the mail.
    path: Option<PathBuf>,
    line: u32,
}

impl Finding {
    fn describe(&self) -> String {
        let place = match &self.path {
            Some(path) => format!("{}:{}", path.display(), self.line),
            None => "the mail itself".into(),
        };
        format!("{}: {place}: {}: {}", self.patch, self.kind, self.text)
    }
}

/// A warning that stays, with its reason.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kind: String,
    /// Where in the tree.
    path: Option<Place>,
    /// Which patch, for a warning that is about none of its files; its name is in no folder.
    patch: Option<Place>,
    reason: String,
}

impl Entry {
    fn has(&self, finding: &Finding) -> bool {
        let has = |place: &Place, path: &Path| place.has(path).is_some();
        let in_mail = self.patch.as_ref().is_none_or(|patch| has(patch, finding.patch.as_ref()));
        let in_file = match (&self.path, &finding.path) {
            (Some(place), Some(path)) => has(place, path),
            (None, None) => true,
            _ => false,
        };
        self.kind == finding.kind && in_mail && in_file
    }

    fn describe(&self) -> String {
        match self.path.as_ref().or(self.patch.as_ref()) {
            Some(place) => format!("{} of {place}", self.kind),
            None => format!("{} of all mails", self.kind),
        }
    }
}

/// The warnings that stay.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Allowed {
    #[serde(default)]
    allowed: Vec<Entry>,
}

impl Allowed {
    /// Reads the list of a checkout.
    pub(crate) fn of(project: &Path) -> Result<Self> {
        let path = project.join(LIST);
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).or_advise(|| {
            (format!("cannot understand {LIST}"), "give each entry kind, path or patch, and reason")
        })
    }

    fn parse(text: &str) -> Result<Self> {
        let list: Self = toml::from_str(text)?;
        for entry in &list.allowed {
            anyhow::ensure!(!entry.reason.trim().is_empty(), "{}: no reason", entry.describe());
        }
        Ok(list)
    }

    /// Tells findings that must not be, and entries that are for none.
    fn judge(&self, findings: &[Finding]) -> Vec<String> {
        let mut used = BTreeSet::new();
        let mut faults = Vec::new();
        for finding in findings {
            let entry = self.allowed.iter().position(|entry| entry.has(finding));
            match entry.filter(|_| !finding.is_error) {
                Some(entry) => drop(used.insert(entry)),
                None => faults.push(finding.describe()),
            }
        }
        let stale = (0..).zip(&self.allowed).filter(|(at, _)| !used.contains(at));
        faults.extend(stale.map(|(_, entry)| {
            format!("{LIST}: {}: there is no such warning any more", entry.describe())
        }));
        faults
    }
}

/// Runs the tree's checkpatch over mails, each with the name of its patch.
pub(crate) fn check(
    cache: &Cache,
    tree: &Path,
    mails: &[(&str, &Path)],
    allowed: &Allowed,
) -> Result<usize> {
    let mut step = Progress::begin(cache, "run checkpatch.pl over the series");
    let log = cache.path("logs", "checkpatch.log");
    let program = std::fs::read(tree.join(PROGRAM)).with_context(|| format!("read {PROGRAM}"))?;
    let known: BTreeMap<String, String> = cache.read_record(RECORD).unwrap_or_default();
    let (mut said, mut findings) = (BTreeMap::new(), Vec::new());
    for (name, mail) in mails {
        step.now(name);
        let text = std::fs::read_to_string(mail).context("read a mail")?;
        let key = Key::of("checkpatch", 1).with(&program).with(undated(&text)).finish();
        let output = match known.get(&key) {
            Some(output) => output.clone(),
            None => run(tree, mail, &log)?,
        };
        let found = parse(name, &output).or_advise(|| {
            let what = format!("checkpatch.pl does not come to an end with {name}");
            (what, format!("see that perl is installed, and read {}", log.display()))
        })?;
        findings.extend(found);
        said.insert(key, output);
    }
    cache.write_record(RECORD, &said)?;
    step.done();
    let faults = allowed.judge(&findings);
    if faults.is_empty() {
        return Ok(findings.len());
    }
    let what = format!("checkpatch.pl --strict wants more:\n{}", faults.join("\n"));
    let next = format!(
        "correct the code; a warning that must stay goes to {LIST} with its reason, and one that \
         is gone leaves it"
    );
    Err(Failure::new(what, next).into())
}

/// What checkpatch says about a mail.
fn run(tree: &Path, mail: &Path, log: &Path) -> Result<String> {
    // It ends with 1 if it finds anything. The perl is the host's: git, which the series is made
    // with, brings it along, and the toolchain root has only a part of it.
    let script = "perl \"$0\" --strict --show-types --color=never \"$1\" || true";
    let mut command = bound("sh");
    command.args(["-c", script, PROGRAM]).arg(mail).current_dir(tree);
    Job::new(command, log).output()
}

/// A mail without what changes with every commit of the project.
fn undated(mail: &str) -> String {
    let is_dated = |line: &&str| ["From ", "Date: "].iter().any(|name| line.starts_with(name));
    mail.lines().filter(|line| !is_dated(line)).flat_map(|line| [line, "\n"]).collect()
}

/// Reads what checkpatch says about one mail.
fn parse(patch: &str, output: &str) -> Result<Vec<Finding>> {
    let mut findings: Vec<Finding> = Vec::new();
    // Whether the place of the last one may follow.
    let mut is_open = false;
    let mut is_whole = false;
    for line in output.lines() {
        if let Some((is_error, kind, text)) = parse_finding(line) {
            let (patch, kind, text) = (patch.to_owned(), kind.to_owned(), text.to_owned());
            findings.push(Finding { patch, is_error, kind, text, path: None, line: 0 });
            is_open = true;
        } else if line.is_empty() {
            is_open = false;
        } else if let Some((path, number)) = parse_place(line).filter(|_| is_open)
            && let Some(finding) = findings.last_mut()
        {
            (finding.path, finding.line) = (Some(path), number);
            is_open = false;
        }
        is_whole |= line.starts_with("total: ");
    }
    anyhow::ensure!(is_whole, "it gives no total");
    Ok(findings)
}

/// Reads `WARNING:LONG_LINE: line length of 101 exceeds 100 columns`.
fn parse_finding(line: &str) -> Option<(bool, &str, &str)> {
    let (level, rest) = line.split_once(':')?;
    let (kind, text) = rest.split_once(": ")?;
    let is_kind = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let is_error = match level {
        "ERROR" => true,
        "WARNING" | "CHECK" => false,
        _ => return None,
    };
    (!kind.is_empty() && kind.bytes().all(is_kind)).then_some((is_error, kind, text))
}

/// Reads `#123: FILE: kernel/liveupdate/luo_trace.h:40:`.
fn parse_place(line: &str) -> Option<(PathBuf, u32)> {
    let (_, place) = line.strip_prefix('#')?.split_once(": FILE: ")?;
    let (path, number) = place.strip_suffix(':')?.rsplit_once(':')?;
    Some((path.into(), number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OUTPUT: &str = "\
WARNING:FILE_PATH_CHANGES: added, moved or deleted file(s), does MAINTAINERS need updating?
#22:
new file mode 100644

CHECK:MACRO_ARG_REUSE: Macro argument reuse 'x' - possible side-effects?
#133: FILE: kernel/liveupdate/luo_trace.h:40:
+#define TWICE(x) ((x) + (x))

ERROR:CODE_INDENT: code indent should use tabs where possible
#140: FILE: rust/helpers/kho.c:7:
+        return 1;$

total: 1 errors, 1 warnings, 1 checks, 20 lines checked
";

    fn list(text: &str) -> Allowed {
        Allowed::parse(text).unwrap()
    }

    #[test]
    fn findings_have_a_kind_and_a_place() {
        let found = parse("0101-a", OUTPUT).unwrap();
        let shown: Vec<_> = found.iter().map(Finding::describe).collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        0101-a: the mail itself: FILE_PATH_CHANGES: added, moved or deleted file(s), does MAINTAINERS need updating?
        0101-a: kernel/liveupdate/luo_trace.h:40: MACRO_ARG_REUSE: Macro argument reuse 'x' - possible side-effects?
        0101-a: rust/helpers/kho.c:7: CODE_INDENT: code indent should use tabs where possible
        ");
        assert_eq!(found.iter().filter(|finding| finding.is_error).count(), 1);
        assert!(parse("0101-a", "Can't locate POSIX.pm\n").is_err());
    }

    #[test]
    fn only_listed_warnings_may_stay_and_no_errors() {
        let found = parse("0101-a", OUTPUT).unwrap();
        let both = "[[allowed]]\nkind = \"FILE_PATH_CHANGES\"\npatch = \"01*\"\nreason = \"x\"\n\
                    [[allowed]]\nkind = \"MACRO_ARG_REUSE\"\npath = \"kernel/liveupdate/\"\n\
                    reason = \"x\"\n";
        let (warnings, error) = found.split_at(2);
        assert!(list(both).judge(warnings).is_empty());
        assert_eq!(list("").judge(warnings).len(), 2);
        let all = "[[allowed]]\nkind = \"CODE_INDENT\"\npath = \"rust/\"\nreason = \"x\"\n";
        assert_eq!(list(all).judge(error).len(), 2);
        assert!(list(both).judge(&[]).iter().all(|fault| fault.contains("no such warning")));
        assert!(Allowed::parse(&both.replace("\"x\"", "\"\"")).is_err());
    }

    #[test]
    fn only_the_content_of_a_mail_makes_it_another() {
        let mail = |id: &str, date: &str, content: &str| {
            undated(&format!("From {id} Mon\nFrom: A <a@b>\nDate: {date}\n\n+{content}\n"))
        };
        assert_eq!(mail("1", "Mon", "x"), mail("2", "Tue", "x"));
        assert_ne!(mail("1", "Mon", "x"), mail("1", "Mon", "y"));
    }

    #[test]
    fn the_list_of_this_checkout_is_understood() {
        Allowed::of(&crate::project::Project::open().unwrap().folder).unwrap();
    }

    proptest! {
        #[test]
        fn no_output_makes_the_parser_panic(text in "(?s)(.|WARNING:A: |#1: FILE: a:1:|\n)*") {
            let _ = parse("a", &text);
        }
    }
}
