// SPDX-License-Identifier: GPL-2.0

//! Adjacent folios.

use crate::memfd::wire::{
    Damage,
    Flags,
    FolioSer, //
};

/// Folios that follow each other, in memory and in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The page frame that it begins with.
    pub frame: u64,
    /// The page of the file that it begins with.
    pub index: u64,
    /// Folios in it.
    pub count: u64,
    /// Pages from the beginning of one to that of the next one. A run of one folio has 1 here,
    /// whatever its size.
    pub stride: u64,
    /// The flags of each.
    pub flags: Flags,
}

impl Run {
    /// The run of one entry; `None` if it is not used.
    fn of(entry: &FolioSer, pages: u64) -> Result<Option<Self>, Damage> {
        let Some(frame) = entry.frame() else {
            return Ok(None);
        };
        let index = entry.index;
        match entry.flags() {
            Some(flags) if index < pages => Ok(Some(Self {
                frame,
                index,
                count: 1,
                stride: 1,
                flags,
            })),
            _ => Err(Damage::Folio(index)),
        }
    }

    /// The stride with which `next`, a run of one folio, continues this one.
    fn stride_to(&self, next: &Self) -> Option<u64> {
        if self.flags != next.flags {
            return None;
        }
        let stride = match self.count {
            1 => next.frame.checked_sub(self.frame)?,
            _ => self.stride,
        };
        let length = self.count.checked_mul(stride)?;
        let continues = stride.is_power_of_two()
            && self.frame.checked_add(length) == Some(next.frame)
            && self.index.checked_add(length) == Some(next.index);
        continues.then_some(stride)
    }
}

/// Makes runs of entries that come one after the other.
#[derive(Debug)]
pub struct Gather {
    /// Pages of the file.
    pages: u64,
    run: Option<Run>,
    /// The entry that continues the run, which has two folios at least.
    expected: Option<FolioSer>,
}

impl Gather {
    /// For a file of so many pages.
    pub const fn new(pages: u64) -> Self {
        Self {
            pages,
            run: None,
            expected: None,
        }
    }

    /// Adds entries, up to the end of a run. Returns it, and the entries that are left.
    ///
    /// # Errors
    ///
    /// [`Damage::Folio`] if an entry is outside of the file, or has flags that are not known. The
    /// entries behind it are left, and nothing is said of them.
    #[inline]
    pub fn add<'e>(
        &mut self,
        mut entries: &'e [FolioSer],
    ) -> (Result<Option<Run>, Damage>, &'e [FolioSer]) {
        loop {
            entries = self.go_on(entries);
            let Some((entry, left)) = entries.split_first() else {
                return (Ok(None), entries);
            };
            entries = left;
            match self.add_other(entry) {
                Ok(None) => {}
                ended => return (ended, entries),
            }
        }
    }

    /// Adds the entries that continue the run. Returns the others.
    #[inline]
    fn go_on<'e>(&mut self, entries: &'e [FolioSer]) -> &'e [FolioSer] {
        let (Some(run), Some(first)) = (&mut self.run, self.expected) else {
            return entries;
        };
        let mut expected = first;
        let mut count = 0_usize;
        for entry in entries.iter().take(first.steps(run.stride, self.pages)) {
            if *entry != expected {
                break;
            }
            count = count.wrapping_add(1);
            expected = expected.next(run.stride);
        }
        let (same, others) = entries.split_at_checked(count).unwrap_or((&[], entries));
        if let Some(last) = same.last() {
            self.expected = last.moved(run.stride);
            run.count = run.count.saturating_add(count as u64);
        }
        others
    }

    /// Adds an entry that is not known to continue the run.
    fn add_other(&mut self, entry: &FolioSer) -> Result<Option<Run>, Damage> {
        let Some(next) = Run::of(entry, self.pages)? else {
            return Ok(None);
        };
        if let Some(run) = &mut self.run {
            if let Some(stride) = run.stride_to(&next) {
                run.stride = stride;
                run.count = run.count.saturating_add(1);
                self.expected = entry.moved(stride);
                return Ok(None);
            }
        }
        self.expected = None;
        Ok(self.run.replace(next))
    }

    /// The last run.
    pub const fn end(self) -> Option<Run> {
        self.run
    }
}

/// Folios of one order to be made of pages of a run, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The page frame that it begins with.
    pub frame: u64,
    /// The page of the file that it begins with.
    pub index: u64,
    /// Pages of all folios.
    pub pages: u64,
    /// A folio has two to the power of this many pages.
    pub order: u32,
}

/// Those of some orders, as bits, that are worth it for single pages: from four pages on, a folio
/// and its first use cost less than its pages one by one.
pub const fn large_orders(some: u64) -> u64 {
    some & !0b11
}

/// The largest folios that adjacent pages can be: aligned in memory and in the file.
#[derive(Clone, Debug)]
pub struct Parts {
    frame: u64,
    index: u64,
    pages: u64,
    orders: u64,
    /// The largest order that any of them can have.
    most: u32,
}

/// The largest order of a set which is not larger than `order`; 0 if there is none.
#[inline]
fn largest(orders: u64, order: u32) -> u32 {
    let fits = u64::MAX.checked_shr(63_u32.saturating_sub(order));
    (orders & fits.unwrap_or(0)).checked_ilog2().unwrap_or(0)
}

impl Parts {
    /// Of so many pages. `orders` has a bit for each order that folios may have; single pages are
    /// always allowed.
    #[inline]
    pub fn new(frame: u64, index: u64, pages: u64, orders: u64) -> Self {
        // Where both are aligned to the same order they are so at the same pages.
        let aligned = (frame ^ index).trailing_zeros();
        Self {
            frame,
            index,
            pages,
            orders,
            most: largest(orders, aligned),
        }
    }

    /// The order of the next folios, and their pages. `longest` is the largest order for which
    /// there are pages.
    fn large(&self, longest: u32) -> Option<(u32, u64)> {
        let aligned = (self.frame | self.index).trailing_zeros().min(self.most);
        let fits = aligned.min(longest);
        let order = largest(self.orders, fits);
        let pages = if order == self.most {
            self.pages.checked_shr(order)?.checked_shl(order)?
        } else if order > 0 {
            1_u64.checked_shl(fits)?
        } else {
            let least = 1_u64.checked_shl((self.orders & !1).trailing_zeros())?;
            let to_next = self.frame.wrapping_neg() & least.wrapping_sub(1);
            to_next.min(self.pages)
        };
        Some((order, pages))
    }
}

impl Iterator for Parts {
    type Item = Part;

    #[inline]
    fn next(&mut self) -> Option<Part> {
        let longest = self.pages.checked_ilog2()?;
        let (order, pages) = if self.most == 0 || largest(self.orders, longest) == 0 {
            (0, self.pages)
        } else {
            self.large(longest)?
        };
        let part = Part {
            frame: self.frame,
            index: self.index,
            pages,
            order,
        };
        self.frame = self.frame.checked_add(pages)?;
        self.index = self.index.checked_add(pages)?;
        self.pages = self.pages.checked_sub(pages)?;
        Some(part)
    }
}

#[cfg(any(test, CONFIG_LIVEUPDATE_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(luo_core_memfd_run))]
mod tests {
    use super::*;

    fn entry(frame: u64, index: u64) -> FolioSer {
        FolioSer::new(frame, Flags::DATA, index)
    }

    fn run(frame: u64, index: u64, count: u64, stride: u64) -> Run {
        let flags = Flags::DATA;
        Run {
            frame,
            index,
            count,
            stride,
            flags,
        }
    }

    #[test]
    fn entries_that_follow_each_other_are_one_run() {
        let mut gather = Gather::new(100);
        for (entry, ended) in [
            (entry(10, 0), None),
            (entry(11, 1), None),
            (entry(12, 2), None),
            // Behind a hole of the file.
            (entry(13, 4), Some(run(10, 0, 3, 1))),
            // Folios of four pages.
            (entry(16, 8), Some(run(13, 4, 1, 1))),
            (entry(20, 12), None),
            (entry(24, 16), None),
            // A single page.
            (entry(25, 17), Some(run(16, 8, 3, 4))),
            // Not used.
            (entry(0, 50), None),
            (entry(26, 18), None),
        ] {
            assert_eq!(gather.add(&[entry]), (Ok(ended), [].as_slice()));
        }
        assert_eq!(gather.end(), Some(run(25, 17, 2, 1)));
    }

    #[test]
    fn other_flags_begin_a_run() {
        let mut gather = Gather::new(100);
        let clean = |index: u64| FolioSer::new(11 + index, Flags::UPTODATE, 1 + index);
        let entries = [entry(10, 0), clean(0), clean(1), clean(2), clean(3)];
        let (ended, left) = gather.add(&entries);
        assert_eq!(ended, Ok(Some(run(10, 0, 1, 1))));
        assert_eq!(left.len(), 3);
        assert_eq!(gather.add(left), (Ok(None), [].as_slice()));
        let last = gather.end().map(|run| (run.index, run.count, run.flags));
        assert_eq!(last, Some((1, 4, Flags::UPTODATE)));
    }

    #[test]
    fn a_folio_outside_of_the_file_is_refused() {
        let mut gather = Gather::new(2);
        let entries = [entry(9, 0), entry(10, 1), entry(11, 2), entry(12, 3)];
        let (result, left) = gather.add(&entries);
        assert_eq!(result, Err(Damage::Folio(2)));
        assert_eq!(left.len(), 1);
        assert_eq!(gather.end(), Some(run(9, 0, 2, 1)));
    }

    #[test]
    fn parts_are_aligned_in_memory_and_in_the_file() {
        let mut parts = Parts::new(13, 5, 26, 0b1100);
        let mut part = |frame, index, pages, order| {
            let expected = Part {
                frame,
                index,
                pages,
                order,
            };
            assert_eq!(parts.next(), Some(expected));
        };
        part(13, 5, 3, 0);
        part(16, 8, 16, 3);
        part(32, 24, 4, 2);
        part(36, 28, 3, 0);
        assert_eq!(parts.next(), None);
        // Never aligned in both, and no large folios.
        for (frame, orders) in [(1, !0), (2, 0b1100), (0, 0b1), (0, 0)] {
            let single = Part {
                frame,
                index: 0,
                pages: 40,
                order: 0,
            };
            assert!(Parts::new(frame, 0, 40, orders).eq([single]));
        }
    }

    #[test]
    fn parts_have_only_orders_that_folios_may_have() {
        let parts = |frame, pages, orders| {
            Parts::new(frame, frame, pages, orders).map(|part| (part.pages, part.order))
        };
        assert!(parts(509, 515, 1 << 9 | 1 << 3).eq([(3, 0), (512, 9)]));
        assert!(parts(509, 515, 1 << 10).eq([(515, 0)]));
        assert!(parts(8, 56, 1 << 9 | 1 << 3).eq([(8, 3), (16, 3), (32, 3)]));
        assert!(parts(1, 5, 0b10).eq([(1, 0), (4, 1)]));
        assert!(Parts::new(1 << 62, 0, 1 << 62, !0)
            .map(|part| part.order)
            .eq([62]));
    }

    #[test]
    fn single_pages_become_folios_of_four_pages_or_more() {
        assert_eq!(large_orders(0b1111), 0b1100);
    }
}
