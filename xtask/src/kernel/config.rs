// SPDX-License-Identifier: MIT OR Apache-2.0

//! Configuration fragments: joined in order, and checked against what kconfig made of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::failure::{Failure, NextStep};
use crate::kernel::{KernelKind, Recipe};
use crate::project::Project;

/// Symbols with the values that fragments ask for; the last one wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fragments(BTreeMap<String, String>);

impl Fragments {
    /// The fragments of a recipe: those of its flavour, of its implementation, of its profile, then
    /// the user's.
    pub(crate) fn of(recipe: &Recipe, project: &Project) -> Result<Self> {
        let KernelKind { implementation, profile, flavour } = recipe.kind;
        let names = project.settings.flavours.get(&flavour);
        let names = names.with_context(|| format!("kernel.toml has no flavour `{flavour}`"))?;
        let names = names.iter().cloned();
        let own = implementation.fragments().iter().map(ToString::to_string);
        let own = names.chain(own).chain([profile.to_string()]);
        let own = own.map(|name| project.folder.join(format!("xtask/configs/{name}.config")));
        let mut all = Self::default();
        for path in own.chain(recipe.fragments.iter().cloned()) {
            let path = &path;
            let text = std::fs::read_to_string(path).or_advise(|| {
                let what = format!("cannot read the configuration fragment {}", path.display());
                (what, "give a file with lines such as CONFIG_KVM=y")
            })?;
            all.add(&text).or_advise(|| {
                let what = format!("cannot understand the fragment {}", path.display());
                (what, "write lines such as CONFIG_KVM=y or # CONFIG_KVM is not set")
            })?;
        }
        Ok(all)
    }

    /// Adds the lines of one fragment.
    fn add(&mut self, text: &str) -> Result<()> {
        for (number, line) in text.lines().enumerate() {
            match parse_line(line) {
                Line::Symbol(name, value) => drop(self.0.insert(name.into(), value.into())),
                Line::Nothing => {}
                Line::Wrong => bail!("line {}: `{line}` is not CONFIG_NAME=VALUE", number + 1),
            }
        }
        Ok(())
    }

    /// All of them as one fragment, for `KCONFIG_ALLCONFIG`.
    pub(crate) fn text(&self) -> String {
        let lines = self.0.iter().map(|(name, value)| format!("{name}={value}"));
        lines.chain([String::new()]).collect::<Vec<_>>().join("\n")
    }

    /// Refuses a `.config` in which kconfig dropped or changed what was asked for.
    pub(crate) fn check(&self, config: &str) -> Result<()> {
        let mut made = Self::default();
        made.add(config).context("understand .config")?;
        let wrong: Vec<String> = self
            .0
            .iter()
            .filter_map(|(name, value)| {
                let there = made.0.get(name).map_or("n", String::as_str);
                (there != value).then(|| format!("{name} is {there}, not {value}"))
            })
            .collect();
        if wrong.is_empty() {
            return Ok(());
        }
        let what = format!("kconfig does not take the configuration: {}", wrong.join(", "));
        let next = "a symbol may be gone, or depend on another one: look for it in the Kconfig \
                    files of the tree that `cargo xtask kernel tree` prints";
        Err(Failure::new(what, next).into())
    }
}

enum Line<'a> {
    Symbol(&'a str, &'a str),
    Nothing,
    Wrong,
}

fn parse_line(line: &str) -> Line<'_> {
    let line = line.trim();
    let unset = line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set"));
    if let Some(name) = unset.filter(|name| is_symbol(name)) {
        return Line::Symbol(name, "n");
    }
    if line.is_empty() || line.starts_with('#') {
        return Line::Nothing;
    }
    match line.split_once('=') {
        Some((name, value)) if is_symbol(name) && !value.is_empty() => Line::Symbol(name, value),
        _ => Line::Wrong,
    }
}

fn is_symbol(name: &str) -> bool {
    let rest = name.strip_prefix("CONFIG_").unwrap_or_default();
    !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fragments(texts: &[&str]) -> Fragments {
        let mut all = Fragments::default();
        for text in texts {
            all.add(text).unwrap();
        }
        all
    }

    #[test]
    fn the_last_fragment_wins() {
        let all = fragments(&["# x\nCONFIG_A=y\nCONFIG_B=\"s\"\n", "# CONFIG_A is not set\n"]);
        assert_eq!(all.text(), "CONFIG_A=n\nCONFIG_B=\"s\"\n");
    }

    #[test]
    fn a_dropped_symbol_is_named() {
        let all = fragments(&["CONFIG_A=y\nCONFIG_B=n\nCONFIG_C=5\n"]);
        all.check("CONFIG_A=y\nCONFIG_C=5\n").unwrap();
        let error = all.check("CONFIG_C=6\n").unwrap_err().to_string();
        assert!(error.contains("CONFIG_A is n, not y, CONFIG_C is 6, not 5"), "{error}");
    }

    #[test]
    fn a_wrong_line_is_named() {
        let error = Fragments::default().add("CONFIG_A=y\nA=y\n").unwrap_err().to_string();
        assert!(error.contains("line 2"));
    }

    proptest! {
        #[test]
        fn no_fragment_makes_the_parser_panic(text in "(?s).*") {
            let _ = Fragments::default().add(&text);
        }

        #[test]
        fn the_joined_text_reads_back(lines in "(CONFIG_[A-Z]{1,3}=[ym]\n){0,20}") {
            let all = fragments(&[&lines]);
            prop_assert_eq!(fragments(&[&all.text()]), all);
        }
    }
}
