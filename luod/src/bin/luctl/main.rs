// SPDX-License-Identifier: MIT OR Apache-2.0

//! luctl, the command of luod.

use std::process::ExitCode;

use clap::Parser as _;
use tokio::runtime::Builder;

mod arguments;
mod client;
mod exec;
mod failure;
mod files;
mod inspect;
mod list;
mod output;
mod policy;
mod target;
mod update;

use arguments::{Arguments, Command};
use client::Client;
use failure::{Exit, Failure};
use output::Output;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json);
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(error.to_string()).report(output),
    };
    match runtime.block_on(run(arguments, output)) {
        Ok(code) => code,
        Err(failure) => failure.report(output),
    }
}

async fn run(arguments: Arguments, output: Output) -> Result<ExitCode, Failure> {
    let sockets = arguments.runtime;
    let manager = || Client::manager(&sockets);
    match arguments.command {
        Command::Status => list::status(&mut manager().await?, output).await?,
        Command::List { all } => list::sessions(&sockets, all, output).await?,
        Command::Check(kernel) => {
            return target::check(&mut manager().await?, &kernel, output).await;
        }
        Command::Load(kernel) => return target::load(&mut manager().await?, &kernel, output).await,
        Command::Unload => {
            let _: client::Nothing = manager().await?.call("Unload", client::Nothing {}).await?;
            output.done("no kernel is loaded any more");
        }
        Command::Update(order) => {
            return update::update(&mut manager().await?, &sockets, &order, output).await;
        }
        Command::Cancel => {
            let _: client::Nothing = manager().await?.call("Cancel", client::Nothing {}).await?;
            output.done("the update is off");
        }
        Command::Discard(session) => list::discard(&mut manager().await?, session, output).await?,
        Command::Watch => update::watch(&sockets, output).await?,
        Command::Reload => policy::reload(&mut manager().await?, output).await?,
        Command::Policy(command) => return policy::run(&command, output),
        Command::Metrics => list::metrics(&mut manager().await?).await?,
        Command::Exec(exec) => return exec::exec(&sockets, exec).await,
        Command::Put { label, file } => files::put(&sockets, &label, file.as_deref(), output)?,
        Command::Get { label, file } => return files::get(&sockets, &label, file.as_deref()),
        Command::Inspect => inspect::inspect(output)?,
        Command::Completions { shell } => arguments::completions(shell),
        Command::Man { folder } => arguments::manual_pages(&folder)?,
    }
    Ok(Exit::Done.into())
}
