// SPDX-License-Identifier: MIT OR Apache-2.0

//! Running other programs: never longer than this one, with their output in a log.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::failure::{Failure, Interrupted};
use crate::interrupt;
use crate::progress::human;

/// How often a wait looks for Ctrl-C.
pub(crate) const PERIOD: Duration = Duration::from_millis(100);

/// How long a program may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(3);

/// No job takes so long: a cold kernel build with all debugging takes 15 minutes on two cores.
const LONGEST_JOB: Duration = Duration::from_hours(2);

/// Characters of a command that an error shows.
const LONGEST: usize = 60;

/// Lines of a log that an error shows.
const SHOWN: usize = 15;

/// A command whose process dies with this one, however this one dies.
///
/// `setpriv` and `unshare` are util-linux, which every Debian has.
pub(crate) fn bound(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// What a thread has returned; its panic goes on here.
pub(crate) fn returned<T>(joined: std::thread::Result<T>) -> T {
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Copies a folder with the times of its files, by which builds know what is old.
pub(crate) fn copy_folder(from: &Path, to: &Path, log: PathBuf) -> Result<()> {
    let mut command = Command::new("cp");
    command.args(["--archive", "--reflink=auto", "--no-target-directory"]).args([from, to]);
    Job::new(command, log).run()
}

/// A running program with everything below it; dropping it ends all of it.
pub(crate) struct Running {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Running {
    /// Starts `command` in a process group of its own, so that Ctrl-C reaches only this program.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.process_group(0).spawn().map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                let next = format!("install the package that holds `{program}`");
                return Failure::new(format!("`{program}` is not on this machine"), next).into();
            }
            anyhow!(error).context(format!("start `{program}`"))
        })?;
        Ok(Self { child, ended: None })
    }

    /// The process ID.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, once the program has ended.
    pub(crate) fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().context("wait for a program")?;
        }
        Ok(self.ended)
    }

    /// Asks the program to end, and ends it if it does not.
    pub(crate) fn end(&mut self) -> Result<ExitStatus> {
        for (signal, grace) in [(Signal::TERM, GRACE), (Signal::KILL, GRACE)] {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            self.signal(signal);
            let begin = Instant::now();
            while begin.elapsed() < grace {
                if let Some(status) = self.try_wait()? {
                    return Ok(status);
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        Err(anyhow!("process {} does not end", self.id()))
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// The receiver of the lines of a program.
type OnLine<'a> = Box<dyn FnMut(&str) + 'a>;

/// A program to be run to its end.
pub(crate) struct Job<'a> {
    command: Command,
    log: PathBuf,
    on_line: Option<OnLine<'a>>,
    limit: Duration,
}

impl<'a> Job<'a> {
    /// Runs `command` with all that it says appended to `log`.
    pub(crate) fn new(command: Command, log: impl Into<PathBuf>) -> Self {
        Self { command, log: log.into(), on_line: None, limit: LONGEST_JOB }
    }

    /// Calls `on_line` with every line as it comes.
    pub(crate) fn on_line(mut self, on_line: impl FnMut(&str) + 'a) -> Self {
        self.on_line = Some(Box::new(on_line));
        self
    }

    /// Ends it after this time.
    pub(crate) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Runs it; an exit status other than 0 is an error that shows the end of its output.
    pub(crate) fn run(self) -> Result<()> {
        self.output().map(drop)
    }

    /// Like [`Job::run`], and returns what it wrote to standard output and standard error.
    pub(crate) fn output(mut self) -> Result<String> {
        let (reader, writer) = std::io::pipe().context("make a pipe")?;
        let copy = writer.try_clone().context("make a pipe")?;
        self.command.stdin(Stdio::null()).stdout(copy).stderr(writer);
        let mut running = Running::start(&mut self.command)?;
        // The command still holds the write end of the pipe, which would keep the reader waiting.
        let program = describe(&self.command);
        drop(self.command);

        let mut log = open_log(&self.log)?;
        let _ = writeln!(log, "$ {program}");
        let lines = read_lines(reader.into());
        let mut output = String::new();
        let begin = Instant::now();
        loop {
            match lines.recv_timeout(PERIOD) {
                Ok(line) => {
                    writeln!(log, "{line}")
                        .with_context(|| format!("write {}", self.log.display()))?;
                    if let Some(on_line) = &mut self.on_line {
                        on_line(&line);
                    }
                    output.push_str(&line);
                    output.push('\n');
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if interrupt::came() {
                running.end()?;
                return Err(Interrupted.into());
            }
            if begin.elapsed() > self.limit {
                running.end()?;
                // Not a `Failure`: it was killed, and a build must know that.
                let (program, log) = (shortened(&program), self.log.display());
                let limit = human(self.limit);
                return Err(anyhow!("`{program}` was not done after {limit}; see the log {log}"));
            }
        }
        loop {
            if let Some(status) = running.try_wait()? {
                return if status.success() {
                    Ok(output)
                } else {
                    Err(self::failed(&program, status, &output, &self.log))
                };
            }
            if interrupt::came() {
                running.end()?;
                return Err(Interrupted.into());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A program that ended with anything but success.
#[derive(Debug)]
pub(crate) struct Exited {
    program: String,
    status: ExitStatus,
}

impl fmt::Display for Exited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ended with {}", shortened(&self.program), self.status)
    }
}

impl std::error::Error for Exited {}

impl Exited {
    /// Whether the error is that of a program that ended when it wanted to, and was not killed.
    pub(crate) fn by_itself(error: &anyhow::Error) -> bool {
        // Shells and `unshare` pass a signal on as 128 and more.
        let exited = error.downcast_ref::<Self>();
        exited.is_some_and(|exited| exited.status.code().is_some_and(|code| code < 126))
    }
}

fn failed(program: &str, status: ExitStatus, output: &str, log: &Path) -> anyhow::Error {
    let shown = telling(output);
    anyhow!("{}\n(whole output: {})", shown.join("\n"), log.display())
        .context(Exited { program: program.to_owned(), status })
}

/// The command as a person would type it, without the wrapping.
fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let inner = words.iter().rposition(|word| word == "--").map_or(0, |at| at + 1);
    words.get(inner..).unwrap_or_default().join(" ")
}

/// The lines of an output that tell why: around the first error of a compiler, else the last ones.
fn telling(output: &str) -> Vec<&str> {
    let lines: Vec<&str> = output.lines().collect();
    let is_error = |line: &&str| {
        [" error: ", " fatal error: "].iter().any(|mark| line.contains(mark))
            // rustc's, for a file that it names in the next line.
            || ["error: ", "error["].iter().any(|mark| line.starts_with(mark))
    };
    let last = lines.len().saturating_sub(SHOWN);
    let first = lines.iter().position(is_error).unwrap_or(last).min(last);
    lines.into_iter().skip(first).take(SHOWN).collect()
}

/// A command fit for a line of an error; the log has the whole one.
fn shortened(program: &str) -> String {
    let shown: String = program.chars().take(LONGEST).collect();
    if shown.len() == program.len() { shown } else { format!("{shown} ...") }
}

fn open_log(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let file = File::options().create(true).append(true).open(path);
    file.with_context(|| format!("open {}", path.display()))
}

/// Reads lines in the background, without their ends; bytes that are no UTF-8 are replaced.
pub(crate) fn read_lines(from: OwnedFd) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(File::from(from)).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line);
            if send.send(line.trim_end_matches('\r').to_owned()).is_err() {
                return;
            }
        }
    });
    receive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = bound("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_is_returned_logged_and_streamed() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("logs/log");
        let mut seen = Vec::new();
        let job = Job::new(shell("echo one; echo two >&2"), &log);
        let output = job.on_line(|line| seen.push(line.to_owned())).output().unwrap();
        assert_eq!(output, "one\ntwo\n");
        assert_eq!(seen, ["one", "two"]);
        assert!(std::fs::read_to_string(log).unwrap().contains("\none\ntwo\n"));
    }

    #[test]
    fn a_failure_shows_the_end_of_the_output() {
        let folder = tempfile::tempdir().unwrap();
        let job = Job::new(shell("seq 100; exit 3"), folder.path().join("log"));
        let error = format!("{:#}", job.run().unwrap_err());
        assert!(error.contains("exit status: 3") && error.contains("\n100\n"), "{error}");
        assert!(!error.contains("\n50\n"));
    }

    #[test]
    fn the_first_error_of_a_compiler_is_shown() {
        let noise = "  CC      a.o\n".repeat(40);
        let output = format!("{noise}a.c:1:2: error: no\n{noise}make: *** Error 1\n");
        assert_eq!(telling(&output).first(), Some(&"a.c:1:2: error: no"));
        assert_eq!(telling(&output).len(), SHOWN);
        assert_eq!(telling(&noise).len(), SHOWN);
        let rust = format!("error[E0505]: no\n --> a.rs\n{noise}");
        assert_eq!(telling(&rust).first(), Some(&"error[E0505]: no"));
        assert_eq!(telling("one\ntwo\n"), ["one", "two"]);
    }

    #[test]
    fn an_end_is_told_from_a_death() {
        let folder = tempfile::tempdir().unwrap();
        let by_itself = |script: &str| {
            let error = Job::new(shell(script), folder.path().join("log")).run().unwrap_err();
            Exited::by_itself(&error)
        };
        assert!(by_itself("exit 2"));
        assert!(!by_itself("kill -KILL $$"));
        assert!(!by_itself("sh -c 'kill -KILL $$'; exit $?"));
        let error = Job::new(shell("echo x; exit 2"), "/dev/full").run().unwrap_err();
        assert!(!Exited::by_itself(&error), "{error:#}");
    }

    #[test]
    fn a_missing_program_says_what_to_do() {
        let error = Running::start(&mut Command::new("no-such-program")).err().unwrap();
        assert!(error.is::<Failure>());
    }

    #[test]
    fn a_dropped_program_is_gone_with_its_children() {
        let running = Running::start(&mut shell("sleep 1000 & wait")).unwrap();
        let pid = running.id();
        drop(running);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
