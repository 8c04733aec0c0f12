// SPDX-License-Identifier: GPL-2.0

//! Registers and unregisters the handler and the FLB, like a module that is loaded and unloaded.

use kernel::{
    liveupdate::{
        FlbRegistration,
        HandlerRegistration,
        IncomingFlb,
        OutgoingFlb, //
    },
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SetOnce, //
    },
};

use crate::{
    counted::{
        Count,
        CountedHandler,
        COUNT,
        COUNTED, //
    },
    files::{
        PlainHandler,
        TestHandler,
        HANDLER,
        PLAIN, //
    },
    object::{
        TestObject,
        OBJECT, //
    },
};

/// The registrations and the FLBs that are held.
#[derive(Default)]
struct Registered {
    incoming: Option<IncomingFlb<TestObject>>,
    outgoing: Option<OutgoingFlb<TestObject>>,
    object: Option<FlbRegistration<TestObject, TestHandler>>,
    handler: Option<Arc<HandlerRegistration<TestHandler>>>,
    plain: Option<HandlerRegistration<PlainHandler>>,
    counted: Option<FlbRegistration<Count, CountedHandler>>,
}

static REGISTERED: SetOnce<Pin<KBox<Mutex<Registered>>>> = SetOnce::new();

/// Sets up the module; nothing is registered so far.
pub(crate) fn set_up() -> Result {
    let registered = new_mutex!(Registered::default(), "luo_test::REGISTERED");
    REGISTERED.populate(KBox::pin_init(registered, GFP_KERNEL)?);
    Ok(())
}

fn with<T>(work: impl FnOnce(&mut Registered) -> Result<T>) -> Result<T> {
    work(&mut REGISTERED.as_ref().ok_or(ENODEV)?.lock())
}

/// Registers the handler, or unregisters it with its FLB.
pub(crate) fn handler(is_there: bool) -> Result {
    with(|registered| {
        if is_there {
            // A second registration fails, and the first one stays as it is.
            let handler = HANDLER.register()?;
            registered.handler = Some(Arc::new(handler, GFP_KERNEL)?);
        } else {
            registered.object = None;
            registered.handler = None;
        }
        Ok(())
    })
}

/// Registers the handler of plain files, or unregisters it.
pub(crate) fn plain(is_there: bool) -> Result {
    with(|registered| {
        if is_there {
            registered.plain = Some(PLAIN.register()?);
        } else {
            registered.plain = None;
        }
        Ok(())
    })
}

/// Makes files depend on the FLB, or ends this dependence.
pub(crate) fn object(is_there: bool) -> Result {
    with(|registered| {
        if is_there {
            let handler = registered.handler.clone().ok_or(ENODEV)?;
            let object = OBJECT.register(handler)?;
            registered.object = Some(object);
        } else {
            registered.object = None;
        }
        Ok(())
    })
}

/// Registers the handler of plain files; for good, that of counted files and the FLB that counts
/// these.
pub(crate) fn others() -> Result {
    plain(true)?;
    with(|registered| {
        let handler = Arc::new(COUNTED.register()?, GFP_KERNEL)?;
        registered.counted = Some(COUNT.register(handler)?);
        Ok(())
    })
}

/// Holds the FLB for the next kernel, or gives it back.
pub(crate) fn hold_outgoing(is_held: bool) -> Result {
    with(|registered| {
        registered.outgoing = is_held.then(|| OBJECT.outgoing()).transpose()?;
        Ok(())
    })
}

/// Holds the FLB of the previous kernel, or gives it back.
pub(crate) fn hold_incoming(is_held: bool) -> Result {
    with(|registered| {
        registered.incoming = is_held.then(|| OBJECT.incoming()).transpose()?;
        Ok(())
    })
}
