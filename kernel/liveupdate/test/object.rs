// SPDX-License-Identifier: GPL-2.0

//! The object that the files depend on.

use kernel::{
    liveupdate::{
        FileLifecycleBound,
        Flb, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

use crate::{
    abi,
    files, //
};

pub(crate) static OBJECT: Flb<TestObject> = Flb::new(c"luo-test-object-v1");

static FAILS: Atomic<bool> = Atomic::new(false);

static IS_SLOW: Atomic<bool> = Atomic::new(false);

/// The next time, preserving or retrieving the object waits.
pub(crate) fn slow_next() {
    IS_SLOW.store(true, Relaxed);
}

/// The next time, preserving or retrieving the object fails.
pub(crate) fn fail_next() {
    FAILS.store(true, Relaxed);
}

fn check() -> Result {
    if IS_SLOW.xchg(false, Relaxed) {
        files::wait();
    }
    if FAILS.xchg(false, Relaxed) {
        return Err(Error::from_errno(-abi::FAILURE));
    }
    Ok(())
}

/// The object: a number.
pub(crate) struct TestObject;

#[vtable]
impl FileLifecycleBound for TestObject {
    type Object = KBox<u64>;

    fn preserve() -> Result<(u64, KBox<u64>)> {
        pr_info!("object preserve\n");
        check()?;
        Ok((abi::OBJECT, KBox::new(abi::OBJECT, GFP_KERNEL)?))
    }

    fn unpreserve(data: u64, object: KBox<u64>) {
        let is_same = data == *object;
        pr_info!("object unpreserve {is_same}\n");
    }

    fn retrieve(data: u64) -> Result<KBox<u64>> {
        pr_info!("object retrieve\n");
        check()?;
        Ok(KBox::new(data, GFP_KERNEL)?)
    }

    fn finish(object: KBox<u64>) {
        pr_info!("object finish {:#x}\n", *object);
    }
}
