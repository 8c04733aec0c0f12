// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a benchmark has measured.

use std::collections::BTreeMap;

use crate::kernel::{Hops, Implementation};

/// The cost of one operation in one implementation.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Figure {
    /// Name of the operation.
    pub(crate) name: String,
    /// How often it was done.
    pub(crate) count: usize,
    /// Instructions for all of it.
    pub(crate) instructions: u64,
}

/// The memory that something takes.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Weight {
    /// Its name.
    pub(crate) name: String,
    /// How many of it there are.
    pub(crate) count: usize,
    /// Bytes of all.
    pub(crate) bytes: u64,
}

impl Weight {
    /// Bytes of each.
    pub(super) fn each(&self) -> u64 {
        self.bytes / u64::try_from(self.count.max(1)).unwrap_or(u64::MAX)
    }
}

/// The figures of one list of hops.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct Column {
    /// The hops.
    pub(crate) hops: String,
    /// Whether all kernels have the Rust implementation.
    #[serde(skip)]
    pub(crate) is_ours: bool,
    /// In the order of the loads.
    pub(crate) figures: Vec<Figure>,
    /// Memory, in bytes.
    pub(crate) memory: Vec<Weight>,
    /// Of figures that have their load in their name: the name with the next smaller one.
    #[serde(skip)]
    pub(crate) smaller: BTreeMap<String, String>,
}

impl Column {
    /// Without figures.
    pub(super) fn new(hops: &Hops) -> Self {
        let is_ours = hops.is_all(Implementation::Rust);
        Self { hops: hops.to_string(), is_ours, ..Self::default() }
    }

    /// The one with the most figures: a list of hops that takes too long for some operations does without them.
    pub(super) fn most(columns: &[Self]) -> Option<&Self> {
        columns.iter().max_by_key(|column| column.figures.len())
    }

    /// The cost of the first operation with this name.
    pub(super) fn instructions(&self, name: &str) -> Option<u64> {
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.instructions)
    }

    /// The same operation, as often.
    pub(super) fn same(&self, figure: &Figure) -> Option<&Figure> {
        self.figures.iter().find(|it| it.name == figure.name && it.count == figure.count)
    }

    /// The same operation with the next smaller count or load.
    pub(super) fn next_smaller(&self, figure: &Figure) -> Option<&Figure> {
        if let Some(smaller) = self.smaller.get(&figure.name) {
            return self.figures.iter().find(|it| it.name == *smaller);
        }
        let smaller =
            self.figures.iter().filter(|it| it.name == figure.name && it.count < figure.count);
        smaller.max_by_key(|it| it.count)
    }
}
