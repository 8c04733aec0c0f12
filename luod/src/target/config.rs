// SPDX-License-Identifier: MIT OR Apache-2.0

//! The configuration of a kernel, which `CONFIG_IKCONFIG` puts into it.

use std::collections::BTreeMap;
use std::io::Read as _;

/// The most bytes of a configuration. Those of distributions have 300 kB.
const MAX: u64 = 8 << 20;

/// The configuration of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config(BTreeMap<Box<str>, Box<str>>);

/// What an option is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting<'a> {
    /// `n`, or not there at all: its dependencies are off, or this kernel has no such option.
    Off,
    /// `y`.
    BuiltIn,
    /// `m`.
    Module,
    /// A number or a text in quotation marks.
    Value(&'a str),
}

impl Config {
    /// A configuration from the text of a `.config`. Lines of any other form are comments.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='));
        Self(lines.map(|(name, value)| (name.into(), value.trim_end().into())).collect())
    }

    /// What the option `name` is set to, by its name without `CONFIG_`.
    pub fn get(&self, name: &str) -> Setting<'_> {
        match self.0.get(name).map(AsRef::as_ref) {
            None | Some("n") => Setting::Off,
            Some("y") => Setting::BuiltIn,
            Some("m") => Setting::Module,
            Some(value) => Setting::Value(value),
        }
    }

    /// The configuration in `bytes`, which follow the mark `IKCFG_ST` in an image: a stream of gzip and
    /// the mark `IKCFG_ED`. Anything else is none.
    pub(super) fn embedded(bytes: &[u8]) -> Option<Self> {
        let mut decoder = flate2::bufread::GzDecoder::new(bytes);
        let mut text = Vec::new();
        (&mut decoder).take(MAX).read_to_end(&mut text).ok()?;
        decoder
            .into_inner()
            .starts_with(b"IKCFG_ED")
            .then(|| Self::parse(&String::from_utf8_lossy(&text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_four_settings() {
        let config = Config::parse(
            "# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=m\nCONFIG_D=\"x=y\"\nCONFIG_E=n\nCONFIG_F\nB=n\n",
        );
        for name in ["A", "E", "F", "G"] {
            assert_eq!(config.get(name), Setting::Off, "{name}");
        }
        assert_eq!(config.get("B"), Setting::BuiltIn);
        assert_eq!(config.get("C"), Setting::Module);
        assert_eq!(config.get("D"), Setting::Value("\"x=y\""));
    }
}
