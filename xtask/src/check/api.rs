// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether the public API of the libraries is the one that was agreed on, and may have its version.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::difference::difference;
use super::{Check, Place, Report};
use crate::api::compatibility::{Snapshot, judge};
use crate::api::{self, Api, tag};

/// The API that is there, against the file that says it, and against the newest release.
pub(super) struct PublicApi;

impl Check for PublicApi {
    fn name(&self) -> &'static str {
        "api"
    }

    fn run(&self, place: &Place<'_>) -> Result<Report> {
        let apis = api::make(place.project)?;
        let changed: Vec<_> =
            apis.iter().flat_map(|api| undocumented(place.project, api)).collect();
        let (forbidden, notices) = forbidden(place.project, &apis)?;

        let steps = [
            (&changed, "write it with `cargo xtask api`, and read what changed: programs see it"),
            (
                &forbidden,
                "raise the version in Cargo.toml, or take back what changed; a line that means \
                 what it meant can be written as it was",
            ),
        ];
        let steps = steps.iter().filter(|(findings, _)| !findings.is_empty());
        let next: Vec<_> = steps.map(|(_, step)| *step).collect();
        let findings = [changed.as_slice(), &forbidden].concat();
        let report = Report::of_findings(self.name(), &findings, &next.join("; then "));
        Ok(Report { notices, ..report })
    }
}

/// How the file of a library differs from its API.
fn undocumented(project: &Path, api: &Api) -> Vec<String> {
    let file = api.library.file();
    let there = fs::read_to_string(project.join(&file)).unwrap_or_default();
    difference(&format!("{file} is not the public API:"), &there, &api.text)
}

/// The changes that break programs for the newest release, and the facts that cannot be known.
fn forbidden(project: &Path, apis: &[Api]) -> Result<(Vec<String>, Vec<String>)> {
    let (mut findings, mut notices) = (Vec::new(), Vec::new());
    let Some(release) = tag::newest(project)? else {
        notices
            .push("nothing is released (no tag `v*`), so there is nothing to compare with".into());
        return Ok((findings, notices));
    };
    for Api { library, version, text } in apis {
        match tag::show(project, &release, &library.file())? {
            Ok(released) => {
                let released = Snapshot { version: &release.version, text: &released };
                findings.extend(judge(library.name, &released, &Snapshot { version, text }));
            }
            Err(why) => {
                let (name, tag) = (library.name, &release.tag);
                notices.push(format!("{name} is not compared with {tag}: {why}"));
            }
        }
    }
    Ok((findings, notices))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::LIBRARIES;
    use crate::api::tag::git;
    use semver::Version;

    #[test]
    fn the_file_of_the_newest_release_is_what_counts() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path();
        let api = |text: &str| {
            let [_, library] = &LIBRARIES;
            [Api { library, version: Version::new(0, 1, 0), text: text.to_owned() }]
        };
        let file = project.join(LIBRARIES[1].file());
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "pub a::b\n").unwrap();
        git(project, &["init", "--quiet"]);
        git(project, &["commit", "--quiet", "--allow-empty", "--message", "one"]);
        let (findings, notices) = forbidden(project, &api("pub a::b\n")).unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        assert!(notices[0].starts_with("nothing is released"), "{notices:?}");

        git(project, &["tag", "v0.0.9"]);
        let (findings, notices) = forbidden(project, &api("pub a::b\n")).unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        assert!(notices[0].starts_with("liblu is not compared with v0.0.9: "), "{notices:?}");

        git(project, &["add", "."]);
        git(project, &["commit", "--quiet", "--message", "two"]);
        git(project, &["tag", "v0.1.0"]);
        // The checkout is not the release.
        fs::write(&file, "pub a::c\n").unwrap();
        for (text, good) in [("pub a::b\n", true), ("pub a::c\n", false)] {
            let (findings, notices) = forbidden(project, &api(text)).unwrap();
            assert_eq!(findings.is_empty(), good, "{text}: {findings:?}");
            assert!(notices.is_empty(), "{notices:?}");
        }
    }

    #[test]
    fn a_file_that_says_something_else_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path();
        let [_, library] = &LIBRARIES;
        let text = "pub a::b\n".to_owned();
        let api = Api { library, version: Version::new(0, 1, 0), text };
        assert_eq!(undocumented(project, &api).len(), 2);
        fs::create_dir(project.join(library.folder)).unwrap();
        fs::write(project.join(library.file()), &api.text).unwrap();
        assert!(undocumented(project, &api).is_empty());
    }
}
