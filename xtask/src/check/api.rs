// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether the public API of the libraries is the one that was agreed on.
//!
//! `cargo xtask campaign semver` says whether it may have its version.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::difference::difference;
use super::{Check, Place, Report};
use crate::api::{self, Api};

/// The API that is there, against the file that says it.
pub(super) struct PublicApi;

impl Check for PublicApi {
    fn name(&self) -> &'static str {
        "api"
    }

    fn run(&self, place: &Place<'_>) -> Result<Report> {
        let apis = api::make(place.project)?;
        let changed: Vec<_> =
            apis.iter().flat_map(|api| undocumented(place.project, api)).collect();
        let next = "write it with `cargo xtask api`, and read what changed: programs see it";
        Ok(Report::of_findings(self.name(), &changed, next))
    }
}

/// How the file of a library differs from its API.
fn undocumented(project: &Path, api: &Api) -> Vec<String> {
    let file = api.library.file();
    let there = fs::read_to_string(project.join(&file)).unwrap_or_default();
    difference(&format!("{file} is not the public API:"), &there, &api.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::LIBRARIES;

    #[test]
    fn a_file_that_says_something_else_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path();
        let [_, library] = &LIBRARIES;
        let api = Api { library, text: "pub a::b\n".to_owned() };
        assert_eq!(undocumented(project, &api).len(), 2);
        fs::create_dir(project.join(library.folder)).unwrap();
        fs::write(project.join(library.file()), &api.text).unwrap();
        assert!(undocumented(project, &api).is_empty());
    }
}
