// SPDX-License-Identifier: MIT OR Apache-2.0

//! What administrators do: load, check, update, discard, reload.

use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::check::{
    cannot_carry, no_kexec, no_target, of_cmdline, of_machine, of_target, sorted, stops,
};
use super::error::committing;
use super::{Agent, State};
use crate::policy::Policy;
use crate::system::names::MachineNames;
use crate::target::cmdline::{self, CmdlineFault};
use crate::target::{self, Facts, Limits};
use crate::update::{BeginError, CancelError, Generation, Method, Order, Phase};
use crate::varlink::manager::{self as words, Error, Finding};

/// A kernel that an administrator gives.
#[derive(Debug)]
pub struct Load {
    /// The image.
    pub kernel: File,
    /// The initrd.
    pub initrd: Option<File>,
    /// The command line; `None` is that of the running kernel.
    pub cmdline: Option<String>,
}

/// The kernel that luod has loaded.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) facts: Arc<Facts>,
    pub(super) shown: words::Target,
    /// Why it would take nothing over, whatever it can read.
    cmdline: Option<CmdlineFault>,
    /// It is loaded again when an update begins, for another program may have loaded one since.
    image: Arc<Load>,
}

impl Agent {
    /// The facts of an image. It is read on another thread.
    async fn read(&self, kernel: &File) -> Result<Arc<Facts>, Error> {
        let bad = |message: String| Error::BadKernel { message };
        let copy = kernel.try_clone().map_err(|error| bad(error.to_string()))?;
        let read = elsewhere(move || {
            let limits = Limits::default();
            target::load(&copy, &limits).map(|bytes| Arc::new(target::read(&bytes, &limits)))
        });
        read.await?.map_err(|error| bad(super::error::sentence(&error)))
    }

    /// Loads the next kernel in place of the one that is loaded.
    ///
    /// # Errors
    ///
    /// Those of `Load()` in the interface.
    pub async fn load(self: &Rc<Self>, load: Load) -> Result<Vec<Finding>, Error> {
        self.alone(self.load_now(load)).await
    }

    /// Loads or unloads a kernel, while nobody else does. An update goes to the kernel that was checked, or it is
    /// off.
    async fn alone<T>(
        self: &Rc<Self>,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.refuse_while_committing()?;
        let is_loading = self.change(|state| {
            state.machine.loading();
            std::mem::replace(&mut state.is_loading, true)
        });
        if is_loading {
            return Err(self.state().is_being_loaded());
        }
        let done = work.await;
        self.state().is_loading = false;
        done
    }

    async fn load_now(self: &Rc<Self>, load: Load) -> Result<Vec<Finding>, Error> {
        let facts = self.read(&load.kernel).await?;
        let boot = self.config.boot.clone();
        let running = boot.cmdline();
        let of_running = running.as_deref().unwrap_or_default().to_owned();
        let cmdline = load.cmdline.map_or(running, Ok)?;
        let fault = cmdline::fault(&cmdline, &of_running);
        let image = Arc::new(Load { cmdline: Some(cmdline.clone()), ..load });
        self.load_image(&image).await?;
        let shown = words::Target {
            release: facts.release.clone(),
            container: facts.layers.to_string(),
            cmdline,
        };
        tracing::info!("loaded {}", shown.release.as_deref().unwrap_or("a kernel"));
        let target = Loaded { facts: Arc::clone(&facts), shown, cmdline: fault, image };
        Ok(self.change(|state| {
            state.target = Some(target);
            state.machine.loaded();
            let (formats, evidence, shown) = state.formats();
            let mut findings = of_target(&facts, &formats, evidence, shown);
            findings.extend(fault.map(of_cmdline));
            sorted(findings)
        }))
    }

    async fn load_image(&self, image: &Arc<Load>) -> Result<(), Error> {
        let (boot, image) = (self.config.boot.clone(), Arc::clone(image));
        let loaded = elsewhere(move || {
            boot.load(
                &image.kernel,
                image.initrd.as_ref(),
                image.cmdline.as_deref().unwrap_or_default(),
            )
        });
        Ok(loaded.await??)
    }

    /// Forgets the kernel that is loaded.
    ///
    /// # Errors
    ///
    /// Those of `Unload()` in the interface.
    pub async fn unload(self: &Rc<Self>) -> Result<(), Error> {
        let boot = self.config.boot.clone();
        self.alone(async { Ok(elsewhere(move || boot.unload()).await??) }).await?;
        self.change(|state| {
            state.target = None;
            state.machine.unloaded();
        });
        Ok(())
    }

    pub(super) fn refuse_while_committing(&self) -> Result<(), Error> {
        if matches!(self.state().machine.phase(), Phase::Committing { .. }) {
            return Err(Error::Committing { message: committing() });
        }
        Ok(())
    }

    /// Checks this machine, and a target kernel: the one given, or the one that is loaded.
    ///
    /// # Errors
    ///
    /// Those of `Check()` in the interface.
    pub async fn check(
        self: &Rc<Self>,
        kernel: Option<File>,
        cmdline: Option<&str>,
    ) -> Result<Vec<Finding>, Error> {
        let method = self.default_method();
        let mut findings = self.findings(kernel, method).await?;
        let running = self.config.boot.cmdline().unwrap_or_default();
        let fault = cmdline.and_then(|cmdline| cmdline::fault(cmdline, &running));
        findings.extend(fault.map(of_cmdline));
        Ok(sorted(findings))
    }

    /// The way in which the kernel is left if nothing else is said.
    fn default_method(&self) -> Method {
        if self.state().store.is_managed() { Method::Systemctl } else { Method::Now }
    }

    /// The findings that speak against an update by this method.
    async fn findings(
        self: &Rc<Self>,
        kernel: Option<File>,
        method: Method,
    ) -> Result<Vec<Finding>, Error> {
        let device = self.config.device.clone();
        let mut findings = elsewhere(move || of_machine(&device)).await?;
        if method == Method::Systemctl && self.default_method() == method {
            let boot = self.config.boot.clone();
            let sessions = self.state().store.usage().map_or(0, |(_, used)| used);
            let carries = elsewhere(move || boot.carries(sessions)).await?;
            findings.extend(carries.err().map(cannot_carry));
        }
        let is_loaded = self.ask_if_loaded().await?;
        findings.extend(is_loaded.as_ref().err().map(no_kexec));
        let facts = match (&kernel, &is_loaded) {
            (Some(kernel), _) => Some(self.read(kernel).await?),
            (None, Ok(is_loaded)) => {
                self.note_loaded(*is_loaded);
                self.state().target.as_ref().map(|target| Arc::clone(&target.facts))
            }
            (None, Err(_)) => None,
        };
        let state = self.state();
        let loaded = state.target.as_ref().filter(|_| kernel.is_none());
        findings.extend(loaded.and_then(|it| it.cmdline).map(of_cmdline));
        findings.extend(state.check());
        match facts {
            Some(facts) => {
                let (formats, evidence, shown) = state.formats();
                findings.extend(of_target(&facts, &formats, evidence, shown));
            }
            None if is_loaded.is_ok() => {
                findings.push(no_target(state.machine.phase() != Phase::Idle));
            }
            None => {}
        }
        Ok(sorted(findings))
    }

    /// Whether a kernel is loaded. Another program may have loaded or unloaded one meanwhile.
    pub(super) async fn is_loaded(self: &Rc<Self>) -> Result<bool, Error> {
        let is_loaded = self.ask_if_loaded().await??;
        self.note_loaded(is_loaded);
        Ok(is_loaded)
    }

    async fn ask_if_loaded(&self) -> Result<liblu::Result<bool>, Error> {
        let boot = self.config.boot.clone();
        elsewhere(move || boot.is_loaded()).await
    }

    fn note_loaded(self: &Rc<Self>, is_loaded: bool) {
        self.change(|state| {
            let was_loaded = state.machine.phase() != Phase::Idle;
            match (was_loaded, is_loaded) {
                (false, true) => state.machine.loaded(),
                (true, false) => {
                    state.target = None;
                    state.machine.unloaded();
                }
                (true, true) | (false, false) => {}
            }
        });
    }

    /// Checks, and begins an update. With `dry_run` it does not begin, and there is no generation.
    ///
    /// # Errors
    ///
    /// Those of `Update()` in the interface.
    pub async fn update(
        self: &Rc<Self>,
        order: &words::Update,
    ) -> Result<(Vec<Finding>, Option<Generation>), Error> {
        {
            let mut state = self.state();
            if state.generation().is_some() || state.is_checking || state.is_loading {
                let message = "an update is in progress; see `luctl status`".to_owned();
                return Err(Error::InProgress { message, phase: state.phase() });
            }
            state.is_checking = true;
            state.is_cancelled = false;
        }
        self.touch();
        let begun = self.check_and_begin(order).await;
        self.state().is_checking = false;
        self.touch();
        begun
    }

    async fn check_and_begin(
        self: &Rc<Self>,
        order: &words::Update,
    ) -> Result<(Vec<Finding>, Option<Generation>), Error> {
        let method = match order.method {
            Some(words::Method::Systemctl) => Method::Systemctl,
            Some(words::Method::Now) => Method::Now,
            None => self.default_method(),
        };
        let findings = self.findings(None, method).await?;
        let overridden = order.r#override.as_deref().unwrap_or_default();
        if stops(&findings, order.accept_unknown.unwrap_or_default(), overridden) {
            let message = "the checks have found something that stops the update".to_owned();
            return Err(Error::CheckFailed { message, findings });
        }
        if order.dry_run.unwrap_or_default() {
            return Ok((findings, None));
        }
        let image = self.state().target.as_ref().map(|target| Arc::clone(&target.image));
        if let Some(image) = image {
            self.load_image(&image).await?;
        }
        let generation = {
            let mut guard = self.state();
            let state = &mut *guard;
            if state.is_cancelled {
                let message = "an administrator has called the update off".to_owned();
                return Err(Error::Aborted { message, owner: None });
            }
            if state.is_loading {
                return Err(state.is_being_loaded());
            }
            let deadline = order.deadline.map(Duration::from_millis);
            let deadline = deadline.unwrap_or_else(|| state.policy.default_deadline());
            let required = state.required();
            let begun = state.begin(Order { method, deadline, required });
            let generation = begun.map_err(|error| match error {
                BeginError::NotLoaded => Error::NotLoaded { message: error.to_string() },
                BeginError::InProgress => {
                    Error::InProgress { message: error.to_string(), phase: state.phase() }
                }
            })?;
            tracing::info!("update {}: clients prepare", generation.0);
            generation
        };
        if let Err(error) = self.announce().await {
            let why = format!("sessions are not stored: {error}");
            self.change(|state| state.machine.not_begun(&why));
        }
        Ok((findings, Some(generation)))
    }

    /// Tells those who watch that something has changed.
    fn touch(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes of the phase and of who is awaited. The value itself means nothing.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The progress of an update.
    ///
    /// # Errors
    ///
    /// The update is off.
    pub fn progress(&self, generation: Generation) -> Result<words::Progress, Error> {
        let state = self.state();
        if state.generation() != Some(generation) {
            let message = state.last_failure.clone().unwrap_or_default();
            let owner = state.failed_owner.as_ref().map(ToString::to_string);
            return Err(Error::Aborted { message, owner });
        }
        let (awaited, unnamed) = (Some(state.awaited()), state.unnamed());
        let (phase, generation) = (state.phase(), Some(generation.0));
        Ok(words::Progress { phase, generation, findings: None, awaited, unnamed })
    }

    /// Calls the update off.
    ///
    /// # Errors
    ///
    /// Those of `Cancel()` in the interface.
    pub fn cancel(self: &Rc<Self>) -> Result<(), Error> {
        {
            let mut state = self.state();
            if state.is_checking && state.generation().is_none() {
                state.is_cancelled = true;
                return Ok(());
            }
        }
        self.change(|state| state.machine.cancel()).map_err(|error| match error {
            CancelError::NoUpdate => Error::NoUpdate { message: error.to_string() },
            CancelError::Committing => Error::Committing { message: error.to_string() },
        })
    }

    /// Reads the policy again. The warnings are sentences.
    ///
    /// # Errors
    ///
    /// Those of `Reload()` in the interface: the old policy stays.
    pub async fn reload(self: &Rc<Self>) -> Result<Vec<String>, Error> {
        let sources = self.config.sources.clone();
        let loaded = elsewhere(move || Policy::load(&sources, &MachineNames)).await?;
        let (policy, warnings) = loaded.inspect_err(|error| {
            tracing::error!("the old policy stays: {}", super::error::sentence(error));
        })?;
        let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        for warning in &warnings {
            tracing::warn!("policy: {warning}");
        }
        self.change(|state| {
            state.machine.set_limits(policy.limits());
            state.policy = policy;
            state.bad_policy = None;
        });
        tracing::info!("the policy was read again");
        Ok(warnings)
    }
}

impl State {
    fn is_being_loaded(&self) -> Error {
        let message = "another kernel is being loaded; try again soon".to_owned();
        Error::InProgress { message, phase: self.phase() }
    }
}

/// Does on another thread what takes time.
pub(super) async fn elsewhere<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Unavailable { message: error.to_string() })
}
