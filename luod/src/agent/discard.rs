// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions that an administrator gives up.

use std::rc::Rc;

use super::manage::elsewhere;
use super::start::Stored;
use super::{Agent, Session};
use crate::custody::Key;
use crate::registry::Direction;
use crate::varlink::manager::{self as words, Error};

impl Agent {
    /// Gives a session of any owner up. An incoming one is finished: its files are destroyed.
    ///
    /// # Errors
    ///
    /// Those of `Discard()` in the interface.
    pub async fn discard_any(self: &Rc<Self>, discard: &words::Discard) -> Result<(), Error> {
        self.refuse_while_committing()?;
        let no_session = || Error::NoSession {
            message: format!(
                "there is no such session {:?}; see `luctl list --all`, and give its owner with --owner and, for one \
                 of the previous kernel, --incoming",
                discard.label
            ),
            label: discard.label.clone(),
        };
        let direction = match discard.direction.as_str() {
            "outgoing" => Direction::Outgoing,
            "incoming" => Direction::Incoming,
            _ => return Err(no_session()),
        };
        let Some(owner) = &discard.owner else {
            return self.discard_unknown(discard, direction).await.ok_or_else(no_session);
        };
        let owner = owner.parse().map_err(|_| no_session())?;
        let label = discard.label.parse().map_err(|_| no_session())?;
        let key = Key { owner, label };
        let released = self.state().custody.release(&key, direction);
        let released = released.ok_or_else(no_session)?;
        self.state().forget(&released);
        self.mark_dirty();
        tracing::warn!(
            "an administrator has given up session {:?} of {}",
            discard.label,
            key.owner
        );
        finish(released.fd.session).await?;
        let _ = self.flush().await;
        Ok(())
    }

    /// Gives up a session that luod does not know, by the kernel's name.
    async fn discard_unknown(&self, discard: &words::Discard, direction: Direction) -> Option<()> {
        let unknown = {
            let mut state = self.state();
            let is_it = |it: &super::Unknown| {
                it.shown_name() == discard.label && it.direction() == direction
            };
            let at = state.unknown.iter().position(is_it)?;
            let unknown = state.unknown.remove(at);
            state.store.forget_unknown(&unknown.name);
            unknown
        };
        tracing::warn!("an administrator has given up {:?}, which luod did not know", unknown.name);
        match unknown.fd {
            // Only a session that is finished is gone on all kernels.
            Stored::Session(held) => {
                if let Err(error) = finish(held.session).await {
                    tracing::error!("{:?} cannot be finished: {error:?}", unknown.name);
                }
            }
            other @ Stored::Other(_) => super::close_elsewhere(other),
        }
        let _ = self.flush().await;
        Some(())
    }
}

/// Finishes a session on another thread, since the kernel may have much memory to give back.
async fn finish(session: Session) -> Result<(), Error> {
    let finished = elsewhere(move || match session {
        Session::Outgoing(session) => {
            drop(session);
            Ok(())
        }
        Session::Incoming(session) => session.finish().map(drop).map_err(liblu::Error::from),
    });
    Ok(finished.await??)
}
