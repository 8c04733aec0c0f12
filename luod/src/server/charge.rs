// SPDX-License-Identifier: MIT OR Apache-2.0

//! Connections are counted, for each owner and in all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::owner::Owner;

/// The most connections.
const MOST: usize = 8192;

/// The most connections of an owner that may take part in updates. Each client that takes part has one for events,
/// and keeps one for its next call.
const MOST_ADMITTED: usize = 4096;

/// The most connections of any other owner, which gets errors alone.
const MOST_REFUSED: usize = 16;

/// The most connections of all such owners: a user may have many others below.
const MOST_REFUSED_IN_ALL: usize = 256;

/// Counts of connections.
#[derive(Debug, Default)]
pub struct Charges(RefCell<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// Of owners that may not take part.
    refused: usize,
    of_owner: BTreeMap<Owner, usize>,
}

/// A connection that is counted as long as this value is there.
#[derive(Debug)]
pub(super) struct Charge {
    charges: Rc<Charges>,
    owner: Option<Owner>,
    is_refused: bool,
}

impl Charges {
    /// Counts a connection; `None` if there are too many.
    pub(super) fn connection(self: &Rc<Self>) -> Option<Charge> {
        let mut counts = self.0.borrow_mut();
        if counts.all >= MOST {
            return None;
        }
        counts.all += 1;
        Some(Charge { charges: Rc::clone(self), owner: None, is_refused: false })
    }
}

impl Charge {
    /// Charges an owner for the connection. False if it has too many.
    pub(super) fn set_owner(&mut self, owner: &Owner, is_admitted: bool) -> bool {
        let most = if is_admitted { MOST_ADMITTED } else { MOST_REFUSED };
        let mut counts = self.charges.0.borrow_mut();
        if !is_admitted && counts.refused >= MOST_REFUSED_IN_ALL {
            return false;
        }
        let count = counts.of_owner.entry(owner.clone()).or_default();
        if *count >= most {
            return false;
        }
        *count += 1;
        self.owner = Some(owner.clone());
        self.is_refused = !is_admitted;
        counts.refused += usize::from(!is_admitted);
        true
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut counts = self.charges.0.borrow_mut();
        counts.all -= 1;
        counts.refused -= usize::from(self.is_refused);
        if let Some(owner) = &self.owner
            && let Some(count) = counts.of_owner.get_mut(owner)
        {
            *count -= 1;
            if *count == 0 {
                counts.of_owner.remove(owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_have_bounds_and_give_back_what_they_had() {
        let charges = Rc::new(Charges::default());
        let of = |uid, is_admitted| {
            let mut charge = charges.connection()?;
            charge.set_owner(&Owner::User(uid), is_admitted).then_some(charge)
        };
        let refused: Vec<_> = std::iter::from_fn(|| of(1000, false)).collect();
        assert_eq!(refused.len(), MOST_REFUSED);
        let many: Vec<_> = (1001..).map_while(|uid| of(uid, false)).collect();
        assert_eq!(many.len(), MOST_REFUSED_IN_ALL - MOST_REFUSED);
        drop(many);
        let one: Vec<_> = std::iter::from_fn(|| of(1, true)).collect();
        assert_eq!(one.len(), MOST_ADMITTED);
        let other: Vec<_> = std::iter::from_fn(|| of(2, true)).collect();
        assert_eq!(other.len(), MOST - MOST_ADMITTED - MOST_REFUSED);
        assert!(charges.connection().is_none());
        drop((refused, one, other));
        assert!(charges.0.borrow().of_owner.is_empty());
        assert_eq!((charges.0.borrow().all, charges.0.borrow().refused), (0, 0));
    }
}
