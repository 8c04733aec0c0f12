// SPDX-License-Identifier: MIT OR Apache-2.0

//! The registry: all that luod must know after a crash, a restart, an upgrade or a kexec.
//!
//! It is JSON in a sealed memfd in the fd store, beside the sessions that it describes:
//!
//! ```json
//! {
//!   "version": 1,
//!   "bootId": "3f6b2a1e-...",
//!   "generation": 7,
//!   "lastNumber": 12,
//!   "sessions": [
//!     {
//!       "number": 12,
//!       "owner": "unit:vmm@17.service",
//!       "label": "memory",
//!       "kernelName": "unit:vmm@17.service/memory",
//!       "state": "claimed",
//!       "claim": { "pid": 4711, "pidfdInode": 123456, "sinceBootMSec": 98765 },
//!       "madeFor": 7
//!     }
//!   ]
//! }
//! ```
//!
//! The state says the direction too: `open` and `ready` are outgoing, `waiting` and `claimed` incoming.
//!
//! # Versions
//!
//! Older and equal versions are read, and fields of [`Registry`] and optional ones of [`Entry`] may be
//! missing. A newer version is refused, with [`ReadError::Newer`], and nothing is lost by that: the fds
//! stay in the store, and the registry with them. Fields that are not known are ignored, and not kept when
//! the registry is written again: what is not understood cannot be kept true. So a field without which a
//! reader would be wrong needs a new version.
//!
//! # Bounds
//!
//! A registry has at most [`MAX_SIZE`] bytes and [`MAX_SESSIONS`] sessions. [`Registry::insert`] refuses a
//! session for which it would be too large in any state, so a change of state always fits.

use std::collections::BTreeMap;

use crate::label::Label;
use crate::owner::Owner;
use crate::process::Process;
use crate::update::Generation;

mod compare;
mod entry;
mod error;
mod format;
mod newest;
mod of_owner;
mod store_name;

pub use compare::{Contents, Match, Stored, StoredSession, Turn, compare};
pub use entry::{Claim, Direction, Entry, State};
pub use error::{EntryError, ReadError};
pub use newest::{Newest, newest};
pub use store_name::{Number, StoreName, StoreNameError};

use of_owner::OfOwner;

/// The most bytes of a registry.
pub const MAX_SIZE: usize = 2 << 20;

/// The most sessions of a registry.
pub const MAX_SESSIONS: usize = 4096;

/// The most bytes of the number of a boot.
const MAX_BOOT_ID: usize = 36;

/// The version that is written.
pub const VERSION: u64 = 1;

/// The registry. See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// The kernel's number of the boot in which it was written.
    boot_id: Option<Box<str>>,
    generation: Generation,
    last_number: Number,
    entries: BTreeMap<Number, Entry>,
    owners: BTreeMap<Owner, OfOwner>,
    /// The bytes of all entries, each in its longest form.
    size: usize,
}

impl Registry {
    /// Whether this kernel is the one in which the registry was written: processes of another one mean nothing.
    pub fn is_of_boot(&self, boot_id: &str) -> bool {
        self.boot_id.as_deref() == Some(boot_id)
    }

    /// Notes the boot, by the text of `/proc/sys/kernel/random/boot_id`. What is longer than that is cut off.
    pub fn set_boot_id(&mut self, boot_id: &str) {
        self.boot_id =
            Some(boot_id.chars().filter(char::is_ascii_graphic).take(MAX_BOOT_ID).collect());
    }

    /// The generation that was used last.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Notes that a generation is used. An earlier one has no effect.
    pub fn use_generation(&mut self, generation: Generation) {
        self.generation = self.generation.max(generation);
    }

    /// A number for a session, which was never used before and is never used again; `None` if the last one
    /// was used, which only damage can bring about.
    ///
    /// The fd store may have sessions of which the registry knows nothing: [`Registry::skip`] their numbers
    /// first.
    pub fn take_number(&mut self) -> Option<Number> {
        self.last_number = Number(self.last_number.0.checked_add(1)?);
        Some(self.last_number)
    }

    /// Notes that numbers up to this one are in use.
    pub fn skip(&mut self, number: Number) {
        self.last_number = self.last_number.max(number);
    }

    /// Adds a session.
    ///
    /// # Errors
    ///
    /// [`EntryError`], and nothing has changed.
    pub fn insert(&mut self, number: Number, entry: Entry) -> Result<(), EntryError> {
        if number == Number(0) {
            return Err(EntryError::NoNumber);
        }
        if self.entries.contains_key(&number) {
            return Err(EntryError::SameNumber(number));
        }
        if self.find(&entry.owner, &entry.label, entry.state.direction()).is_some() {
            return Err(EntryError::SameLabel);
        }
        let size = self.size.saturating_add(format::longest(number, &entry));
        if self.entries.len() >= MAX_SESSIONS || size > MAX_SIZE - format::FRAME {
            return Err(EntryError::Full { sessions: self.entries.len() });
        }
        self.size = size;
        self.index(number, &entry);
        self.entries.insert(number, entry);
        self.skip(number);
        Ok(())
    }

    /// Removes a session.
    pub fn remove(&mut self, number: Number) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.unindex(&entry);
        self.size = self.size.saturating_sub(format::longest(number, &entry));
        Some(entry)
    }

    /// Changes the state of a session.
    ///
    /// # Errors
    ///
    /// [`EntryError::NoSuchSession`], or [`EntryError::SameLabel`] if the owner has another session of this
    /// label that goes the same way. Nothing has changed then.
    pub fn set_state(&mut self, number: Number, state: State) -> Result<(), EntryError> {
        let entry = self.entries.get(&number).ok_or(EntryError::NoSuchSession(number))?;
        let changed = Entry { state, ..entry.clone() };
        let direction = state.direction();
        if direction != entry.state.direction() {
            if self.find(&entry.owner, &entry.label, direction).is_some() {
                return Err(EntryError::SameLabel);
            }
            let before = entry.clone();
            self.unindex(&before);
            self.index(number, &changed);
        }
        self.entries.insert(number, changed);
        Ok(())
    }

    /// Notes that a process has opened a session.
    pub fn set_opened_by(&mut self, number: Number, process: Option<Process>) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.opened_by = process;
        }
    }

    /// Notes that a session stays when its clients end.
    pub fn keep(&mut self, number: Number) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.is_kept = true;
        }
    }

    fn index(&mut self, number: Number, entry: &Entry) {
        let of_owner = self.owners.entry(entry.owner.clone()).or_default();
        of_owner.insert(entry.key(), number);
    }

    fn unindex(&mut self, entry: &Entry) {
        if let Some(of_owner) = self.owners.get_mut(&entry.owner) {
            of_owner.remove(&entry.key());
            if of_owner.is_empty() {
                self.owners.remove(&entry.owner);
            }
        }
    }

    /// The session of an owner by its label and direction.
    pub fn find(&self, owner: &Owner, label: &Label, direction: Direction) -> Option<Number> {
        self.owners.get(owner)?.get(&(label.clone(), direction))
    }

    /// The sessions of an owner, by label.
    pub fn of_owner(&self, owner: &Owner) -> impl Iterator<Item = (Number, &Entry)> {
        let numbers = self.owners.get(owner).into_iter().flat_map(OfOwner::numbers);
        numbers.filter_map(|number| Some((number, self.entries.get(&number)?)))
    }

    /// The number of sessions of an owner for the next kernel.
    pub fn outgoing(&self, owner: &Owner) -> usize {
        self.owners.get(owner).map_or(0, OfOwner::outgoing)
    }

    /// All sessions, by owner and label.
    pub fn by_owner(&self) -> impl Iterator<Item = (Number, &Entry)> {
        let numbers = self.owners.values().flat_map(OfOwner::numbers);
        numbers.filter_map(|number| Some((number, self.entries.get(&number)?)))
    }

    /// The session of this number.
    pub fn get(&self, number: Number) -> Option<&Entry> {
        self.entries.get(&number)
    }

    /// All sessions, by number.
    pub fn iter(&self) -> impl Iterator<Item = (Number, &Entry)> {
        self.entries.iter().map(|(number, entry)| (*number, entry))
    }

    /// The bytes to be stored: at most [`MAX_SIZE`].
    pub fn write(&self) -> Vec<u8> {
        format::write(self)
    }

    /// The registry in these bytes, which nobody vouches for.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        format::read(bytes)
    }
}

#[cfg(test)]
mod tests;
