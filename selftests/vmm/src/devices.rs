// SPDX-License-Identifier: MIT OR Apache-2.0

//! The devices of the guest: a serial port, the line that resets it, and a PCI bus with nothing on it. Its disk is
//! memory, and all others are inside KVM.

use std::io::{Stdout, stdout};

use anyhow::{Context, Result, anyhow};
use kvm_ioctls::VmFd;
use serde::{Deserialize, Serialize};
use vm_superio::serial::{NoEvents, SerialState};
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// The ports of COM1, and its interrupt.
const COM1: std::ops::RangeInclusive<u16> = 0x3f8..=0x3ff;
const COM1_INTERRUPT: u32 = 4;

/// The keyboard controller, of which the guest uses one command.
const I8042: u16 = 0x64;
const I8042_RESET: u8 = 0xfe;

/// The ports of PCI: the place of a register, and its value. Linux looks for disks in memory only if there is PCI.
const PCI_PLACE: u16 = 0xcf8;
const PCI_VALUE: std::ops::RangeInclusive<u16> = 0xcfc..=0xcff;
const PCI_ENABLED: u32 = 1 << 31;

/// The registers of the only device, the host bridge of an old PC: identity and class.
const HOST_BRIDGE: [(u32, u32); 2] = [(0, 0x1237_8086), (8, 0x0600_0000)];

/// An interrupt of KVM's chip.
struct Interrupt(EventFd);

impl Trigger for Interrupt {
    type E = std::io::Error;

    fn trigger(&self) -> std::io::Result<()> {
        self.0.write(1)
    }
}

/// The devices.
pub(crate) struct Devices {
    serial: Serial<Interrupt, NoEvents, Stdout>,
    pci: Pci,
}

/// The configuration space of the PCI bus, all of it constant.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct Pci {
    place: u32,
}

impl Pci {
    /// The bytes at a port.
    fn read(self, port: u16, data: &mut [u8]) {
        let (register, value) = (self.place & !PCI_ENABLED & !3, u32::from(port & 3));
        let known = HOST_BRIDGE.iter().find(|(known, _)| *known == register);
        let device = register & !0xff;
        let word = match known {
            Some((_, word)) => *word,
            // Other registers of the bridge are empty, and there are no other devices.
            None if device == 0 => 0,
            None => u32::MAX,
        };
        let word = if port == PCI_PLACE { self.place } else { word >> (8 * value) };
        for (to, byte) in data.iter_mut().zip(word.to_le_bytes()) {
            *to = byte;
        }
    }
}

/// What the guest wants after it has written to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    GoOn,
    Reset,
}

/// The state of the devices. vm-superio's type has no serde.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct DevicesState {
    registers: [u8; 9],
    received: Vec<u8>,
    pci: Pci,
}

impl Devices {
    /// New ones, or those of a guest that came.
    pub(crate) fn new(vm: &VmFd, state: Option<&DevicesState>) -> Result<Self> {
        let event = EventFd::new(EFD_NONBLOCK).context("eventfd")?;
        vm.register_irqfd(&event, COM1_INTERRUPT).context("the interrupt of the serial port")?;
        let interrupt = Interrupt(event);
        let serial = match state {
            None => Serial::new(interrupt, stdout()),
            Some(state) => Serial::from_state(&state.serial(), interrupt, NoEvents, stdout())
                .map_err(|error| anyhow!("the serial port that came: {error:?}"))?,
        };
        Ok(Self { serial, pci: state.map_or_else(Pci::default, |state| state.pci) })
    }

    pub(crate) fn save(&self) -> DevicesState {
        let it = self.serial.state();
        DevicesState {
            registers: [
                it.baud_divisor_low,
                it.baud_divisor_high,
                it.interrupt_enable,
                it.interrupt_identification,
                it.line_control,
                it.line_status,
                it.modem_control,
                it.modem_status,
                it.scratch,
            ],
            received: it.in_buffer,
            pci: self.pci,
        }
    }

    pub(crate) fn read(&mut self, port: u16, data: &mut [u8]) {
        if port == PCI_PLACE || PCI_VALUE.contains(&port) {
            return self.pci.read(port, data);
        }
        for byte in data {
            // Other ports say 0: no time in the clock, no key pressed.
            *byte = if COM1.contains(&port) { self.serial.read(offset(port)) } else { 0 };
        }
    }

    pub(crate) fn write(&mut self, port: u16, data: &[u8]) -> Wish {
        if let (PCI_PLACE, Ok(place)) = (port, data.try_into()) {
            self.pci.place = u32::from_le_bytes(place);
        }
        for byte in data {
            match port {
                I8042 if *byte == I8042_RESET => return Wish::Reset,
                // A reader of the console that has gone is no fault of the guest.
                _ if COM1.contains(&port) => drop(self.serial.write(offset(port), *byte)),
                _ => {}
            }
        }
        Wish::GoOn
    }
}

impl DevicesState {
    fn serial(&self) -> SerialState {
        let [low, high, enable, identification, line, status, modem, modem_status, scratch] =
            self.registers;
        SerialState {
            baud_divisor_low: low,
            baud_divisor_high: high,
            interrupt_enable: enable,
            interrupt_identification: identification,
            line_control: line,
            line_status: status,
            modem_control: modem,
            modem_status,
            scratch,
            in_buffer: self.received.clone(),
        }
    }
}

/// The number of a register of COM1.
fn offset(port: u16) -> u8 {
    u8::try_from(port - COM1.start()).unwrap_or(0)
}
