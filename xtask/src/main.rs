// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask`: builds kernels and a guest, boots QEMU, really kexecs, and checks everything.
//!
//! One file a task lies in [`task`]; the rest is what tasks share.

#![forbid(unsafe_code)]

mod api;
mod arch;
mod c_header;
mod cache;
mod campaign;
mod check;
mod clients;
mod crates;
mod deb;
mod dist;
mod drawing;
mod failure;
mod gap;
mod generated;
mod guest;
mod interrupt;
mod invocation;
mod judge;
mod kernel;
mod mutant;
mod outcome;
mod prepare;
mod process;
mod products;
mod progress;
mod project;
mod report;
mod run_folder;
mod runner;
mod series;
mod setup;
mod source;
mod static_build;
mod suite;
mod task;
mod toolchain;
mod upstream;
mod vm;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

/// Builds kernels and a guest, boots QEMU, really kexecs, and checks everything
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Boot a chain of kernels, each by kexec from the one before, and run tests across
    VmTest(Box<task::vm_test::Options>),
    /// Kernels for people who work on them
    #[command(subcommand)]
    Kernel(task::kernel::Command),
    /// Formatting, lints, white space, sizes, `unsafe`, licences, dependencies, docs, APIs,
    /// packages: all that needs no kernel
    Check {
        /// Only these checks
        names: Vec<String>,
    },
    /// Guests of QEMU and of our VMM over an update of their host: what they saw, and what took the time
    Demo(task::demo::Options),
    /// What commands cost, in instructions, as a ratio between implementations
    Bench(Box<task::bench::Options>),
    /// Everything that must pass: check, host tests, msrv, uapi-check, self-test, vm-test over all hops
    /// and with debug kernels, bench of the Rust kernel
    Test,
    /// Tests that take too long for every change, each with a limit; what has passed is not run again
    Campaign(task::campaign::Options),
    /// See that tests notice when a rule of the kernel is broken
    Mutant(Box<task::mutant::Options>),
    /// See that guests that go wrong on purpose are reported as exactly that
    SelfTest(Box<task::self_test::Options>),
    /// Install liblu for C programs: library, header, pkg-config file, manual pages
    Dist(task::dist::Options),
    /// Write the public API of the libraries as text
    Api,
    /// Write the C header of liblu
    Header,
    /// See that the crate of the user-space ABI and the kernel's header say the same
    UapiCheck(task::uapi_check::Options),
    /// Build the libraries with the oldest Rust that they promise
    Msrv,
    /// What is there, what is missing, what would be done
    Doctor,
    /// Remove what was built
    Clean(task::clean::Options),
}

/// Writes to standard output; the reader may stop early.
fn say(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("write"),
        _ => Ok(()),
    }
}

fn main() -> ExitCode {
    let task = Task::parse();
    let result = interrupt::listen().and_then(|()| match &task {
        Task::VmTest(options) => task::vm_test::run(options),
        Task::Kernel(command) => task::kernel::run(command),
        Task::Check { names } => task::test::checks(names, None),
        Task::Demo(options) => task::demo::run(options),
        Task::Bench(options) => task::bench::run(options),
        Task::Test => task::test::run(),
        Task::Campaign(options) => task::campaign::run(options),
        Task::Mutant(options) => task::mutant::run(options),
        Task::SelfTest(options) => task::self_test::run(options),
        Task::Dist(options) => task::dist::run(options),
        Task::Api => task::generate::run(&generated::APIS),
        Task::Header => task::generate::run(&generated::C_HEADER),
        Task::UapiCheck(options) => task::uapi_check::run(options),
        Task::Msrv => task::msrv::run(),
        Task::Doctor => task::doctor::run(),
        Task::Clean(options) => task::clean::run(options),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
