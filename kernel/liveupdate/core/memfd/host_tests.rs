// SPDX-License-Identifier: GPL-2.0

//! Any table is read as it was written, and no bytes do harm.

use std::vec::Vec;

use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    chain::Memory as _,
    host_pages::{buffer, Pages},
    memfd::{
        extent::ExtentSer,
        run::{Gather, Parts},
        table::Chunks,
        wire::{Damage, Flags, FolioSer, MemfdSer, TableSer},
    },
};

/// Small pages have chunks of seven blocks.
const PAGE: usize = 64;

/// Where chunks and blocks are.
const CHUNKS: u64 = 0x10_0000;
const BLOCKS: u64 = 0x20_0000;

/// A table of so many blocks, as Linux 7.3 writes it.
fn table(blocks: usize, order: u16) -> (Pages<PAGE>, TableSer) {
    let mut pages = Pages::default();
    let chunk_at = |number: usize| CHUNKS + (number * PAGE) as u64;
    let per_chunk = PAGE / 8 - 1;
    for number in 0..=blocks / per_chunk {
        let first = number * per_chunk;
        let mut words = [0_u64; PAGE / 8];
        if blocks >= first + per_chunk {
            words[0] = chunk_at(number + 1);
        }
        for at in first..blocks.min(first + per_chunk) {
            words[1 + at - first] = BLOCKS + ((at * PAGE) << order) as u64;
        }
        pages
            .page(chunk_at(number))
            .copy_from_slice(words.as_bytes());
    }
    let table = TableSer {
        first: CHUNKS,
        pages: (blocks << order) as u32,
        flags: TableSer::ALLOC,
        order,
    };
    (pages, table)
}

/// What is wrong with a table.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    Damage(Damage),
    /// No chunk is here.
    NoChunk(u64),
}

/// The number of chunks of a table, and its blocks.
fn read(pages: &Pages<PAGE>, table: &TableSer) -> Result<(usize, Vec<u64>), Wrong> {
    let mut chunks = Chunks::new(table);
    let (mut count, mut blocks) = (0, Vec::new());
    while let Some(address) = chunks.address().map_err(Wrong::Damage)? {
        let mut chunk = buffer::<PAGE>();
        let there = pages.read_block(address, &mut chunk);
        there.map_err(|_| Wrong::NoChunk(address))?;
        blocks.extend(chunks.blocks(&chunk).map_err(Wrong::Damage)?);
        count += 1;
    }
    Ok((count, blocks))
}

#[test]
fn a_list_that_leads_back_to_itself_ends() {
    let (mut pages, table) = table(20, 0);
    pages.page(CHUNKS + PAGE as u64)[..8].copy_from_slice(&CHUNKS.to_ne_bytes());
    assert_eq!(read(&pages, &table), Err(Wrong::Damage(Damage::Length)));
}

#[test]
fn a_chunk_that_was_not_preserved_is_refused() {
    let (mut pages, table) = table(20, 0);
    let gone = CHUNKS + PAGE as u64;
    pages.0.remove(&gone);
    assert_eq!(read(&pages, &table), Err(Wrong::NoChunk(gone)));
}

#[test]
fn another_number_of_blocks_is_refused() {
    for (blocks, said) in [(3, 2), (3, 4), (7, 6), (7, 8), (0, 1)] {
        let (pages, mut table) = table(blocks, 0);
        table.pages = said;
        assert_eq!(
            read(&pages, &table),
            Err(Wrong::Damage(Damage::Length)),
            "{blocks} {said}"
        );
    }
}

proptest! {
    #[test]
    fn a_table_is_read_as_it_was_written(blocks in 1_usize..40, order in 0_u16..3) {
        let (pages, table) = table(blocks, order);
        let expected: Vec<_> = (0..blocks)
            .map(|at| BLOCKS + ((at * PAGE) << order) as u64)
            .collect();
        prop_assert_eq!(read(&pages, &table).unwrap(), (pages.0.len(), expected));
    }

    #[test]
    fn no_bytes_do_harm(
        words in prop::collection::vec(
            prop_oneof![Just(0), Just(CHUNKS), Just(CHUNKS + 64), any::<u64>()],
            16,
        ),
        bytes in prop::array::uniform32(any::<u8>()),
    ) {
        let mut pages = Pages::<PAGE>::default();
        for (number, words) in words.chunks(8).enumerate() {
            let at = CHUNKS + (number * PAGE) as u64;
            pages.page(at).copy_from_slice(words.as_bytes());
        }
        let (_, mut any) = table(1, 0);
        any.pages = u32::from(bytes[0]);
        any.order = u16::from(bytes[1]);
        any.first = CHUNKS;
        let _ = read(&pages, &any);
        let mut header = [0; 48];
        header[..32].copy_from_slice(&bytes);
        let _ = MemfdSer::read_from_bytes(&header).unwrap().check::<FolioSer>(4096);
    }

    #[test]
    fn no_extent_is_outside_of_its_file(
        frame in any::<u64>(),
        index in prop_oneof![0_u64..100, any::<u64>()],
        count in prop_oneof![0_u32..9, any::<u32>()],
        order in 0_u16..60,
        pages in prop_oneof![0_u64..100, any::<u64>()],
    ) {
        let ser = ExtentSer { frame, index, count, order, flags: 0 };
        if let Ok(extent) = ser.check(pages) {
            prop_assert_eq!(u128::from(extent.pages), u128::from(count) << order);
            prop_assert!(index + (extent.pages - (1 << order)) < pages);
        }
    }

    #[test]
    fn runs_have_each_folio_once(
        steps in prop::collection::vec((0_u64..3, 0_u64..3, 0_u32..3), 0..50),
        per_page in 1_usize..20,
    ) {
        let (mut frame, mut index) = (8, 0);
        let mut entries = Vec::new();
        for (gap, hole, order) in steps {
            let size = 1 << order;
            frame = (frame + gap).next_multiple_of(size);
            index = (index + hole).next_multiple_of(size);
            entries.push((frame, index));
            frame += size;
            index += size;
        }
        let mut gather = Gather::new(index);
        let mut runs = Vec::new();
        let folio = |(frame, index): &(u64, u64)| FolioSer::new(*frame, Flags::DATA, *index);
        let table: Vec<_> = entries.iter().map(folio).collect();
        for mut page in table.chunks(per_page) {
            while !page.is_empty() {
                let (ended, left) = gather.add(page);
                runs.extend(ended.unwrap());
                page = left;
            }
        }
        runs.extend(gather.end());
        let found: Vec<_> = runs
            .iter()
            .flat_map(|run| {
                let at = |number| number * run.stride;
                (0..run.count).map(move |number| (run.frame + at(number), run.index + at(number)))
            })
            .collect();
        prop_assert_eq!(found, entries);
    }

    #[test]
    fn parts_have_each_page_once(
        frame in 0_u64..5000,
        index in 0_u64..5000,
        pages in 0_u64..3000,
        orders in prop_oneof![0_u64..1024, Just(1022)],
    ) {
        let (mut next, end) = (frame, frame + pages);
        for part in Parts::new(frame, index, pages, orders) {
            prop_assert_eq!(part.frame, next);
            prop_assert_eq!(part.index, index + (next - frame));
            prop_assert!((orders | 1) >> part.order & 1 == 1);
            prop_assert!((part.frame | part.index).is_multiple_of(1 << part.order));
            prop_assert!(part.pages > 0);
            prop_assert!(part.pages.is_multiple_of(1 << part.order));
            next += part.pages;
        }
        prop_assert_eq!(next, end);
    }

    #[test]
    fn pages_that_can_be_one_folio_are_one(
        frame in 0_u64..5000,
        index in prop_oneof![0_u64..5000, Just(5120)],
        pages in 0_u64..3000,
    ) {
        let frame = if index == 5120 { frame } else { index + frame / 1000 * 64 };
        let parts: Vec<_> = Parts::new(frame, index, pages, 1022).collect();
        for order in 2..10 {
            let size = 1 << order;
            for first in frame.next_multiple_of(size)..(frame + pages + 1).saturating_sub(size) {
                let here = index + (first - frame);
                if (first | here).is_multiple_of(size) {
                    let part = parts.iter().rfind(|part| part.frame <= first).unwrap();
                    prop_assert!(part.order >= order);
                }
            }
        }
    }

    #[test]
    fn folios_do_not_become_smaller(
        frame in 0_u64..600,
        index in 0_u64..600,
        count in 0_u64..600,
        had in 0_u32..10,
        orders in 0_u64..1024,
    ) {
        let pages = |count: u64| count << had;
        let parts = Parts::new(pages(frame), pages(index), pages(count), orders | 1 << had);
        for part in parts {
            prop_assert!(part.order >= had);
        }
    }
}
