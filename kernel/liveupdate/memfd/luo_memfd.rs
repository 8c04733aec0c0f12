// SPDX-License-Identifier: GPL-2.0

//! Memory of memfds, over a live update.
//!
//! A memfd crosses a kexec with its content, size, position and seals. It stays in use meanwhile;
//! it cannot get longer or shorter, and its pages stay where they are. The format is `memfd-v2` of
//! Linux 7.3 ([`luo_core::memfd`]).
//!
//! Modules import only those before them in this list:
//!
//! - [`table`]: the pages of the handover.
//! - [`preserved`]: a file that goes to the next kernel; its pages go by runs of adjacent ones.
//! - [`frozen`]: the files of which it is told when a page appears in a hole, which goes there too.
//! - [`preserve`], [`retrieve`]: the two sides of the kexec.
//! - [`exports`]: the function that `shmem` calls.

#![deny(unsafe_code)]

use kernel::{
    fs::File,
    kho,
    liveupdate::{
        FileHandler,
        Handler,
        HandlerRegistration,
        Outcome, //
    },
    mm::shmem::Memfd,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow, //
    }, //
};

mod exports;
mod frozen;
mod preserve;
mod preserved;
mod retrieve;
mod table;

use preserved::Preserved;

static HANDLER: Handler<MemfdHandler> = Handler::new(luo_core::memfd::wire::COMPATIBLE);

module! {
    type: LuoMemfd,
    name: "luo_memfd",
    authors: ["The authors of the Live Update Orchestrator in Rust"],
    description: "Memory of memfds, over a live update",
    license: "GPL",
}

/// The module, which stays for as long as the kernel runs.
struct LuoMemfd {
    _registration: Option<HandlerRegistration<MemfdHandler>>,
}

impl kernel::Module for LuoMemfd {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        frozen::set_up()?;
        let registration = match HANDLER.register() {
            // Live update is off.
            Err(error) if error == EOPNOTSUPP => None,
            registration => Some(registration?),
        };
        Ok(Self {
            _registration: registration,
        })
    }
}

/// The handler of memfds.
struct MemfdHandler;

#[vtable]
impl FileHandler for MemfdHandler {
    type Data = kho::Address;
    type Private = Arc<Preserved>;

    fn can_preserve(file: &File) -> bool {
        Memfd::of(file).is_some()
    }

    fn preserve(file: &File) -> Result<(kho::Address, Arc<Preserved>)> {
        preserve::preserve(Memfd::of(file).ok_or(EINVAL)?)
    }

    fn unpreserve(file: &File, _data: kho::Address, private: Arc<Preserved>) {
        if let Some(memfd) = Memfd::of(file) {
            preserve::unpreserve(memfd, private);
        }
    }

    fn freeze(
        file: &File,
        data: kho::Address,
        private: ArcBorrow<'_, Preserved>,
    ) -> Result<kho::Address> {
        private.set_position(Memfd::of(file).ok_or(EINVAL)?.position());
        Ok(data)
    }

    fn unfreeze(_file: &File, _data: kho::Address, _private: ArcBorrow<'_, Preserved>) {}

    fn retrieve(data: kho::Incoming) -> Result<ARef<File>> {
        retrieve::retrieve(data)
    }

    fn finish(_data: kho::Address, outcome: Outcome<'_, kho::Incoming>) {
        if let Outcome::NotTried(data) = outcome {
            retrieve::discard(data);
        }
    }

    fn id(file: &File) -> usize {
        Memfd::of(file).map_or(0, Memfd::id)
    }
}
