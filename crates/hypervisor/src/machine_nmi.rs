//! NMIs that the machine raises for reasons of its own: errors on PCI or ISA buses, which port 0x61 tells, and unknown ones.
//!
//! They come to CPU 0. Their handler, which may have interrupted anything, silences the source and notes the reason; an
//! interrupt that this CPU sends itself tells Dom0 (`System::tell_nmi`) when its entry allows, and lets the source speak
//! again. What is noted is kept aside, so a failure in between loses none.
#![expect(unsafe_code, reason = "the port that tells reasons of NMIs")]

use core::sync::atomic::Ordering;

use command_line::MachineNmi;
use ids::CpuId;
use machine::port;
use system::own_vector;
use xen_abi::nmi::{XEN_NMIREASON_IO_ERROR, XEN_NMIREASON_PCI_SERR, XEN_NMIREASON_UNKNOWN};

use crate::console::log;
use crate::guest::hardware::this_cpu;
use crate::sealed::sealed;
use crate::{devices, recovery, stop, watchdog};

/// The chipset's NMI status and control register (ICH9 datasheet, 13.7.1).
const PORT: u16 = 0x61;
/// In it: a PCI system error, an error on the ISA bus were reported.
const SERR: u8 = 1 << 7;
const IO_CHECK: u8 = 1 << 6;
/// Writing these clears and silences the one or the other. Bits 4 to 7 are written as 0.
const SERR_OFF: u8 = 1 << 2;
const IO_CHECK_OFF: u8 = 1 << 3;
const CONTROL: u8 = 0x0f;

const SERR_REASON: u8 = XEN_NMIREASON_PCI_SERR as u8;
const IO_CHECK_REASON: u8 = XEN_NMIREASON_IO_ERROR as u8;
const UNKNOWN: u8 = XEN_NMIREASON_UNKNOWN as u8;

fn read() -> u8 {
    // SAFETY: reading tells and changes nothing.
    unsafe { port::read_u8(PORT) }
}

fn write(value: u8) {
    // SAFETY: bits 0 and 1, of the interval timer and the speaker, are as they were.
    unsafe { port::write_u8(PORT, value) };
}

/// An NMI on this CPU. `calm`: no failure is being handled, so that variables of the image are there, and the NMI is none
/// that CPUs are stopped with; if the port knows no reason then, there is no known one, unless it may be the watchdog's.
pub(crate) fn on_nmi(calm: bool) {
    if this_cpu() != CpuId(0) {
        return;
    }
    let reported = read();
    let (mut reasons, mut silenced) = (0, 0);
    if reported & SERR != 0 {
        (reasons, silenced) = (SERR_REASON, SERR_OFF);
    }
    if reported & IO_CHECK != 0 {
        (reasons, silenced) = (reasons | IO_CHECK_REASON, silenced | IO_CHECK_OFF);
    }
    if silenced != 0 {
        write(reported & CONTROL | silenced);
    } else if calm && !watchdog::is_on() && sealed().options.machine_nmi != MachineNmi::Ignore {
        reasons = UNKNOWN;
    }
    if reasons != 0 {
        stop::machine_nmis().fetch_or(reasons.into(), Ordering::Relaxed);
    }
    if calm {
        announce();
    }
}

fn text(reasons: u8) -> &'static str {
    match reasons {
        UNKNOWN => "NMI for an unknown reason",
        IO_CHECK_REASON => "NMI: I/O check",
        _ => "NMI: PCI system error (SERR)",
    }
}

/// If this CPU has an NMI to tell, it gets the interrupt for it, in a new life again. Or that is the end.
pub(crate) fn announce() {
    let reasons = stop::machine_nmis().load(Ordering::Relaxed) as u8;
    if this_cpu() != CpuId(0) || reasons == 0 {
        return;
    }
    if sealed().options.machine_nmi == MachineNmi::Fatal {
        recovery::give_up(text(reasons));
    }
    devices::local_apic(sealed().facts).send_to_self(own_vector::NMI);
}

/// What Dom0 has to be told.
pub(crate) fn reasons() -> u8 {
    match sealed().options.machine_nmi {
        MachineNmi::Dom0 => stop::machine_nmis().load(Ordering::Relaxed) as u8,
        MachineNmi::Ignore | MachineNmi::Fatal => 0,
    }
}

/// Dom0 has been told; the sources may raise NMIs again.
pub(crate) fn told(told: u8) {
    let done = match sealed().options.machine_nmi {
        MachineNmi::Dom0 => told,
        MachineNmi::Ignore | MachineNmi::Fatal => u8::MAX,
    };
    let before = stop::machine_nmis().fetch_and(!u32::from(done), Ordering::Relaxed) as u8 & done;
    if before & SERR_REASON != 0 {
        log!("{}", text(SERR_REASON));
        write(read() & CONTROL & !SERR_OFF);
    }
    if before & IO_CHECK_REASON != 0 {
        write(read() & CONTROL & !IO_CHECK_OFF);
    }
}
