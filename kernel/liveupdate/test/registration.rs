// SPDX-License-Identifier: GPL-2.0

//! Handler and object come and go, as those of a module that is loaded and unloaded.

use kernel::{
    liveupdate::{
        FlbRegistration,
        HandlerRegistration,
        IncomingObject,
        OutgoingObject, //
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
    files::{
        TestHandler,
        HANDLER, //
    },
    object::{
        TestObject,
        OBJECT, //
    },
};

/// What is registered and held.
#[derive(Default)]
struct Registered {
    incoming: Option<IncomingObject<TestObject>>,
    outgoing: Option<OutgoingObject<TestObject>>,
    object: Option<FlbRegistration<TestObject, TestHandler>>,
    handler: Option<Arc<HandlerRegistration<TestHandler>>>,
}

static REGISTERED: SetOnce<Pin<KBox<Mutex<Registered>>>> = SetOnce::new();

/// Nothing is registered so far.
pub(crate) fn set_up() -> Result {
    let registered = new_mutex!(Registered::default(), "luo_test::REGISTERED");
    REGISTERED.populate(KBox::pin_init(registered, GFP_KERNEL)?);
    Ok(())
}

fn with<T>(work: impl FnOnce(&mut Registered) -> Result<T>) -> Result<T> {
    work(&mut REGISTERED.as_ref().ok_or(ENODEV)?.lock())
}

/// Registers the handler, or unregisters it with its object.
pub(crate) fn handler(is_there: bool) -> Result {
    with(|registered| {
        if is_there {
            // One that is there already is none of the new one's business: let it fail.
            let handler = HANDLER.register()?;
            registered.handler = Some(Arc::new(handler, GFP_KERNEL)?);
        } else {
            registered.object = None;
            registered.handler = None;
        }
        Ok(())
    })
}

/// Makes files depend on the object, or not any more.
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

/// Holds the object for the next kernel, or gives it back.
pub(crate) fn hold_outgoing(is_held: bool) -> Result {
    with(|registered| {
        registered.outgoing = is_held.then(|| OBJECT.outgoing()).transpose()?;
        Ok(())
    })
}

/// Holds the object of the last kernel, or gives it back.
pub(crate) fn hold_incoming(is_held: bool) -> Result {
    with(|registered| {
        registered.incoming = is_held.then(|| OBJECT.incoming()).transpose()?;
        Ok(())
    })
}
