// SPDX-License-Identifier: GPL-2.0

//! The FLB that the test files depend on.

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
    gate,
    watch::Running, //
};

pub(crate) static OBJECT: Flb<TestObject> = Flb::new(c"luo-test-object-v1");

static FAILS: Atomic<bool> = Atomic::new(false);

static IS_SLOW: Atomic<bool> = Atomic::new(false);

/// Makes the FLB wait the next time that it is preserved or retrieved.
pub(crate) fn slow_next() {
    IS_SLOW.store(true, Relaxed);
}

/// Makes the FLB fail the next time that it is preserved or retrieved.
pub(crate) fn fail_next() {
    FAILS.store(true, Relaxed);
}

fn check() -> Result {
    if IS_SLOW.xchg(false, Relaxed) {
        gate::pass(0);
    }
    if FAILS.xchg(false, Relaxed) {
        return Err(Error::from_errno(-abi::FAILURE));
    }
    Ok(())
}

/// The FLB: a number.
pub(crate) struct TestObject;

#[vtable]
impl FileLifecycleBound for TestObject {
    type Data = u64;
    type Object = KBox<u64>;

    fn preserve() -> Result<(u64, KBox<u64>)> {
        let _running = Running::begin("preserve of the object", 0);
        pr_info!("object preserve\n");
        check()?;
        Ok((abi::OBJECT, KBox::new(abi::OBJECT, GFP_KERNEL)?))
    }

    fn unpreserve(data: u64, object: KBox<u64>) {
        let _running = Running::begin("unpreserve of the object", 0);
        let is_same = data == *object;
        pr_info!("object unpreserve {is_same}\n");
    }

    fn retrieve(data: u64) -> Result<KBox<u64>> {
        let _running = Running::begin("retrieve of the object", 0);
        pr_info!("object retrieve\n");
        check()?;
        Ok(KBox::new(data, GFP_KERNEL)?)
    }

    fn finish(object: KBox<u64>) {
        let _running = Running::begin("finish of the object", 0);
        pr_info!("object finish {:#x}\n", *object);
    }
}
