// SPDX-License-Identifier: MIT OR Apache-2.0

//! A client in an update: what it does at the agent's words, and without them.

use std::time::Instant;

use super::state::{Session, Work};
use super::workload::{Resumed, Workload};
use super::{Client, soon};
use crate::{ErrorKind, Event};

impl Client {
    /// Takes part again.
    pub(super) fn take_part<W: Workload>(
        &mut self,
        workload: &mut W,
    ) -> std::result::Result<(), W::Error> {
        let joined = self.provider.participate(&[&self.label], soon());
        let is_over = self.standstill.is_over(&joined);
        let joined = joined.map(|participant| self.participant = Some(participant));
        if is_over {
            self.resume(workload)?;
        }
        Ok(joined?)
    }

    pub(super) fn handle_events<W: Workload>(&mut self, workload: &mut W) {
        while let Some(participant) = &mut self.participant {
            let next = participant.next();
            if let Ok(Some(event)) = &next {
                self.standstill.heard(event);
            }
            let done = match next {
                Ok(None) => return,
                Ok(Some(Event::Prepare { generation, deadline })) => {
                    self.prepare(workload, generation, deadline)
                }
                Ok(Some(Event::Abort { reason, .. })) => {
                    workload.report(&format!("the update is off: {reason}"));
                    self.resume(workload)
                }
                // The kernel is left at any moment.
                Ok(Some(Event::Commit { .. })) => Ok(()),
                Err(error) => {
                    workload.report(&format!("the agent has gone: {error}"));
                    self.participant = None;
                    if self.is_ready() {
                        self.standstill.hung_up();
                    }
                    Ok(())
                }
            };
            if let Err(error) = done {
                workload.report(&format!("{error:#}"));
            }
        }
    }

    fn prepare<W: Workload>(
        &mut self,
        workload: &mut W,
        generation: u64,
        deadline: Instant,
    ) -> std::result::Result<(), W::Error> {
        let made = self.make_ready(workload, deadline);
        let Some(participant) = &self.participant else { return Ok(()) };
        let (reason, is_unknown) = match made {
            Ok(()) => match participant.ready(generation, soon()) {
                Ok(()) => {
                    workload.ready();
                    return Ok(());
                }
                Err(error) if matches!(error.kind(), ErrorKind::NoFile | ErrorKind::Refused) => {
                    (format!("{error:#}"), error.kind() == ErrorKind::NoFile)
                }
                // The agent may count on this client. It tells how the update ends, or hangs up.
                Err(error) => return Err(error.into()),
            },
            Err(error) => (format!("{error:#}"), false),
        };
        workload.report(&format!("not ready: {reason}"));
        let refused = participant.refuse(generation, &reason, soon());
        // It works again, whatever the agent has heard.
        let resumed = self.resume(workload);
        if is_unknown {
            // The agent does not have the session, so it would not cross: there is a new one soon.
            self.session = Session::None;
        }
        resumed?;
        Ok(refused?)
    }

    pub(super) fn make_ready<W: Workload>(
        &mut self,
        workload: &mut W,
        deadline: Instant,
    ) -> std::result::Result<(), W::Error> {
        if self.is_ready() {
            // The agent asks twice, or the workload could not be resumed since: it stands still for this update now.
            self.work = Work::Stopped;
            return Ok(());
        }
        self.complete(workload)?;
        let Session::Open(session) = &self.session else { return Ok(()) };
        self.work = Work::Stopped;
        workload.stop(session, deadline)?;
        let Session::Open(session) = std::mem::replace(&mut self.session, Session::None) else {
            return Ok(());
        };
        match session.ready() {
            Ok(ready) => {
                self.session = Session::Ready(ready);
                Ok(())
            }
            Err(failed) => {
                let (session, error) = failed.into_parts();
                self.session = Session::Open(session);
                Err(error.into())
            }
        }
    }

    /// Lets the workload work again, once no kernel can take it for complete.
    pub(super) fn resume<W: Workload>(
        &mut self,
        workload: &mut W,
    ) -> std::result::Result<(), W::Error> {
        if self.work == Work::Goes {
            return Ok(());
        }
        self.work = Work::Stuck;
        self.session = match std::mem::replace(&mut self.session, Session::None) {
            Session::Ready(ready) => match ready.abort() {
                Ok(session) => Session::Open(session),
                Err(failed) => {
                    let (ready, error) = failed.into_parts();
                    self.session = Session::Ready(ready);
                    return Err(error.into());
                }
            },
            other => other,
        };
        let resumed = workload.resume()?;
        self.work = Work::Goes;
        if resumed == Resumed::Anew {
            // The files are free again when both this process and the agent have closed it.
            self.session = Session::None;
            match self.provider.discard(&self.label, soon()) {
                Err(error) if error.kind() != ErrorKind::NoFile => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}
