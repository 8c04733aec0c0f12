// SPDX-License-Identifier: MIT OR Apache-2.0

//! The sessions of one owner.

use std::collections::BTreeMap;

use super::{Direction, Number};
use crate::label::Label;

/// The numbers of the sessions of an owner. No two have the same label and direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OfOwner {
    numbers: BTreeMap<(Label, Direction), Number>,
    /// Those for the next kernel. They are counted for each session that is opened.
    outgoing: usize,
}

impl OfOwner {
    pub(super) fn insert(&mut self, key: (Label, Direction), number: Number) {
        let is_outgoing = key.1 == Direction::Outgoing;
        if self.numbers.insert(key, number).is_none() {
            self.outgoing += usize::from(is_outgoing);
        }
    }

    pub(super) fn remove(&mut self, key: &(Label, Direction)) {
        if self.numbers.remove(key).is_some() {
            self.outgoing -= usize::from(key.1 == Direction::Outgoing);
        }
    }

    pub(super) fn get(&self, key: &(Label, Direction)) -> Option<Number> {
        self.numbers.get(key).copied()
    }

    /// By label.
    pub(super) fn numbers(&self) -> impl Iterator<Item = Number> {
        self.numbers.values().copied()
    }

    pub(super) fn outgoing(&self) -> usize {
        self.outgoing
    }

    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}
