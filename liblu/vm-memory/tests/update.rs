// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory of guests over an update, on liblu's fake kernel.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::sync::Arc;

use liblu::testing::{FakeKernel, Operation};
use liblu::{Claim, Claimed, Provider};
use liblu_vm_memory::{Error, preserve, retrieve};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use vm_memory::{
    Bytes as _, FileOffset, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap,
    GuestMemoryRegion as _,
};

const MIB: usize = 1 << 20;

fn memfd(size: usize) -> Arc<File> {
    let memfd = memfd_create("memory", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memfd, size as u64).unwrap();
    Arc::new(File::from(memfd))
}

/// Low memory and high memory in one memfd, and a region with a memfd of its own between them.
fn memory() -> GuestMemoryMmap {
    let (split, alone) = (memfd(3 * MIB), memfd(MIB));
    let ranges = [
        (GuestAddress(0), MIB, Some(FileOffset::from_arc(split.clone(), 0))),
        (GuestAddress(1 << 30), MIB, Some(FileOffset::from_arc(alone, 0))),
        (GuestAddress(4 << 30), 2 * MIB, Some(FileOffset::from_arc(split, MIB as u64))),
    ];
    GuestMemoryMmap::from_ranges_with_files(ranges).unwrap()
}

const PLACES: [u64; 4] = [0x1000, 1 << 30, 4 << 30, (4 << 30) + 0x1f_f000];

fn claimed(provider: &Provider) -> Claimed {
    match provider.claim("guest", None).unwrap() {
        Claim::Session(session) => session,
        Claim::ColdStart => panic!("nothing came"),
    }
}

#[test]
fn memory_is_the_same_after_an_update() {
    let kernel = FakeKernel::new();
    let provider = Provider::device(kernel.device());
    let before = memory();
    let handover = provider.open("guest", None).unwrap();
    preserve(&handover, "ram", &before).unwrap();
    // Two files, and the guest runs on.
    assert_eq!(handover.manifest().entries().len(), 2);
    for place in PLACES {
        before.write_obj(place ^ 0x5a5a, GuestAddress(place)).unwrap();
    }
    let ready = handover.ready().unwrap();
    kernel.kexec();
    drop(ready);

    let session = claimed(&provider);
    assert!(
        matches!(retrieve::<()>(&session, "disk"), Err(Error::NoMemory(label)) if label == "disk")
    );
    let after: GuestMemoryMmap = retrieve(&session, "ram").unwrap();
    let regions = |memory: &GuestMemoryMmap| {
        memory
            .iter()
            .map(|it| (it.start_addr().0, it.len(), it.file_offset().unwrap().start()))
            .collect::<Vec<_>>()
    };
    assert_eq!(regions(&after), regions(&before));
    for place in PLACES {
        assert_eq!(after.read_obj::<u64>(GuestAddress(place)).unwrap(), place ^ 0x5a5a);
    }
    // Two regions of one file are two mappings of it still.
    after.write_obj(7_u8, GuestAddress(0)).unwrap();
    assert_eq!(before.read_obj::<u8>(GuestAddress(0)).unwrap(), 7);
    session.finish(None).unwrap();
}

#[test]
fn memory_without_a_file_cannot_survive() {
    let kernel = FakeKernel::new();
    let handover = Provider::device(kernel.device()).open("guest", None).unwrap();
    let memory: GuestMemoryMmap =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0x8000_0000), MIB)]).unwrap();
    assert!(matches!(preserve(&handover, "ram", &memory), Err(Error::NoFile(0x8000_0000))));
}

#[test]
fn a_file_that_fails_is_named() {
    let kernel = FakeKernel::new();
    let provider = Provider::device(kernel.device());
    let handover = provider.open("guest", None).unwrap();
    kernel.fail_next(Operation::PreserveFd, Errno::NOMEM);
    let error = preserve(&handover, "ram", &memory()).unwrap_err();
    assert!(matches!(&error, Error::Session { label, .. } if label == "ram/0"), "{error:?}");
}

#[test]
fn a_state_that_is_not_understood_maps_nothing() {
    let kernel = FakeKernel::new();
    let provider = Provider::device(kernel.device());
    let handover = provider.open("guest", None).unwrap();
    handover.preserve("ram/0", &*memfd(MIB)).unwrap();
    handover.set_state("ram/0", &[9, 1, 2, 3]).unwrap();
    let ready = handover.ready().unwrap();
    kernel.kexec();
    drop(ready);
    let session = claimed(&provider);
    let error = retrieve::<()>(&session, "ram").unwrap_err();
    assert!(matches!(&error, Error::BadState(label) if label == "ram/0"), "{error:?}");
}
