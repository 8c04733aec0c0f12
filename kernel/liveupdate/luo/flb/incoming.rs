// SPDX-License-Identifier: GPL-2.0

//! Objects that came from the last kernel.

use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex, //
};
use luo_core::{
    lifecycle::Retrieval,
    name::Compatible,
    refs::{
        Left,
        Refs, //
    }, //
};

use super::Flb;
use crate::{
    ffi::flb::{
        Object,
        RawFlb,
        RetrievedFlb, //
    },
    show::Show, //
};

/// An object that came from the last kernel. Its name is what it is known by: the definition in this
/// kernel may come, go and come again with its module.
#[pin_data]
struct IncomingFlb {
    compatible: Compatible,
    data: u64,
    #[pin]
    life: Mutex<Life>,
}

/// What has become of it.
enum Life {
    /// Files depend on it, or somebody uses it.
    Used {
        refs: Refs,
        retrieval: Retrieval<RetrievedFlb>,
    },
    /// The last file was finished.
    Finished,
}

/// All objects that came from the last kernel; there are as many as fit into one page.
pub(crate) struct IncomingFlbs {
    /// Whether the last kernel wrote any down; it may have had none.
    came: bool,
    flbs: KVec<Pin<KBox<IncomingFlb>>>,
}

impl IncomingFlbs {
    /// Nothing came from a last kernel.
    pub(crate) const fn none() -> Self {
        Self {
            came: false,
            flbs: KVec::new(),
        }
    }

    /// What came has no objects so far.
    pub(crate) const fn empty() -> Self {
        Self {
            came: true,
            flbs: KVec::new(),
        }
    }

    /// Whether there is one of this name.
    pub(crate) fn has(&self, compatible: &Compatible) -> bool {
        self.flbs.iter().any(|flb| flb.compatible == *compatible)
    }

    /// Adds one on which `files` files depend.
    pub(crate) fn add(&mut self, compatible: Compatible, data: u64, files: u64) -> Result {
        let life = Life::Used {
            refs: Refs::new(files),
            retrieval: Retrieval::PENDING,
        };
        let flb = KBox::pin_init(
            pin_init!(IncomingFlb {
                compatible,
                data,
                life <- new_mutex!(life, "luo::IncomingFlb::life"),
            }),
            GFP_KERNEL,
        )?;
        Ok(self.flbs.push(flb, GFP_KERNEL)?)
    }

    /// The live object, retrieved if nobody has asked before; to be given back by [`Self::put`].
    ///
    /// # Errors
    ///
    /// `ENODATA` if nothing came from the last kernel or the object is finished, `ENOENT` if no
    /// object of this name came, `EBUSY` if another definition of this name has it, `ENODEV` if the
    /// module is being unloaded, or why it could not be retrieved, each time the same.
    pub(crate) fn get(&self, raw: &RawFlb) -> Result<Object> {
        if !self.came {
            return Err(ENODATA);
        }
        let flb = self.find(raw)?.ok_or(ENOENT)?;
        let mut life = flb.life.lock();
        let Life::Used { refs, retrieval } = &mut *life else {
            return Err(ENODATA);
        };
        let retrieved = retrieve(retrieval, raw, flb.data)?;
        if !retrieved.is_of(raw) {
            return Err(EBUSY);
        }
        let object = retrieved.object();
        refs.enter(|| Ok::<(), Error>(()))?;
        Ok(object)
    }

    /// Gives back what [`Self::get`] gave.
    pub(crate) fn put(&self, raw: &RawFlb) {
        if let Ok(Some(flb)) = self.find(raw) {
            flb.leave(raw);
        }
    }

    /// A file that depended on an object is finished.
    ///
    /// Nothing happens if no object of this name came: files may depend on more objects in this
    /// kernel than they did in the last.
    pub(crate) fn leave(&self, flb: &Flb) {
        if let Some(incoming) = flb.incoming().and_then(|at| self.flbs.get(at)) {
            incoming.leave(flb.raw());
        }
    }

    /// Where the object of this name is.
    pub(crate) fn position(&self, compatible: &Compatible) -> Option<usize> {
        self.flbs
            .iter()
            .position(|flb| flb.compatible == *compatible)
    }

    fn find(&self, raw: &RawFlb) -> Result<Option<&IncomingFlb>> {
        let at = self.position(&raw.compatible()?);
        Ok(at.and_then(|at| self.flbs.get(at)).map(|flb| &**flb))
    }
}

impl IncomingFlb {
    /// One less uses it. After the last one it is finished.
    fn leave(&self, raw: &RawFlb) {
        let mut life = self.life.lock();
        let Life::Used { refs, retrieval } = &mut *life else {
            pr_warn!(
                "'{}' is finished, but it was put once more\n",
                Show(self.compatible)
            );
            return;
        };
        if refs.leave() != Left::Nobody {
            return;
        }
        if retrieval.status() == 0 && raw.pin().is_err() {
            // Whoever asks when the module is there again is the last to put it.
            pr_warn!(
                "'{}' is not finished: its module goes\n",
                Show(self.compatible)
            );
            return;
        }
        // What was never asked for is retrieved so that it can be finished.
        if let Err(error) = retrieve(retrieval, raw, self.data) {
            pr_warn!(
                "'{}' could not be retrieved: {error:?}\n",
                Show(self.compatible)
            );
        }
        if let Some(retrieved) = core::mem::take(retrieval).into_done() {
            retrieved.finish();
        }
        *life = Life::Finished;
    }
}

/// Retrieves an object once. That its module is being unloaded is no attempt.
fn retrieve<'a>(
    retrieval: &'a mut Retrieval<RetrievedFlb>,
    raw: &RawFlb,
    data: u64,
) -> Result<&'a RetrievedFlb> {
    let module = raw.pin()?;
    let done = retrieval.get_or_try(|| {
        raw.retrieve(data, module)
            .map_err(|error| error.to_errno().saturating_neg())
    });
    done.map_err(|errno| Error::from_errno(errno.saturating_neg()))
}
