// SPDX-License-Identifier: MIT OR Apache-2.0

//! luod, the agent of live updates.

use std::error::Error;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use clap::Parser;
use liblu::LiveUpdate;
use luod::agent::{Agent, Config, Passed, drive, sentence, start};
use luod::policy::Sources;
use luod::server::{Charges, Interface, Listener, serve};
use luod::system::boot::Machine;
use luod::system::logind::{self, Shutdown};
use luod::system::peer::Services;
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::timeout;

mod heap;
mod log;
mod manager;
mod signals;

use manager::Manager;
use signals::{Signals, watchdog};

/// The agent of live updates: holds the sessions of programs that survive an update of the kernel, and leads
/// them through it.
///
/// Under systemd it is started by luod.service. Without, it listens on sockets of its own.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The folder of the sockets, if no service manager passes any
    #[arg(long, value_name = "DIR", default_value = "/run/luod")]
    runtime: PathBuf,
    /// The device of live updates
    #[arg(long, value_name = "PATH", default_value = liveupdate_uapi::DEVICE)]
    device: PathBuf,
    /// Read the policy beneath another root
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// The program that tells systemd to leave the kernel
    #[arg(long, value_name = "PROGRAM", default_value = "systemctl")]
    systemctl: PathBuf,
}

fn main() -> ExitCode {
    heap::return_large_pieces();
    log::start();
    end_on_panic();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", sentence(&*error));
            ExitCode::FAILURE
        }
    }
}

/// A defect ends luod at once, in whatever task it is: the service manager has all that the next one needs. A
/// luod that goes on without one of its tasks would keep clients waiting.
fn end_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        tracing::error!("luod has a defect, and ends: {panic}");
        std::process::abort();
    }));
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    LocalSet::new().block_on(&runtime, agent(arguments))
}

async fn agent(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut passed = Vec::new();
    let (mut for_clients, mut for_administrators) = (None, None);
    for (name, fd) in liblu::take_passed()? {
        match name.as_str() {
            AGENT => for_clients = Some(fd),
            MANAGER => for_administrators = Some(fd),
            _ => passed.push((name, fd)),
        }
    }
    let manager = Manager::find()?;
    let config = Config {
        device: LiveUpdate::at(&arguments.device),
        boot: Arc::new(Machine { systemctl: arguments.systemctl.clone() }),
        boot_id: std::fs::read_to_string(BOOT_ID)?.trim().into(),
        sources: Sources::beneath(&arguments.root),
        services: if manager.is_some() { Services::ByCgroup } else { Services::None },
        unread: UNREAD,
    };
    // Before sessions are taken over: a signal meanwhile must not lose them.
    let signals = Signals::new()?;
    let passed = Passed { fds: passed, manager: manager.as_ref().and_then(Manager::store) };
    let agent = start(config, passed).await?;
    if manager.is_some()
        && let Ok(Ok(true)) = timeout(LOGIND_PAUSE, logind::is_shutting_down()).await
    {
        agent.shutdown_seen(true);
    }
    for (interface, fd, name, mode) in [
        (Interface::Agent, for_clients, luod::varlink::agent::NAME, 0o666),
        (Interface::Manager, for_administrators, luod::varlink::manager::NAME, 0o600),
    ] {
        let listener = listener(fd, arguments, name, mode)?;
        // Of its own: clients must not keep administrators out.
        let charges = Rc::new(Charges::default());
        let serving = serve(Rc::clone(&agent), listener, interface, charges);
        tokio::task::spawn_local(serving);
    }
    tokio::task::spawn_local(drive(Rc::clone(&agent)));
    if manager.is_some() {
        tokio::task::spawn_local(follow_logind(Rc::clone(&agent)));
    }
    if let Some(manager) = &manager {
        tokio::task::spawn_local(watchdog(manager.clone()));
    }
    signals.serve(&agent, manager.as_ref()).await;
    agent.stop().await;
    // Without an end of the connections: that would be the end of all clients for an update.
    std::process::exit(0);
}

/// Lets clients prepare for a shutdown that did not come from luod.
async fn follow_logind(agent: Rc<Agent>) {
    // It may come back, or come late.
    loop {
        let _ = follow_once(&agent).await;
        tokio::time::sleep(LOGIND_PAUSE).await;
    }
}

/// A pause before logind is looked for again.
const LOGIND_PAUSE: std::time::Duration = std::time::Duration::from_secs(5);

async fn follow_once(agent: &Rc<Agent>) -> zbus::Result<()> {
    let followed = logind::follow(|shutdown| {
        let agent = Rc::clone(agent);
        async move {
            match shutdown {
                Shutdown::Begins(time) => agent.shutdown_begins(time).await,
                Shutdown::Cancelled => agent.shutdown_cancelled(),
                Shutdown::Seen(is_under_way) => agent.shutdown_seen(is_under_way),
            }
        }
    });
    let ended = followed.await;
    match &ended {
        Ok(()) => tracing::warn!("logind is gone: `systemctl kexec` does not wait for clients"),
        Err(error) => {
            tracing::warn!("`systemctl kexec` does not wait for clients without logind: {error}");
        }
    }
    ended
}

/// The names of the sockets of the units (`FileDescriptorName=`).
const AGENT: &str = "agent";
const MANAGER: &str = "manager";

/// The number that each kernel gives to itself.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Events that a client may leave unread: those of several updates.
const UNREAD: usize = 16;

/// The listener that was passed, or one of our own.
fn listener(
    fd: Option<OwnedFd>,
    arguments: &Arguments,
    name: &str,
    mode: u32,
) -> Result<Listener, Box<dyn Error>> {
    if let Some(fd) = fd {
        return Ok(Listener::new(fd.into())?);
    }
    std::fs::create_dir_all(&arguments.runtime)?;
    Ok(Listener::bind(&arguments.runtime.join(name), mode)?)
}
