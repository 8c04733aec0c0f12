// SPDX-License-Identifier: MIT OR Apache-2.0

//! A record of work that has succeeded and need not be done again.

use anyhow::Result;

use crate::cache::Cache;

/// Keys that are remembered.
const REMEMBERED: usize = 500;

/// The keys of work that has succeeded, the newest last.
pub(crate) struct Passed<'a> {
    cache: &'a Cache,
    record: &'static str,
    keys: Vec<String>,
}

impl<'a> Passed<'a> {
    /// Reads the record.
    pub(crate) fn open(cache: &'a Cache, record: &'static str) -> Self {
        Self { cache, record, keys: cache.read_record(record).unwrap_or_default() }
    }

    /// Whether the work with this key has succeeded.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|there| there == key)
    }

    /// Remembers that the work with this key has succeeded.
    pub(crate) fn add(&mut self, key: String) -> Result<()> {
        self.keys.retain(|there| *there != key);
        self.keys.push(key);
        self.keys.drain(..self.keys.len().saturating_sub(REMEMBERED));
        self.cache.write_record(self.record, &self.keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let mut passed = Passed::open(&cache, "passed.json");
        for number in (0..REMEMBERED).chain([1, REMEMBERED]) {
            passed.add(number.to_string()).unwrap();
        }
        let passed = Passed::open(&cache, "passed.json");
        assert_eq!(passed.keys.len(), REMEMBERED);
        assert!(!passed.has("0") && passed.has("1") && passed.has(&REMEMBERED.to_string()));
    }
}
