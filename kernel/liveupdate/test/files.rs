// SPDX-License-Identifier: GPL-2.0

//! The files, and their handler.

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
        new_condvar,
        new_mutex,
        Arc,
        ArcBorrow,
        CondVar,
        Mutex,
        SetOnce, //
    },
};

use crate::abi;

pub(crate) static HANDLER: Handler<TestHandler> = Handler::new(c"luo-test-v1");

static OPERATIONS: Operations<TestFile> = Operations::new();

/// What [`abi::MAY_FINISH`] said last.
static MAY_FINISH: Atomic<bool> = Atomic::new(false);

/// Files that wait.
static GATE: SetOnce<Pin<KBox<Gate>>> = SetOnce::new();

/// Where files wait until they are told to go on.
#[pin_data]
struct Gate {
    #[pin]
    state: Mutex<GateState>,
    #[pin]
    opened: CondVar,
}

struct GateState {
    waiting: u64,
    /// How often the gate was opened.
    times: u64,
}

impl Gate {
    /// Waits until the gate is opened once more.
    fn pass(&self) {
        let mut state = self.state.lock();
        let times = state.times;
        state.waiting += 1;
        while state.times == times {
            self.opened.wait(&mut state);
        }
        state.waiting -= 1;
    }
}

/// Makes the gate.
pub(crate) fn set_up() -> Result {
    let state = GateState {
        waiting: 0,
        times: 0,
    };
    let gate = pin_init!(Gate {
        state <- new_mutex!(state, "luo_test::Gate::state"),
        opened <- new_condvar!("luo_test::Gate::opened"),
    });
    GATE.populate(KBox::pin_init(gate, GFP_KERNEL)?);
    Ok(())
}

/// Waits until files may go on.
pub(crate) fn wait() {
    if let Some(gate) = GATE.as_ref() {
        gate.pass();
    }
}

/// Lets files go on that wait.
pub(crate) fn go() {
    if let Some(gate) = GATE.as_ref() {
        gate.state.lock().times += 1;
        gate.opened.notify_all();
    }
}

pub(crate) fn may_finish(may: bool) {
    MAY_FINISH.store(may, Relaxed);
}

pub(crate) fn waiting() -> u64 {
    GATE.as_ref().map_or(0, |gate| gate.state.lock().waiting)
}

/// A file.
pub(crate) struct TestFile {
    behaviour: u64,
    /// How often it was frozen, or should have been.
    frozen: Atomic<u64>,
}

impl TestFile {
    /// Makes a file that behaves like this.
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

/// The byte that says how often a file was frozen.
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

/// The handler of such files.
pub(crate) struct TestHandler;

fn failure() -> Error {
    Error::from_errno(-abi::FAILURE)
}

#[vtable]
impl FileHandler for TestHandler {
    type Private = Arc<TestFile>;

    fn can_preserve(file: &File) -> bool {
        OPERATIONS.data(file).is_some()
    }

    fn preserve(file: &File) -> Result<(u64, Arc<TestFile>)> {
        let file: Arc<TestFile> = OPERATIONS.data(file).ok_or(EINVAL)?.into();
        pr_info!("preserve {}\n", file.number());
        if file.does(abi::PRESERVE_IS_SLOW) {
            wait();
        }
        if file.does(abi::PRESERVE_FAILS) {
            return Err(failure());
        }
        Ok((file.behaviour & !FROZEN, file))
    }

    fn unpreserve(_file: &File, data: u64, private: Arc<TestFile>) {
        let is_same = data & !FROZEN == private.behaviour & !FROZEN;
        pr_info!("unpreserve {} {is_same}\n", private.number());
    }

    fn freeze(_file: &File, data: u64, private: ArcBorrow<'_, TestFile>) -> Result<u64> {
        let times = private.frozen.load(Relaxed) + 1;
        private.frozen.store(times, Relaxed);
        if times == 1 && private.does(abi::FREEZE_FAILS_ONCE) {
            pr_info!("freeze {} fails\n", private.number());
            return Err(failure());
        }
        pr_info!("freeze {}\n", private.number());
        Ok(data & !FROZEN | times << abi::FROZEN_SHIFT & FROZEN)
    }

    fn unfreeze(_file: &File, _data: u64, private: ArcBorrow<'_, TestFile>) {
        pr_info!("unfreeze {}\n", private.number());
    }

    fn retrieve(data: u64) -> Result<ARef<File>> {
        pr_info!("retrieve {}\n", number(data));
        if data & abi::RETRIEVE_IS_SLOW != 0 {
            wait();
        }
        if data & abi::RETRIEVE_FAILS != 0 {
            return Err(failure());
        }
        TestFile::open(data)
    }

    fn can_finish(data: u64, _outcome: Outcome<'_>) -> bool {
        data & abi::CANNOT_FINISH == 0 || MAY_FINISH.load(Relaxed)
    }

    fn finish(data: u64, outcome: Outcome<'_>) {
        let outcome = match outcome {
            Outcome::NotTried => "not-tried",
            Outcome::Retrieved(_) => "retrieved",
            Outcome::Failed(_) => "failed",
        };
        pr_info!("finish {} {outcome}\n", number(data));
        if data & abi::FINISH_IS_SLOW != 0 {
            wait();
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
