// SPDX-License-Identifier: MIT OR Apache-2.0

//! Virtual machines of QEMU, of our VMM and of Cloud Hypervisor's protocol, which do not notice updates.

pub(crate) mod odd;
pub(crate) mod page;

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use selftests::kernel_log::note;
use selftests::luctl::{self, output};
use selftests::position::{self, Position, hop_number};
use selftests::scenario::Side;
use selftests::systemd::{PROGRAMS, side};
use selftests::vmm::{CMDLINE, Console, FOLDER, INITRAMFS, KERNEL, PARTS, WATCH_PARTS, file, tail};
use selftests::witness::Report;

/// A guest, and the unit that runs it.
struct Machine {
    name: &'static str,
    unit: String,
    /// The file that says how it is run, and its content.
    setting: (String, String),
    /// Whether the guest's own clock shows the gap.
    sees_gap: bool,
    /// Whether it sends packets.
    has_network: bool,
}

impl Machine {
    /// A guest of lu-qemu, with this setting.
    fn of_qemu(name: &'static str, text: String) -> Self {
        Self {
            name,
            unit: format!("lu-qemu@{name}.service"),
            setting: (format!("/etc/lu-qemu/{name}.conf"), text),
            sees_gap: false,
            has_network: false,
        }
    }
}

/// Writes the setting of a guest.
fn set(machine: &Machine) -> Result<()> {
    let (path, text) = &machine.setting;
    let folder = Path::new(path).parent().context("a setting without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    fs::write(path, text).with_context(|| format!("write {path}"))
}

/// The disk that the host may write to: what is on it outlives its kernel.
const DISK: &str = "/dev/vdd";

/// The setting for a guest of QEMU with so much memory, in MiB; `append` are parameters of its kernel, and `devices` further
/// options of QEMU.
///
/// QEMU has the MP table of a PC too, and ACPI would be a tenth of the work of the boot.
fn setting(name: &str, accel: &str, memory: u32, append: &str, devices: &str) -> String {
    format!(
        "QEMU=qemu-system-x86_64 -machine q35,accel={accel} -cpu max -m {memory}M -smp 1 -nodefaults -display none \
         -kernel {PROGRAMS}/{KERNEL} -initrd {PROGRAMS}/{INITRAMFS} \
         -chardev file,id=console,path={FOLDER}/{name}.console,append=on -serial chardev:console \
         -append '{CMDLINE} acpi=off {append}' {devices}\n"
    )
}

/// How QEMU runs the guest `name`, which has so much memory, in MiB.
fn qemu(name: &str, accel: &str, memory: u32) -> String {
    let disk = if name == "kvm" {
        format!(
            "-drive if=none,id=disk,format=raw,cache=none,file={DISK} -device virtio-blk-pci,drive=disk"
        )
    } else {
        String::new()
    };
    // Emulation within emulation is slow.
    let witness = match accel {
        _ if name == "kvm" => "witness.disk=/dev/vda witness.memory=48",
        "kvm" => "witness.memory=48",
        _ => "witness.memory=4",
    };
    let append =
        format!("ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off {witness} witness.echo=10.0.2.2:7");
    let devices = format!(
        "{disk} -netdev user,id=net -device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci"
    );
    setting(name, accel, memory, &append, &devices)
}

/// Whether the harness was given the real Cloud Hypervisor; else there is a program that speaks as it does.
fn has_cloud_hypervisor() -> bool {
    let version = output(&format!("{PROGRAMS}/cloud-hypervisor"), &["--version"]);
    version.is_ok_and(|version| version.starts_with("cloud-hypervisor v"))
}

fn cloud_hypervisor() -> String {
    let options = if has_cloud_hypervisor() {
        format!(
            "--kernel {PROGRAMS}/{KERNEL} --initramfs {PROGRAMS}/{INITRAMFS} --cpus boot=1 --memory size=256M,shared=on \
             --console off --serial file={FOLDER}/ch.console --cmdline '{CMDLINE} witness.memory=16'"
        )
    } else {
        format!("--memory size=12M,shared=on --serial file={FOLDER}/ch.console")
    };
    format!("PATH={PROGRAMS}:/usr/bin\nVMM={PROGRAMS}/cloud-hypervisor {options}\n")
}

/// The rules about guests that do not notice.
const RULES: [&str; 4] = ["qemu", "vmm", "ch", "large"];

fn machine(rule: &str) -> Vec<Machine> {
    match rule {
        "qemu" => vec![
            Machine { has_network: true, ..Machine::of_qemu("kvm", qemu("kvm", "kvm", 128)) },
            Machine { has_network: true, ..Machine::of_qemu("tcg", qemu("tcg", "tcg", 128)) },
        ],
        "large" => vec![Machine {
            has_network: true,
            ..Machine::of_qemu("large", qemu("large", "kvm", 1024))
        }],
        "vmm" => vec![Machine {
            name: "ours",
            unit: "vmtest-vmm@ours.service".into(),
            setting: (
                "/etc/vmtest/ours.conf".into(),
                format!(
                    "OPTIONS=--vcpus 2 {PARTS} --kernel {PROGRAMS}/{KERNEL} \
                     --initrd {PROGRAMS}/{INITRAMFS}\nGUEST={CMDLINE} {WATCH_PARTS}\n"
                ),
            ),
            sees_gap: true,
            has_network: false,
        }],
        _ => vec![Machine {
            name: "ch",
            unit: "luod-ch@ch.service".into(),
            setting: ("/etc/luod-ch/ch.conf".into(), cloud_hypervisor()),
            sees_gap: false,
            has_network: false,
        }],
    }
}

/// Where the last report of a guest is kept over the kexec: with luod.
fn kept(machine: &Machine) -> String {
    format!("report-{}", machine.name)
}

pub(crate) fn check(rule: &str) -> Result<()> {
    fs::create_dir_all(FOLDER).with_context(|| format!("make {FOLDER}"))?;
    let hop = hop_number()?;
    let machines = machine(rule);
    machines.iter().try_for_each(set)?;
    output("systemctl", &["start", "vmtest-echo.service"])?;
    match side()? {
        Side::After => {
            let consoles: Vec<_> = machines.iter().map(|it| Console::of(it.name)).collect();
            start_waiting()?;
            start_all(&machines)?;
            for (machine, console) in machines.iter().zip(&consoles) {
                let before = output("luctl", &["get", &kept(machine)])?;
                let before = Report::parse(&before).context("the report of the previous kernel")?;
                goes_on(machine, console, &before)?;
            }
        }
        Side::Before | Side::Here => {
            if hop == 1 {
                if rule == "ch" && has_cloud_hypervisor() {
                    note("the real Cloud Hypervisor is here");
                }
                let consoles = start_all(&machines)?;
                for (machine, console) in machines.iter().zip(&consoles) {
                    wait(machine, console, |it| it.rounds >= 1)?;
                }
                cancelled(&machines)?;
            }
            for machine in &machines {
                let report = wait(machine, &Console::of(machine.name), |_| true)?;
                let line = format!("{}\n", report.line());
                luctl::input("luctl", &["put", &kept(machine)], &line)?;
            }
        }
    }
    Ok(())
}

/// Starts the VMM.
fn start(machine: &Machine) -> Result<Console> {
    let console = Console::of(machine.name);
    output("systemctl", &["start", &machine.unit]).with_context(|| journal(machine))?;
    Ok(console)
}

/// Starts all that came, at once, as a system does: the rules look at one after the other.
fn start_waiting() -> Result<()> {
    let sessions = output("luctl", &["list", "--all"])?;
    for machine in RULES.into_iter().flat_map(machine) {
        let label = format!(" {} ", machine.name);
        let came = |line: &str| line.contains(&label) && line.contains("waiting");
        if sessions.lines().any(came) {
            set(&machine)?;
            output("systemctl", &["start", "--no-block", &machine.unit])?;
        }
    }
    Ok(())
}

fn start_all(machines: &[Machine]) -> Result<Vec<Console>> {
    machines.iter().map(start).collect()
}

/// What the unit says.
fn journal(machine: &Machine) -> String {
    let journal =
        output("journalctl", &["--boot", "--no-pager", "--output=cat", "--unit", &machine.unit]);
    format!("{}\n{}", journal.unwrap_or_default(), tail(machine.name, "log"))
}

fn wait(machine: &Machine, console: &Console, good: impl Fn(&Report) -> bool) -> Result<Report> {
    console.wait(good, || {
        let active = output("systemctl", &["is-active", &machine.unit]);
        active.map(drop).with_context(|| journal(machine))
    })
}

/// The guest has lost nothing, and works on.
fn goes_on(machine: &Machine, console: &Console, before: &Report) -> Result<()> {
    let first = wait(machine, console, |_| true)?;
    ensure!(
        first.number >= before.number
            && first.pages >= before.pages
            && first.blocks >= before.blocks,
        "{}: it is not the guest of the previous kernel: {first:?} comes after {before:?}",
        machine.name
    );
    let has_disk = before.blocks > 0;
    let after = wait(machine, console, |it| {
        it.rounds >= first.rounds + 2
            && (!has_disk || it.blocks >= first.blocks + 3)
            && (!machine.has_network || it.answers > first.answers)
    })?;
    let seen = after.gaps - before.gaps;
    ensure!(!machine.sees_gap || seen > 0, "{}: its clock does not show the gap", machine.name);
    note(&format!("guest {}: {}", machine.name, after.line()));
    Ok(())
}

/// An update that is called off while another client prepares: the guests stand still, and go on in the same process.
fn cancelled(machines: &[Machine]) -> Result<()> {
    let position = Position::find()?;
    let next = position.next().context("the next hop")?;
    luctl::load(next, position.number + 1)?;
    let late = "vmtest-vm@late.service";
    selftests::guests::make_results()?;
    output("systemctl", &["start", late])?;
    let pids = |machines: &[Machine]| -> Result<Vec<String>> {
        let pid = |it: &Machine| {
            output("systemctl", &["show", "--property=MainPID,ExecMainPID", &it.unit])
        };
        machines.iter().map(pid).collect()
    };
    let before = pids(machines)?;
    let mut update = luctl::begin(&["update"], "preparing")?;
    // They are ready, and stand still: their consoles say nothing more.
    let end = Instant::now() + Duration::from_mins(1);
    let consoles =
        || machines.iter().map(|it| fs::metadata(file(it.name, "console")).map(|it| it.len()));
    loop {
        let seen = consoles().collect::<Result<Vec<_>, _>>().context("look at the consoles")?;
        sleep(Duration::from_millis(500));
        if consoles().collect::<Result<Vec<_>, _>>().context("look at the consoles")? == seen {
            break;
        }
        ensure!(Instant::now() < end, "the guests do not stand still");
    }
    output("luctl", &["cancel"])?;
    let status = update.wait().context("wait for luctl")?;
    ensure!(status.code() == Some(5), "luctl update ends with {status}");
    output("systemctl", &["stop", late])?;
    for machine in machines {
        let first = wait(machine, &Console::of(machine.name), |_| true)?;
        wait(machine, &Console::of(machine.name), |it| it.rounds > first.rounds)?;
    }
    ensure!(
        pids(machines)? == before,
        "a guest is in another process after an update that was called off"
    );
    output("luctl", &["unload"])?;
    position::remove_unpacked();
    machines.iter().filter(|it| it.unit.starts_with("lu-qemu@")).try_for_each(no_memory_in_state)
}

/// The state that QEMU wrote has the devices alone: no byte of the guest's memory was copied.
fn no_memory_in_state(machine: &Machine) -> Result<()> {
    let log = output("journalctl", &["--boot", "--no-pager", "--output=cat", "--dmesg"])?;
    let begin = format!("{} stands still, its state has ", machine.name);
    let size = log
        .lines()
        .rev()
        .find_map(|line| line.split_once(&begin)?.1.split_once(' ')?.0.parse::<u64>().ok());
    let size =
        size.with_context(|| format!("the log does not say how large {} is", machine.name))?;
    ensure!(size < 1 << 20, "{}: the state has {size} bytes", machine.name);
    note(&format!("state of {}: {size} bytes", machine.name));
    Ok(())
}

/// Sends packets back: the outside of the guests.
pub(crate) fn echo() -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:7").context("bind port 7")?;
    let mut packet = [0; 1500];
    loop {
        let (length, from) = socket.recv_from(&mut packet).context("receive")?;
        let packet = packet.get(..length).unwrap_or_default();
        socket.send_to(packet, from).context("send")?;
    }
}
