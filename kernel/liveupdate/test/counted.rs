// SPDX-License-Identifier: GPL-2.0

//! Files that an FLB counts, in memory that it hands over.
//!
//! The PCI series does the same: each file that is preserved is added to a count in the FLB, each
//! file that is unpreserved is taken from it. If the count and the files of a handover do not
//! agree, the previous kernel has handed over half of a preserve or of an unpreserve.

use kernel::{
    fs::{
        anon_inode::{
            AnonInodeFile,
            Operations, //
        },
        file::flags,
        File, //
    },
    kho,
    liveupdate::{
        FileHandler,
        FileLifecycleBound,
        Flb,
        Handler,
        Outcome, //
    },
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
};

use crate::watch::{
    Frozen,
    Running, //
};

pub(crate) static COUNTED: Handler<CountedHandler> = Handler::new(c"luo-test-counted-v1");

pub(crate) static COUNT: Flb<Count> = Flb::new(c"luo-test-count-v1");

static OPERATIONS: Operations<CountedFile> = Operations::new();

/// Number of files of the previous kernel that are finished.
static FINISHED: Atomic<u64> = Atomic::new(0);

/// The time between the two halves of a preserve or an unpreserve: the count, and the file itself.
const HALF: Delta = Delta::from_millis(1);

/// The number of files that the previous kernel has handed over, by its own count. It must be the
/// number at the time when they were frozen: otherwise a callback has run afterwards.
pub(crate) fn handed_over() -> Result<u64> {
    match COUNT.incoming()?.get() {
        Object::Incoming(incoming) if incoming.numbers.count != incoming.numbers.frozen => {
            Err(EILSEQ)
        }
        Object::Incoming(incoming) => Ok(incoming.numbers.count),
        Object::Outgoing(_) => Err(EINVAL),
    }
}

/// A file.
pub(crate) struct CountedFile;

impl CountedFile {
    /// Makes a file.
    pub(crate) fn open() -> Result<ARef<File>> {
        let file = Arc::new(Self, GFP_KERNEL)?;
        OPERATIONS.getfile(c"[luo_counted]", file, flags::O_RDWR)
    }
}

#[vtable]
impl AnonInodeFile for CountedFile {
    type Ptr = Arc<Self>;

    fn ioctl(_: ArcBorrow<'_, Self>, _: &File, _cmd: u32, _arg: usize) -> Result<isize> {
        Err(ENOTTY)
    }
}

/// The handler of counted files.
pub(crate) struct CountedHandler;

/// The two numbers of the page that the next kernel gets.
struct Numbers {
    /// Files that are preserved, as each preserve and unpreserve leaves it.
    count: u64,
    /// What it was when a file was frozen last.
    frozen: u64,
}

impl Numbers {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk()?;
        Some(Self {
            count: u64::from_ne_bytes(*count),
            frozen: u64::from_ne_bytes(*rest.first_chunk()?),
        })
    }

    fn write(&self, bytes: &mut [u8]) -> Option<()> {
        let (count, rest) = bytes.split_first_chunk_mut()?;
        *count = self.count.to_ne_bytes();
        *rest.first_chunk_mut()? = self.frozen.to_ne_bytes();
        Some(())
    }
}

/// Changes the numbers for the next kernel.
fn change(change: impl FnOnce(&mut Numbers)) -> Result {
    let object = COUNT.outgoing()?;
    let Object::Outgoing(outgoing) = object.get() else {
        return Err(EINVAL);
    };
    let mut page = outgoing.page.lock();
    let mut numbers = Numbers::read(page.bytes()).ok_or(EINVAL)?;
    change(&mut numbers);
    numbers.write(page.bytes_mut()).ok_or(EINVAL)
}

#[vtable]
impl FileHandler for CountedHandler {
    type Data = u64;
    type Private = ();

    fn can_preserve(file: &File) -> bool {
        OPERATIONS.data(file).is_some()
    }

    fn preserve(_file: &File) -> Result<(u64, ())> {
        let _running = Running::begin("preserve of a counted file", 0);
        change(|numbers| numbers.count = numbers.count.wrapping_add(1))?;
        fsleep(HALF);
        Ok((0, ()))
    }

    fn unpreserve(_file: &File, _data: u64, _private: ()) {
        let _running = Running::begin("unpreserve of a counted file", 0);
        fsleep(HALF);
        let taken = change(|numbers| numbers.count = numbers.count.wrapping_sub(1));
        if let Err(error) = taken {
            pr_err!("a counted file without its FLB: {error:?}\n");
        }
    }

    fn freeze(_file: &File, data: u64, _private: ()) -> Result<u64> {
        Frozen::add(0);
        change(|numbers| numbers.frozen = numbers.count)?;
        Ok(data)
    }

    fn unfreeze(_file: &File, _data: u64, _private: ()) {
        Frozen::remove();
    }

    fn retrieve(_data: u64) -> Result<ARef<File>> {
        let _running = Running::begin("retrieve of a counted file", 0);
        CountedFile::open()
    }

    fn finish(_data: u64, _outcome: Outcome<'_, u64>) {
        let _running = Running::begin("finish of a counted file", 0);
        FINISHED.fetch_add(1, Relaxed);
    }
}

/// The FLB that counts the files.
pub(crate) struct Count;

/// The count for the next kernel, in a page that it gets.
#[pin_data]
pub(crate) struct Outgoing {
    #[pin]
    page: Mutex<kho::Preserved>,
}

/// The count of the previous kernel.
pub(crate) struct Incoming {
    numbers: Numbers,
    page: kho::Incoming,
}

/// The count for the next kernel, or that of the previous one.
pub(crate) enum Object {
    Outgoing(Pin<KBox<Outgoing>>),
    Incoming(Incoming),
}

#[vtable]
impl FileLifecycleBound for Count {
    type Data = kho::Address;
    type Object = KBox<Object>;

    fn preserve() -> Result<(kho::Address, KBox<Object>)> {
        let _running = Running::begin("preserve of the count", 0);
        let page = kho::Preserved::new(PAGE_SIZE)?;
        let data = page.address();
        let outgoing = pin_init!(Outgoing {
            page <- new_mutex!(page, "luo_test::Count::page"),
        });
        let outgoing = KBox::pin_init(outgoing, GFP_KERNEL)?;
        Ok((data, KBox::new(Object::Outgoing(outgoing), GFP_KERNEL)?))
    }

    fn unpreserve(_data: kho::Address, _object: KBox<Object>) {
        let _running = Running::begin("unpreserve of the count", 0);
    }

    fn retrieve(page: kho::Incoming) -> Result<KBox<Object>> {
        let _running = Running::begin("retrieve of the count", 0);
        let mut bytes = [0; 2 * size_of::<u64>()];
        page.read(0, &mut bytes)?;
        let numbers = Numbers::read(&bytes).ok_or(EINVAL)?;
        pr_info!(
            "counted {}, when frozen {}\n",
            numbers.count,
            numbers.frozen
        );
        FINISHED.store(0, Relaxed);
        Ok(KBox::new(
            Object::Incoming(Incoming { numbers, page }),
            GFP_KERNEL,
        )?)
    }

    fn finish(object: KBox<Object>) {
        let _running = Running::begin("finish of the count", 0);
        if let Object::Incoming(incoming) = KBox::into_inner(object) {
            let finished = FINISHED.load(Relaxed);
            pr_info!("counted {} finished {finished}\n", incoming.numbers.count);
            incoming.page.free();
        }
    }
}
