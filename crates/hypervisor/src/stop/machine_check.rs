//! Machine checks: what the processor says of one, and whether its registers can be gone on with.
//!
//! A machine check is a failure of the hypervisor, wherever it hits: all that runs is begun anew. If the processor does
//! not vouch for its registers, the CPU counts as lost, and its vCPU's domain ends.
#![expect(unsafe_code, reason = "model-specific registers")]

use super::{Taken, record};
use crate::console::log;
use crate::guest::hardware::this_cpu;
use crate::guest::host::HostFrame;
use crate::sealed::sealed;
use core::sync::atomic::Ordering;
use machine::control;

const MACHINE_CHECK: u32 = 18;
const MCG_STATUS: u32 = 0x17a;
/// Registers of bank 0; those of bank n follow at four times n.
const STATUS: u32 = 0x401;
const ADDRESS: u32 = 0x402;
/// In MCG_STATUS: the instruction pointer is that of the interrupted program; a check is in progress.
const RESTART: u64 = 1 << 0;
const IN_PROGRESS: u64 = 1 << 2;
/// In a bank's status: it is valid; the processor's state may be corrupt; there is an address.
const VALID: u64 = 1 << 63;
const CORRUPT: u64 = 1 << 57;
const HAS_ADDRESS: u64 = 1 << 58;

/// Banks of this machine's CPUs; `None`: they have no machine check architecture.
fn banks() -> Option<u32> {
    match sealed().facts.cpu.machine_check {
        0 => None,
        capabilities => Some((capabilities & 0xff) as u32),
    }
}

fn read(register: u32) -> u64 {
    // SAFETY: part of the machine check architecture, which the caller knows the CPU has.
    unsafe { control::read_msr(register) }
}

fn clear(register: u32) {
    // SAFETY: as above; zero is what software writes there.
    unsafe { control::write_msr(register, 0) };
}

/// A failure with these registers: if it is a machine check, notes what the processor says.
pub(super) fn note(frame: Option<&HostFrame>) {
    let (Some(banks), Some(MACHINE_CHECK)) = (banks(), frame.map(|frame| frame.vector)) else { return };
    let status = read(MCG_STATUS);
    if status & IN_PROGRESS == 0 {
        return;
    }
    let own = record(this_cpu());
    let mut intact = status & RESTART != 0;
    let valid = (0..banks).filter(|bank| read(STATUS + 4 * bank) & VALID != 0);
    own.bank.store(u32::MAX, Ordering::Relaxed);
    own.check[0].store(status, Ordering::Relaxed);
    for bank in valid {
        let said = read(STATUS + 4 * bank);
        let address = if said & HAS_ADDRESS != 0 { read(ADDRESS + 4 * bank) } else { 0 };
        intact &= said & CORRUPT == 0;
        own.bank.store(bank + 1, Ordering::Relaxed);
        own.check[1].store(said, Ordering::Relaxed);
        own.check[2].store(address, Ordering::Relaxed);
        clear(STATUS + 4 * bank);
    }
    if !intact {
        own.taken.store(Taken::Lost as u32, Ordering::Release);
    }
}

/// The stack of the handler is left: another check may come.
pub(super) fn end() {
    if banks().is_some() && read(MCG_STATUS) & IN_PROGRESS != 0 {
        clear(MCG_STATUS);
    }
}

/// In the new life: says what this CPU's last machine check was, once.
pub(crate) fn report() {
    let own = record(this_cpu());
    let [status, said, address] = own.check.each_ref().map(|word| word.load(Ordering::Relaxed));
    match own.bank.swap(0, Ordering::Relaxed) {
        0 => {}
        u32::MAX => log!("Machine check on CPU {}: status {status:#x}, no bank's", this_cpu().0),
        bank => log!(
            "Machine check on CPU {}: status {status:#x}, bank {}: {said:#018x}, address {address:#x}",
            this_cpu().0,
            bank - 1
        ),
    }
}
