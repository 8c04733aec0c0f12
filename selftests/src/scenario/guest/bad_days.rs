// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whatever goes wrong with an update or a VMM, each guest runs once, or it is said what is lost.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use liblu::{LiveUpdate, OutgoingSession};

use super::{needs_kvm, set_up};
use crate::guests::{make_results, result};
use crate::luctl::{self, failure, output, sessions};
use crate::mounts::mount_new;
use crate::position::{self, Position};
use crate::scenario::stage::test_file;
use crate::scenario::{Scenario, Stage};
use crate::test_device;
use crate::vmm::{Machine, PATIENCE, Running, file, until};

pub(in crate::scenario) const BAD_DAYS: Scenario = Scenario::across(
    "whatever_befalls_a_vmm_its_guest_runs_once_or_is_said_to_be_lost",
    before,
    after,
);

/// Steps before the kexec after which a VMM crashes while the update waits for it.
const BEFORE: [&str; 3] = ["preparing", "paused", "saved"];

/// Steps after the kexec after which a VMM crashes and nothing is lost, for the guest has not run.
const AFTER: [&str; 3] = ["claimed", "retrieved", "restored"];

/// A small guest.
fn machine(name: &str) -> Machine {
    Machine {
        name: name.into(),
        options: ["--ram", "64"].map(str::to_owned).into(),
        witness: "witness.memory=4".into(),
    }
}

/// Starts a new guest, and waits until it works and its memory is preserved.
fn start(name: &str, crash: Option<&str>) -> Result<Running> {
    let preserved = || machine(name).log().matches("vmm: preserved").count();
    let before = preserved();
    let mut guest = machine(name).start(crash)?;
    guest.wait(|report| report.rounds >= 1 && preserved() > before)?;
    Ok(guest)
}

fn before(stage: &mut Stage<'_>) -> Result<()> {
    needs_kvm()?;
    if stage.hop > 1 {
        return Ok(());
    }
    set_up()?;
    make_results()?;
    let mut steady = start("steady", None)?;

    let position = Position::find()?;
    let next = position.next().context("the next hop")?;
    luctl::load(next, position.number + 1)?;
    for step in BEFORE {
        let victim = start("victim", Some(step))?;
        let (said, code) = failure("luctl", &["update"])?;
        let reason = "the client has ended before it was ready";
        ensure!(code == 5 && said.contains(reason), "a VMM crashes when {step}: {code}: {said}");
        ensure!(!victim.end()?.success(), "a VMM that crashes when {step} ends well");
        steady.works().with_context(|| format!("after a VMM has crashed when {step}"))?;
    }
    cancel(&mut steady)?;
    fail_to_freeze(&mut steady)?;
    ensure!(
        !machine("steady").log().contains("claimed"),
        "the guest was restored in its own kernel"
    );

    // These come along: one that crashes as soon as it is ready, one that has hardly begun to boot, and one that ends
    // by itself.
    start("late", Some("ready"))?;
    let mut ends = machine("ends");
    ends.witness.push_str(" witness.end=0");
    ensure!(ends.start(None)?.end()?.success(), "the VMM of a guest that resets itself fails");
    machine("fresh").start(None)?;
    until("fresh", "preserved", PATIENCE, || machine("fresh").log().contains("preserved"))
}

/// An update is called off while the guest stands still: it goes on in the same process.
fn cancel(steady: &mut Running) -> Result<()> {
    let mut late = Command::new("/bin/guest");
    let mut late = late.args(["vm", "late"]).spawn().context("start a client that is late")?;
    result("late")?;
    let count = |step: &str| machine("steady").log().matches(step).count();
    let ready = count("vmm: ready");
    let mut update = luctl::begin(&["update"], "preparing")?;
    until("steady", "ready", PATIENCE, || count("vmm: ready") > ready)?;
    let size = || fs::metadata(file("steady", "console")).map(|it| it.len());
    let stopped = size()?;
    std::thread::sleep(std::time::Duration::from_millis(500));
    ensure!(size()? == stopped, "the guest runs, although its state is saved");
    output("luctl", &["cancel"])?;
    let status = update.wait().context("wait for luctl")?;
    ensure!(status.code() == Some(5), "luctl update ends with {status}");
    late.kill().and_then(|()| late.wait()).context("end the client that is late")?;
    steady.works().context("after an update that was called off")
}

/// A file of somebody else cannot be frozen: `reboot(2)` fails at the last moment.
fn fail_to_freeze(steady: &mut Running) -> Result<()> {
    let session: OutgoingSession = LiveUpdate::new().create(&"bad-days".parse()?)?;
    session
        .preserve(1.into(), test_file(1, test_device::FREEZE_FAILS_ONCE)?)
        .context("preserve a file")?;
    let position = Position::find()?;
    let next = position.next().context("the next hop")?;
    luctl::load(next, position.number + 1)?;
    let (said, code) = failure("luctl", &["update", "--now"])?;
    ensure!(
        code == 5 && said.contains("could not be left"),
        "a file cannot be frozen: {code}: {said}"
    );
    drop(session);
    steady.works().context("after a freeze that failed")?;
    output("luctl", &["unload"])?;
    position::remove_unpacked();
    Ok(())
}

fn after(stage: &mut Stage<'_>) -> Result<()> {
    needs_kvm()?;
    set_up()?;
    // Until the guest has run, a crash costs nothing.
    for step in AFTER {
        let crashed = machine("steady").start(Some(step))?.end()?;
        ensure!(!crashed.success(), "a VMM that crashes when {step} ends well");
        let waiting = sessions("incoming")?;
        ensure!(
            waiting.iter().any(|it| it.contains(" steady ")),
            "after {step} there is {waiting:#?}"
        );
    }
    without_room()?;
    without_kvm()?;
    let mut steady = machine("steady").start(None)?;
    let updates = u64::try_from(stage.hop - 1)?;
    let report = steady.wait(|report| report.gaps >= updates)?;
    steady.works().with_context(|| format!("after the kexec: {report:?}"))?;

    if stage.hop == 2 {
        // It was booting when the kernel was left.
        let mut fresh = machine("fresh").start(None)?;
        fresh.wait(|report| report.rounds >= 1).context("a guest that was booting")?;
        let log = machine("fresh").log();
        ensure!(log.contains("vmm: restored"), "it was started anew: {log}");
        fresh.kill()?;
        run_twice()?;
    }
    let left = sessions("incoming")?;
    ensure!(left.is_empty(), "these sessions are left: {left:#?}");
    Ok(())
}

/// A control group with less memory than the guest has: liblu asks the kernel for nothing, which would be lost.
fn without_room() -> Result<()> {
    const GROUPS: &str = "/sys/fs/cgroup";
    mount_new("cgroup2", GROUPS, "")?;
    let write = |path: &str, text: &str| {
        fs::write(format!("{GROUPS}/{path}"), text).with_context(|| format!("write {path}"))
    };
    write("cgroup.subtree_control", "+memory")?;
    fs::create_dir(format!("{GROUPS}/small")).context("make a control group")?;
    write("small/memory.max", "48M")?;
    // PID 1 goes there for a moment, so that its child is born there.
    write("small/cgroup.procs", "0")?;
    let started = machine("steady").start(None);
    write("cgroup.procs", "0")?;
    ensure!(!started?.end()?.success(), "a guest of 64 MiB runs in 48 MiB");
    let log = machine("steady").log();
    ensure!(log.contains("nothing is lost"), "without room the VMM says {log}");
    Ok(())
}

/// A kernel without KVM, or one whose module is not loaded yet: the guest waits.
fn without_kvm() -> Result<()> {
    const KVM: &str = "/dev/kvm";
    const AWAY: &str = "/dev/kvm-away";
    fs::rename(KVM, AWAY).context("take KVM away")?;
    let started = machine("steady").start(None).and_then(Running::end);
    fs::rename(AWAY, KVM).context("bring KVM back")?;
    ensure!(!started?.success(), "a guest runs without KVM");
    let log = machine("steady").log();
    ensure!(log.contains("does this kernel have KVM?"), "without KVM the VMM says {log}");
    let waiting = sessions("incoming")?;
    ensure!(waiting.iter().any(|it| it.contains(" steady ")), "without KVM there is {waiting:#?}");
    // The next kernel would not find it.
    let (said, code) = failure("luctl", &["check"])?;
    ensure!(said.contains("steady"), "a guest waits, and luctl check says {code}: {said}");
    Ok(())
}

/// A VMM had crashed when it was ready, which costs nothing. But once its guest has run in this kernel, its memory is newer
/// than its state: after a second crash it begins anew, as after any crash.
fn run_twice() -> Result<()> {
    ensure!(
        !machine("late").start(Some("running"))?.end()?.success(),
        "a VMM that crashes ends well"
    );
    let log = machine("late").log();
    ensure!(log.contains("vmm: running"), "a guest that was ready does not run: {log}");
    let mut anew = machine("late").start(None)?;
    let report = anew.wait(|report| report.rounds >= 1)?;
    let log = machine("late").log();
    ensure!(log.contains("the guest is lost") && report.gaps == 0, "{report:?}: {log}");
    anew.kill()
}
