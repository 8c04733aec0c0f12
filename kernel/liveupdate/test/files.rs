// SPDX-License-Identifier: GPL-2.0

//! The test files, and their handlers.

use kernel::{
    fs::{
        anon_inode::{
            AnonInodeFile,
            Operations, //
        },
        file::flags,
        File, //
    },
    liveupdate::{
        FileHandler,
        Handler,
        Outcome, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow, //
    },
};

use crate::{
    abi,
    gate,
    watch::{
        Frozen,
        Running, //
    }, //
};

pub(crate) static HANDLER: Handler<TestHandler> = Handler::new(c"luo-test-v1");

pub(crate) static PLAIN: Handler<PlainHandler> = Handler::new(c"luo-test-plain-v1");

static OPERATIONS: Operations<TestFile> = Operations::new();

/// The argument of the last [`abi::MAY_FINISH`].
static MAY_FINISH: Atomic<bool> = Atomic::new(false);

pub(crate) fn may_finish(may: bool) {
    MAY_FINISH.store(may, Relaxed);
}

/// A file.
pub(crate) struct TestFile {
    behaviour: u64,
    /// How often the file was frozen, failed attempts included.
    frozen: Atomic<u64>,
}

impl TestFile {
    /// Makes a file with this behaviour.
    pub(crate) fn open(behaviour: u64) -> Result<ARef<File>> {
        let file = Arc::new(
            Self {
                behaviour,
                frozen: Atomic::new(0),
            },
            GFP_KERNEL,
        )?;
        OPERATIONS.getfile(c"[luo_test]", file, flags::O_RDWR)
    }

    fn number(&self) -> u64 {
        number(self.behaviour)
    }

    fn does(&self, behaviour: u64) -> bool {
        self.behaviour & behaviour != 0
    }
}

/// The last reference to the file is gone.
impl Drop for TestFile {
    fn drop(&mut self) {
        pr_info!("drop {}\n", self.number());
    }
}

/// The byte that tells how often a file was frozen.
const FROZEN: u64 = 0xff << abi::FROZEN_SHIFT;

fn number(behaviour: u64) -> u64 {
    behaviour >> abi::NUMBER_SHIFT
}

#[vtable]
impl AnonInodeFile for TestFile {
    type Ptr = Arc<Self>;

    fn ioctl(file: ArcBorrow<'_, Self>, _: &File, cmd: u32, _arg: usize) -> Result<isize> {
        match cmd {
            abi::NUMBER => Ok(file.number() as isize),
            abi::TIMES_FROZEN => Ok((file.behaviour & FROZEN) as isize >> abi::FROZEN_SHIFT),
            _ => Err(ENOTTY),
        }
    }
}

/// The handler of test files.
pub(crate) struct TestHandler;

fn failure() -> Error {
    Error::from_errno(-abi::FAILURE)
}

#[vtable]
impl FileHandler for TestHandler {
    type Data = u64;
    type Private = Arc<TestFile>;

    fn can_preserve(file: &File) -> bool {
        OPERATIONS
            .data(file)
            .is_some_and(|file| !file.does(abi::PLAIN))
    }

    fn preserve(file: &File) -> Result<(u64, Arc<TestFile>)> {
        let file: Arc<TestFile> = OPERATIONS.data(file).ok_or(EINVAL)?.into();
        let _running = Running::begin("preserve", file.number());
        pr_info!("preserve {}\n", file.number());
        if file.does(abi::PRESERVE_IS_SLOW) {
            gate::pass(file.number());
        }
        if file.does(abi::PRESERVE_FAILS) {
            return Err(failure());
        }
        Ok((file.behaviour & !FROZEN, file))
    }

    fn unpreserve(_file: &File, data: u64, private: Arc<TestFile>) {
        let _running = Running::begin("unpreserve", private.number());
        let is_same = data & !FROZEN == private.behaviour & !FROZEN;
        pr_info!("unpreserve {} {is_same}\n", private.number());
        if private.does(abi::UNPRESERVE_IS_SLOW) {
            gate::pass(private.number());
        }
    }

    fn freeze(_file: &File, data: u64, private: ArcBorrow<'_, TestFile>) -> Result<u64> {
        let times = private.frozen.load(Relaxed) + 1;
        private.frozen.store(times, Relaxed);
        if times == 1 && private.does(abi::FREEZE_FAILS_ONCE) {
            pr_info!("freeze {} fails\n", private.number());
            return Err(failure());
        }
        Frozen::add(private.number());
        pr_info!("freeze {}\n", private.number());
        Ok(data & !FROZEN | times << abi::FROZEN_SHIFT & FROZEN)
    }

    fn unfreeze(_file: &File, _data: u64, private: ArcBorrow<'_, TestFile>) {
        Frozen::remove();
        pr_info!("unfreeze {}\n", private.number());
    }

    fn retrieve(data: u64) -> Result<ARef<File>> {
        let _running = Running::begin("retrieve", number(data));
        pr_info!("retrieve {}\n", number(data));
        if data & abi::RETRIEVE_IS_SLOW != 0 {
            gate::pass(number(data));
        }
        if data & abi::RETRIEVE_FAILS != 0 {
            return Err(failure());
        }
        TestFile::open(data)
    }

    fn can_finish(data: u64, _outcome: Outcome<'_>) -> bool {
        data & abi::CANNOT_FINISH == 0 || MAY_FINISH.load(Relaxed)
    }

    fn finish(data: u64, outcome: Outcome<'_, u64>) {
        let _running = Running::begin("finish", number(data));
        let outcome = match outcome {
            Outcome::NotTried(_) => "not-tried",
            Outcome::Retrieved(_) => "retrieved",
            Outcome::Failed(_) => "failed",
        };
        pr_info!("finish {} {outcome}\n", number(data));
        if data & abi::FINISH_IS_SLOW != 0 {
            gate::pass(number(data));
        }
    }

    fn id(file: &File) -> usize {
        match OPERATIONS.data(file) {
            // No file has this address.
            Some(file) if file.does(abi::SAME) => usize::MAX,
            _ => file.as_ptr().addr(),
        }
    }
}

/// The handler of files that depend on no FLB; the rest is as for the other files.
pub(crate) struct PlainHandler;

#[vtable]
impl FileHandler for PlainHandler {
    type Data = u64;
    type Private = Arc<TestFile>;

    fn can_preserve(file: &File) -> bool {
        OPERATIONS
            .data(file)
            .is_some_and(|file| file.does(abi::PLAIN))
    }

    fn preserve(file: &File) -> Result<(u64, Arc<TestFile>)> {
        TestHandler::preserve(file)
    }

    fn unpreserve(file: &File, data: u64, private: Arc<TestFile>) {
        TestHandler::unpreserve(file, data, private);
    }

    fn freeze(file: &File, data: u64, private: ArcBorrow<'_, TestFile>) -> Result<u64> {
        TestHandler::freeze(file, data, private)
    }

    fn unfreeze(file: &File, data: u64, private: ArcBorrow<'_, TestFile>) {
        TestHandler::unfreeze(file, data, private);
    }

    fn retrieve(data: u64) -> Result<ARef<File>> {
        TestHandler::retrieve(data)
    }

    fn finish(data: u64, outcome: Outcome<'_, u64>) {
        TestHandler::finish(data, outcome);
    }
}
