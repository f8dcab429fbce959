//! Debug keys (`xl debug-keys`): parts of the hypervisor's state as text in its log.
//!
//! What is printed is read without locks while others change it: each line is of its own instant.

mod cpus;
mod domains;
mod machine;
mod report;

use crate::call::{Call, CallResult, fault};
use guest_memory::GuestMemory;
use ids::Gva;
use report::Report;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::hypercall::SYSCTL;
use xen_abi::sysctl::XEN_SYSCTL_DEBUG_KEYS;

/// Keys that one call may press.
const MOST_KEYS: u32 = 64;

/// What a key prints.
type Printer<M, A> = fn(&mut Report<'_, '_, M, A>);

/// The keys: which one, what its line says, what it prints, and whether `*` prints it too.
fn table<M: GuestMemory + 'static, A: Apply>() -> [(u8, &'static str, Printer<M, A>, bool); 19] {
    [
        (b'0', "dump Dom0 registers", cpus::dom0_registers, false),
        (b'H', "dump heap info", machine::heap, true),
        (b'I', "dump HVM irq info", nothing, true),
        (b'M', "dump MSI state", machine::messages, true),
        (b'Q', "dump PCI devices", machine::devices, true),
        (b'a', "dump timer queues", cpus::timers, true),
        (b'c', "dump ACPI Cx structures", nothing, true),
        (b'd', "dump registers", cpus::registers, true),
        (b'e', "dump evtchn info", domains::ports, true),
        (b'g', "print grant table usage", domains::grants, true),
        (b'i', "dump interrupt bindings", machine::interrupts, true),
        (b'm', "memory info", machine::memory, true),
        (b'n', "NMI statistics", cpus::nmis, true),
        (b'q', "dump domain (and guest debug) info", domains::domains, true),
        (b'r', "dump run queues", cpus::schedule, true),
        (b't', "display multi-cpu clock info", cpus::clock, true),
        (b'u', "dump NUMA info", machine::memory, true),
        (b'x', "print livepatch info", nothing, true),
        (b'z', "dump IOAPIC info", machine::io_apics, true),
    ]
}

/// Says that a key is pressed, in Xen's words; it says nothing of some.
fn say<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>, key: u8) {
    let now = report.call.now();
    match key {
        b'0' => report.line(format_args!("'0' pressed -> dumping Dom0's registers")),
        b'c' => report.line(format_args!("'c' pressed -> printing ACPI Cx structures")),
        b'd' => report.line(format_args!("'d' pressed -> dumping registers")),
        b'e' => report.line(format_args!("'e' pressed -> dumping event-channel info")),
        b'q' => report.line(format_args!("'q' pressed -> dumping domain info (now = {now})")),
        b'u' => report.line(format_args!("'u' pressed -> dumping numa info (now = {now})")),
        b'x' => report.line(format_args!("'x' pressed - Dumping all livepatch patches")),
        _ => {}
    }
}

/// Some parts do not exist here: there is nothing to be said of them.
fn nothing<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>) {
    report.line(format_args!("none"));
}

/// Presses `count` keys that stand at `at`. A key that is not known does nothing, as on Xen.
///
/// # Errors
/// `EFAULT`; `E2BIG`: more than anybody types.
pub(crate) fn press<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    count: u32,
) -> CallResult {
    if count > MOST_KEYS {
        return Err(Errno::E2BIG);
    }
    let mut keys = [0; MOST_KEYS as usize];
    let keys = &mut keys[..count as usize];
    call.memory.copy_in(Gva(at), keys).map_err(fault)?;
    let mut report = Report::new(call);
    let mut known = true;
    for key in keys.iter().copied() {
        known &= one(&mut report, key);
    }
    report.flush();
    if !known {
        call.notice(SYSCTL, XEN_SYSCTL_DEBUG_KEYS.into());
    }
    call.reply_after(|_| Ok(()))
}

/// One key; whether it is known.
fn one<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>, key: u8) -> bool {
    let table = table::<M, A>();
    match key {
        b'h' => {
            report.line(format_args!("'h' pressed -> showing installed handlers"));
            for (key, what, ..) in &table {
                report.line(format_args!(" key '{}' (ascii '{key:x}') => {what}", char::from(*key)));
            }
        }
        b'*' => {
            report.line(format_args!("'*' pressed -> firing all diagnostic keyhandlers"));
            for (key, what, print, _) in table.iter().filter(|entry| entry.3) {
                report.line(format_args!("[{}: {what}]", char::from(*key)));
                say(report, *key);
                print(report);
            }
        }
        _ => {
            let Some((key, _, print, _)) = table.iter().find(|entry| entry.0 == key) else { return false };
            say(report, *key);
            print(report);
        }
    }
    true
}
