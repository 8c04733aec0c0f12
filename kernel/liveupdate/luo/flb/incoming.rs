// SPDX-License-Identifier: GPL-2.0

//! FLBs of the previous kernel.

use kernel::{
    module::ModuleRef,
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
    gate::{
        Gate,
        Pass, //
    },
    show::Show, //
};

/// An FLB of the previous kernel. It is known by its name: the definition in this kernel may come,
/// go and come again with its module.
#[pin_data]
pub(crate) struct IncomingFlb {
    compatible: Compatible,
    data: u64,
    #[pin]
    life: Mutex<Life>,
}

/// The state of an FLB of the previous kernel.
enum Life {
    /// Files depend on it, or its live object has holders.
    Used {
        refs: Refs,
        retrieval: Retrieval<RetrievedFlb>,
    },
    /// The last file was finished.
    Finished,
}

/// The FLBs of the previous kernel; there are as many as fit into one page.
pub(crate) enum IncomingFlbs {
    /// No FLBs were handed over: there was no live update, or the previous kernel had none.
    Nothing,
    /// These were handed over.
    Came(KVec<Pin<KBox<IncomingFlb>>>),
    /// The handover is damaged. To its users this must not look like a cold boot: devices may still
    /// do DMA.
    Damaged,
}

impl IncomingFlbs {
    fn all(&self) -> &[Pin<KBox<IncomingFlb>>] {
        match self {
            Self::Came(flbs) => flbs,
            Self::Nothing | Self::Damaged => &[],
        }
    }

    /// The live object, to be given back by [`Self::put`]. The first call retrieves it.
    ///
    /// # Errors
    ///
    /// `ENODATA` if nothing was handed over or the FLB is finished, `ENOENT` if no FLB of this name
    /// was handed over, `EIO` if the handover is damaged, `EBUSY` if another definition of this
    /// name has it or it would have to be retrieved while the gate is closed, `ENODEV` if the
    /// module is being unloaded, or the error of the retrieval, each time the same.
    pub(crate) fn get(&self, raw: &RawFlb, gate: &Gate) -> Result<Object> {
        let flb = match self {
            Self::Nothing => return Err(ENODATA),
            Self::Damaged => return Err(EIO),
            Self::Came(_) => self.find(raw)?.ok_or(ENOENT)?,
        };
        let mut life = flb.life.lock();
        let Life::Used { refs, retrieval } = &mut *life else {
            return Err(ENODATA);
        };
        let pass = retrieval.is_pending().then(|| gate.enter_flb());
        let pass = pass.transpose()?;
        let retrieved = retrieve(retrieval, raw, flb.data, raw.pin()?)?;
        drop(pass);
        if !retrieved.is_of(raw) {
            return Err(EBUSY);
        }
        let object = retrieved.object();
        refs.enter(|| Ok::<(), Error>(()))?;
        Ok(object)
    }

    /// Gives back the object that [`Self::get`] returned. While the gate is closed, the FLB is not
    /// finished before [`Self::tidy`].
    pub(crate) fn put(&self, raw: &RawFlb, gate: &Gate) {
        let Ok(Some(flb)) = self.find(raw) else {
            return;
        };
        let mut life = flb.life.lock();
        if flb.leave(&mut life) == Left::Last {
            if let Ok(pass) = gate.enter_flb() {
                flb.finish(&mut life, raw);
                drop(pass);
            }
        }
    }

    /// A file that depended on an FLB is finished.
    ///
    /// An FLB that was not handed over is no error: files may depend on more FLBs in this kernel
    /// than in the previous one.
    pub(crate) fn leave_file(&self, flb: &Flb, _pass: &Pass<'_>) {
        if let Some(incoming) = flb.incoming.and_then(|at| self.all().get(at)) {
            let mut life = incoming.life.lock();
            if incoming.leave(&mut life) == Left::Last {
                incoming.finish(&mut life, flb.raw());
            }
        }
    }

    /// Finishes the FLBs whose last holders left while the gate was closed.
    pub(crate) fn tidy(&self, _pass: &Pass<'_>) {
        for flb in self.all() {
            let mut life = flb.life.lock();
            if matches!(&*life, Life::Used { refs, .. } if refs.is_unused()) {
                life.finish();
            }
        }
    }

    /// The place of the FLB of this name.
    pub(crate) fn position(&self, compatible: &Compatible) -> Option<usize> {
        self.all()
            .iter()
            .position(|flb| flb.compatible == *compatible)
    }

    fn find(&self, raw: &RawFlb) -> Result<Option<&IncomingFlb>> {
        let at = self.position(&raw.compatible()?);
        Ok(at.and_then(|at| self.all().get(at)).map(|flb| &**flb))
    }
}

impl IncomingFlb {
    /// An FLB on which `files` files depend.
    pub(crate) fn new(compatible: Compatible, data: u64, files: u64) -> Result<Pin<KBox<Self>>> {
        let life = Life::Used {
            refs: Refs::new(files),
            retrieval: Retrieval::Pending,
        };
        KBox::pin_init(
            pin_init!(Self {
                compatible,
                data,
                life <- new_mutex!(life, "luo::IncomingFlb::life"),
            }),
            GFP_KERNEL,
        )
    }

    /// Its name.
    pub(crate) fn compatible(&self) -> &Compatible {
        &self.compatible
    }

    /// One user less.
    fn leave(&self, life: &mut Life) -> Left {
        match life {
            Life::Used { refs, .. } => refs.leave(),
            Life::Finished => {
                pr_warn!(
                    "'{}' is finished, but it was put once more\n",
                    Show(self.compatible)
                );
                Left::TooOften
            }
        }
    }

    /// Finishes it after its last user. It has to be retrieved for that.
    fn finish(&self, life: &mut Life, raw: &RawFlb) {
        let Life::Used { retrieval, .. } = &mut *life else {
            return;
        };
        if retrieval.is_pending() {
            let Ok(module) = raw.pin() else {
                // A later user, when the module is there again, is the last to put it.
                pr_warn!(
                    "'{}' is not finished: its module is being unloaded\n",
                    Show(self.compatible)
                );
                return;
            };
            if let Err(error) = retrieve(retrieval, raw, self.data, module) {
                pr_warn!(
                    "'{}' could not be retrieved: {error:?}\n",
                    Show(self.compatible)
                );
            }
        }
        life.finish();
    }
}

impl Life {
    /// Ends the life of a live object. An FLB that could not be retrieved keeps its error: it must
    /// not look like one that was not handed over.
    fn finish(&mut self) {
        let Self::Used { retrieval, .. } = self else {
            return;
        };
        if retrieval.done().is_none() {
            return;
        }
        if let Self::Used { retrieval, .. } = core::mem::replace(self, Self::Finished) {
            if let Some(retrieved) = retrieval.into_done() {
                retrieved.finish();
            }
        }
    }
}

/// Retrieves an FLB once, with its module pinned: the attempt with a module that is being unloaded
/// does not count.
fn retrieve<'a>(
    retrieval: &'a mut Retrieval<RetrievedFlb>,
    raw: &RawFlb,
    data: u64,
    module: ModuleRef,
) -> Result<&'a RetrievedFlb> {
    let done = retrieval.get_or_try(|| {
        raw.retrieve(data, module)
            .map_err(|error| error.to_errno().saturating_neg())
    });
    done.map_err(|errno| Error::from_errno(errno.saturating_neg()))
}
