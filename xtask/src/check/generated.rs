// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether files that are made from code are the ones that it makes now.

use std::fs;

use anyhow::Result;

use super::{Check, Folders, Report};
use crate::generated::Generated;

impl Check for Generated {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&self, folders: &Folders<'_>) -> Result<Report> {
        let mut findings = Vec::new();
        for (path, made) in (self.make)(folders.project)? {
            let there = fs::read_to_string(folders.project.join(&path)).unwrap_or_default();
            findings.extend(difference(
                &format!("{} is out of date:", path.display()),
                &there,
                &made,
            ));
        }
        let Self { name, readers, .. } = self;
        let next =
            format!("write it with `cargo xtask {name}`, and read what changed: {readers} see it");
        Ok(Report::of_findings(name, &findings, &next))
    }
}

/// `heading`, and the lines that only one of two texts has; nothing if they are the same.
fn difference(heading: &str, there: &str, made: &str) -> Vec<String> {
    if there == made {
        return Vec::new();
    }
    let only = |mark: char, text: &str, other: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !other.lines().any(|there| there == *line));
        lines.map(|line| format!("{mark}{line}")).collect()
    };
    let mut findings = vec![heading.to_owned()];
    findings.extend(only('-', there, made));
    findings.extend(only('+', made, there));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_missing_or_old_is_told_by_line() {
        let generated = Generated {
            name: "api",
            readers: "programs",
            make: |_| Ok(vec![("api.txt".into(), "a\nc\n".to_owned())]),
        };
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path();
        let found = || {
            let failure =
                generated.run(&Folders { project, tools: project, target: None }).unwrap().failure;
            failure.map(|failure| failure.output).unwrap_or_default()
        };
        assert_eq!(found(), "api.txt is out of date:\n+a\n+c");
        fs::write(project.join("api.txt"), "a\nb\n").unwrap();
        assert_eq!(found(), "api.txt is out of date:\n-b\n+c");
        fs::write(project.join("api.txt"), "a\nc\n").unwrap();
        assert_eq!(found(), "");
    }
}
