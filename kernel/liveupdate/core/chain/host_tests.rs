// SPDX-License-Identifier: GPL-2.0

//! Chains in memory of a host, whole and damaged.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::host_pages::buffer;

const SIZE: usize = 256;

type Pages = crate::host_pages::Pages<SIZE>;

/// A chain of the numbers below `count`; block `n` lies at `(n + 1) * SIZE`.
fn chain(count: u64) -> Pages {
    let mut pages = Pages::default();
    pages.chain(SIZE as u64, &(0..count).collect::<Vec<u64>>());
    pages
}

fn read(pages: &Pages, head: u64) -> Result<Vec<u64>, Damage> {
    let mut all = Vec::new();
    let mut buffer = buffer::<SIZE>();
    let mut blocks = Blocks::<_, u64>::new(pages, head);
    while let Some(block) = blocks.next(&mut buffer) {
        all.extend_from_slice(block?.entries);
    }
    assert!(blocks.next(&mut buffer).is_none());
    Ok(all)
}

#[test]
fn an_empty_chain_has_no_blocks() {
    assert_eq!(read(&Pages::default(), 0), Ok(vec![]));
}

#[test]
fn a_cycle_of_any_length_is_found() {
    for length in 1..if cfg!(miri) { 5 } else { 40_u64 } {
        let mut pages = chain(length * 30);
        let blocks = pages.0.len() as u64;
        for back_to in 1..=blocks {
            let last = pages.0.get_mut(&(blocks * SIZE as u64)).unwrap();
            last[0] = back_to * SIZE as u64;
            assert!(matches!(read(&pages, SIZE as u64), Err(Damage::Cycle(_))));
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes there")]
fn a_chain_has_an_end() {
    let per_block = Layout::of::<u64>(SIZE).per_block() as u64;
    let longest = MAX_BLOCKS as u64 * per_block;
    assert_eq!(
        read(&chain(longest), SIZE as u64).unwrap().len() as u64,
        longest
    );
    assert_eq!(read(&chain(longest + 1), SIZE as u64), Err(Damage::Length));
}

#[test]
fn damage_is_named() {
    let head = SIZE as u64;
    let damaged = |word: usize, value: u64| {
        let mut pages = chain(100);
        pages.0.get_mut(&head).unwrap()[word] = value;
        read(&pages, head)
    };
    assert_eq!(damaged(0, 0x99), Err(Damage::Address(0x99)));
    assert_eq!(damaged(0, 1 << 40), Err(Damage::Address(1 << 40)));
    assert_eq!(damaged(1, 0), Err(Damage::Count(0)));
    assert_eq!(damaged(1, 31), Err(Damage::Count(31)));
    assert_eq!(damaged(1, u64::MAX), Err(Damage::Count(u64::MAX)));
    assert_eq!(read(&chain(1), 8), Err(Damage::Address(8)));
}

#[test]
fn only_the_last_block_may_be_empty() {
    let head = SIZE as u64;
    let mut pages = chain(60);
    // As Linux 7.3 leaves it: room was made for one more.
    pages.page(head * 3).fill(0);
    pages.0.get_mut(&(head * 2)).unwrap()[0] = head * 3;
    assert_eq!(read(&pages, head).map(|all| all.len()), Ok(60));
    assert_eq!(read(&pages, head * 3), Ok(vec![]));
    pages.0.get_mut(&(head * 2)).unwrap()[1] = 0;
    assert_eq!(read(&pages, head), Err(Damage::Count(0)));
}

proptest! {
    #[test]
    fn a_written_chain_reads_back(count in 0_u64..2000) {
        let expected: Vec<u64> = (0..count).collect();
        let head = if count == 0 { 0 } else { SIZE as u64 };
        prop_assert_eq!(read(&chain(count), head), Ok(expected));
    }

    /// Random words anywhere: never a panic, never a loop, never more than there is.
    #[test]
    fn corruption_is_survived(
        count in 1_u64..500,
        hits in proptest::collection::vec((0_u64..20, 0_usize..SIZE / 8, any::<u64>()), 1..20),
        near: bool,
    ) {
        let mut pages = chain(count);
        let blocks = pages.0.len() as u64;
        for (block, word, value) in hits {
            let address = (block % blocks + 1) * SIZE as u64;
            let value = if near { (value % (blocks + 2)) * SIZE as u64 } else { value };
            pages.0.get_mut(&address).unwrap()[word] = value;
        }
        if let Ok(all) = read(&pages, SIZE as u64) {
            prop_assert!(all.len() as u64 <= blocks * Layout::of::<u64>(SIZE).per_block() as u64);
        }
    }
}
