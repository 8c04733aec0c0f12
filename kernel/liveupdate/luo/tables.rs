// SPDX-License-Identifier: GPL-2.0

//! Everything that is registered or held, over all sessions.

use kernel::{
    new_mutex,
    new_rwsem,
    prelude::*,
    sync::{
        Mutex,
        RwSem, //
    }, //
};

use crate::{
    ffi::{
        flb::RawFlb,
        handler::RawHandler, //
    },
    flb::{
        Flb,
        FlbList,
        IncomingFlbs, //
    },
    gate::Pass,
    handler::Handlers,
    identity::Identities, //
};

/// Handlers, FLBs, and the files that are held.
#[pin_data]
pub(crate) struct Tables {
    /// Handlers, and the FLBs that their files depend on.
    #[pin]
    pub(crate) handlers: RwSem<Handlers>,
    /// Registered FLBs.
    #[pin]
    pub(crate) flbs: Mutex<FlbList>,
    /// Identities of held files.
    #[pin]
    pub(crate) identities: Mutex<Identities>,
    /// FLBs of the previous kernel.
    pub(crate) incoming_flbs: IncomingFlbs,
}

impl Tables {
    /// Empty tables, but for the FLBs of the previous kernel.
    pub(crate) fn new(incoming_flbs: IncomingFlbs, flbs: FlbList) -> impl PinInit<Self> {
        pin_init!(Self {
            handlers <- new_rwsem!(Handlers::new(), "luo::Tables::handlers"),
            flbs <- new_mutex!(flbs, "luo::Tables::flbs"),
            identities <- new_mutex!(Identities::new(), "luo::Tables::identities"),
            incoming_flbs,
        })
    }

    /// Makes files of a handler depend on an FLB.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the handler is not registered, `EEXIST` if its files depend on the FLB already
    /// or there is another FLB of that name, `ENOSPC` if there are too many FLBs, `ENOMEM`.
    pub(crate) fn register_flb(
        &self,
        is_handler: impl Fn(&RawHandler) -> bool,
        raw: RawFlb,
        is_flb: impl Fn(&RawFlb) -> bool,
    ) -> Result {
        let mut handlers = self.handlers.write();
        let flbs = handlers.flbs_mut(is_handler).ok_or(EINVAL)?;
        if flbs.iter().any(|flb| is_flb(flb.raw())) {
            return Err(EEXIST);
        }
        flbs.reserve(1, GFP_KERNEL)?;
        let flb = Flb::new(raw, &self.incoming_flbs)?;
        let flb = self.flbs.lock().enter(flb, is_flb)?;
        flbs.push(flb, GFP_KERNEL)?;
        Ok(())
    }

    /// Makes files of a handler depend on an FLB no longer. Preserved files stay counted.
    ///
    /// # Errors
    ///
    /// `ENOENT` if they did not depend on it.
    pub(crate) fn unregister_flb(
        &self,
        is_handler: impl Fn(&RawHandler) -> bool,
        is_flb: impl Fn(&RawFlb) -> bool,
    ) -> Result {
        let mut handlers = self.handlers.write();
        let flbs = handlers.flbs_mut(is_handler).ok_or(ENOENT)?;
        let at = flbs.iter().position(|flb| is_flb(flb.raw()));
        let flb = flbs.remove(at.ok_or(ENOENT)?).map_err(|_| ENOENT)?;
        self.flbs.lock().leave(&flb);
        Ok(())
    }

    /// Removes a handler, and with it the dependence of its files on FLBs.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is not registered.
    pub(crate) fn unregister_handler(&self, is_it: impl Fn(&RawHandler) -> bool) -> Result {
        let flbs = self.handlers.write().remove(is_it).ok_or(ENOENT)?;
        let mut list = self.flbs.lock();
        flbs.iter().for_each(|flb| list.leave(flb));
        Ok(())
    }

    /// Runs the callbacks of FLBs whose last users left while the gate was closed.
    pub(crate) fn tidy(&self, pass: &Pass<'_>) {
        // No callback runs under the lock of the list.
        let left = || self.flbs.lock().left();
        while let Some(flb) = left() {
            flb.tidy(pass);
        }
        self.flbs.lock().sweep();
        self.incoming_flbs.tidy(pass);
    }
}
