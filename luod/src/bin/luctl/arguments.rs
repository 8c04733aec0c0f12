// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command line.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::failure::Failure;

/// Update the kernel of this machine, and keep what runs on it.
///
/// Programs that survive an update have sessions, which luod holds for them. `luctl load` loads the next
/// kernel, `luctl check` says whether all is well, and `luctl update` leads all programs through the update.
#[derive(Debug, Parser)]
#[command(name = "luctl", version, max_term_width = 100, after_long_help = EXITS)]
pub(crate) struct Arguments {
    /// Print JSON for programs
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// The folder of luod's sockets
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "DIR",
        default_value = "/run/luod",
        env = "LUOD_RUNTIME"
    )]
    pub(crate) runtime: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXITS: &str = "\
Exit codes:
  0  done
  1  failed; the message says why
  2  the command line is wrong
  3  there is no such session; for `get` and `exec`, this is a cold start
  4  the checks speak against an update
  5  the update was called off, and all programs go on
  6  not allowed
  7  luod cannot be reached";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the state of luod and of an update
    Status,
    /// List the sessions of the caller
    List {
        /// Those of all owners
        #[arg(long)]
        all: bool,
    },
    /// Say whether an update would go well, without changing anything
    ///
    /// Without KERNEL, the kernel that is loaded is checked.
    Check(CheckedKernel),
    /// Load the next kernel
    Load(NextKernel),
    /// Forget the kernel that is loaded
    Unload,
    /// Update the kernel: check, ask all programs, and leave this kernel
    ///
    /// Ctrl-C calls the update off, as long as the kernel is not being left.
    Update(Order),
    /// Call an update off
    Cancel,
    /// Give a session up: what it holds is lost
    Discard(Session),
    /// Show updates as they happen, until Ctrl-C
    Watch,
    /// Read the policy again
    Reload,
    /// Work on the policy
    #[command(subcommand)]
    Policy(Policy),
    /// Print figures in the text format of OpenMetrics
    Metrics,
    /// Run a program that survives updates without knowing of them
    ///
    /// The memory of the session's memfds comes from the previous kernel, or is created at a cold start, so each
    /// --fd needs a --create. luctl stays, takes part in updates for the program, and ends with its exit code, or
    /// with 128 and the number of its signal. The memory survives an update, not the end of the program: if it
    /// ends or is restarted at another time, it starts from nothing.
    Exec(Exec),
    /// Keep a small file over the next update
    Put {
        /// The label of the session
        label: String,
        /// The file; standard input if it is missing or `-`
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Take a file that was kept over the last update
    Get {
        /// The label of the session
        label: String,
        /// The file to write; standard output if it is missing or `-`
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Show what this kernel received, and what it hands over, also of unknown formats
    Inspect,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CheckedKernel {
    /// The image of a kernel
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) kernel: Option<PathBuf>,
    /// The command line that it would get
    #[arg(long, value_name = "TEXT", requires = "kernel")]
    pub(crate) cmdline: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct NextKernel {
    /// The image of the kernel
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) kernel: PathBuf,
    /// The initrd
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) initrd: Option<PathBuf>,
    /// The command line, instead of that of the running kernel; it needs liveupdate=on, and kho=on unless the
    /// kernel has KHO on by default
    #[arg(long, value_name = "TEXT")]
    pub(crate) cmdline: Option<String>,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are options of a command line")]
pub(crate) struct Order {
    /// Leave the kernel at once: file systems are frozen, and services are not stopped
    #[arg(long, conflicts_with = "systemctl")]
    pub(crate) now: bool,
    /// Leave the kernel by `systemctl kexec`, as luod does by default under systemd
    #[arg(long)]
    pub(crate) systemctl: bool,
    /// Stop after the checks
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The time that each program has to answer, such as 30s or 2min, and no more than `longest-deadline` of the
    /// policy
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) deadline: Option<std::time::Duration>,
    /// Go on if it is not known whether the next kernel understands what it gets
    #[arg(long)]
    pub(crate) accept_unknown: bool,
    /// Go on in spite of this finding of `luctl check`, such as target-format; sessions may be lost
    #[arg(long = "override", value_name = "ID")]
    pub(crate) overridden: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Session {
    /// The label of the session, or its name in the kernel if it has no owner
    pub(crate) label: String,
    /// Its owner, as `luctl list --all` shows it: unit:NAME or user:UID; needed unless it has none
    #[arg(long)]
    pub(crate) owner: Option<String>,
    /// The session that came from the previous kernel, instead of the one for the next
    #[arg(long)]
    pub(crate) incoming: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Check all files of the policy of this machine
    Check {
        /// This file alone, without the others
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// The files beneath another root
        #[arg(long, value_name = "DIR", default_value = "/", conflicts_with = "file")]
        root: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// The label of the session
    pub(crate) label: String,
    /// Give the program the memfd NAME as the file descriptor N
    #[arg(long, value_name = "NAME=N", value_parser = pair::<i32>)]
    pub(crate) fd: Vec<(String, i32)>,
    /// Create the memfd NAME with SIZE bytes at a cold start; K, M and G are allowed
    #[arg(long, value_name = "NAME=SIZE", value_parser = size)]
    pub(crate) create: Vec<(String, u64)>,
    /// A shell command that makes the program ready for an update; it runs with LUCTL_PID set
    #[arg(long, value_name = "COMMAND")]
    pub(crate) on_prepare: Option<String>,
    /// A shell command that lets the program go on if an update is called off
    #[arg(long, value_name = "COMMAND")]
    pub(crate) on_abort: Option<String>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<String>,
}

fn pair<T: std::str::FromStr>(text: &str) -> Result<(String, T), String> {
    let (name, value) = text.split_once('=').ok_or("this is not NAME=NUMBER")?;
    let value = value.parse().map_err(|_| format!("{value:?} is no number"))?;
    if name.is_empty() { Err("the name is empty".into()) } else { Ok((name.into(), value)) }
}

fn size(text: &str) -> Result<(String, u64), String> {
    let (name, value) = text.split_once('=').ok_or("this is not NAME=SIZE")?;
    let (digits, shift) = match value.as_bytes().last() {
        Some(b'K') => (value.trim_end_matches('K'), 10),
        Some(b'M') => (value.trim_end_matches('M'), 20),
        Some(b'G') => (value.trim_end_matches('G'), 30),
        _ => (value, 0),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|it| it.checked_mul(1 << shift));
    let bytes = bytes.filter(|it| *it > 0).ok_or_else(|| format!("{value:?} is no size"))?;
    if name.is_empty() { Err("the name is empty".into()) } else { Ok((name.into(), bytes)) }
}

/// Prints completions for a shell.
pub(crate) fn completions(shell: Shell) {
    clap_complete::generate(shell, &mut Arguments::command(), "luctl", &mut std::io::stdout());
}

/// Writes a manual page for luctl and for each of its commands.
pub(crate) fn manual_pages(folder: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    let command = Arguments::command().disable_help_subcommand(true);
    write_page(command, "luctl", folder).map_err(failed)
}

/// Writes the page of a command, and those of the commands below it.
fn write_page(command: clap::Command, name: &str, folder: &Path) -> std::io::Result<()> {
    for below in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        write_page(below.clone(), &format!("{name}-{}", below.get_name()), folder)?;
    }
    let exits = command.get_name() == "luctl";
    let command = command.display_name(name.to_owned()).bin_name(name.replace('-', " "));
    let command = command.after_long_help(None::<&str>).after_help(None::<&str>);
    let source = format!("luctl {}", env!("CARGO_PKG_VERSION"));
    let page = Man::new(command).title(name.to_owned()).source(source).manual("Live updates");
    let mut text = Vec::new();
    page.render(&mut text)?;
    if exits {
        text.extend_from_slice(b".SH \"EXIT STATUS\"\n.nf\n");
        let lines = EXITS.lines().skip(1).flat_map(|line| [line.trim_start(), "\n"]);
        text.extend(lines.flat_map(str::bytes));
        text.extend_from_slice(
            b".fi\n.SH ENVIRONMENT\n.TP\n.B LUOD_RUNTIME\nThe folder of luod\\*(Aqs sockets.\n",
        );
    }
    let see =
        if exits { ".BR luod (8),\n.BR luod.toml (5)\n" } else { ".BR luctl (1),\n.BR luod (8)\n" };
    text.extend_from_slice(b".SH \"SEE ALSO\"\n");
    text.extend_from_slice(see.as_bytes());
    fs::write(folder.join(format!("{name}.1")), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes_and_pairs_are_read() {
        assert_eq!(size("memory=64M"), Ok(("memory".into(), 64 << 20)));
        assert_eq!(size("a=4096"), Ok(("a".into(), 4096)));
        assert_eq!(pair("a=3"), Ok(("a".into(), 3)));
        for text in ["", "a", "a=", "=1", "a=0", "a=-1", "a=1T", "a=99999999999G"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
