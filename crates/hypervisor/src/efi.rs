//! The firmware's runtime services (UEFI specification 2.10, 2.3.4 and 8), called on this CPU's stack with interrupts
//! off.
//!
//! The services run at the physical addresses that they were loaded at, in page tables of their own: the memory they
//! ask for mapped where it is, and the hypervisor's slots. They use vector registers, so the vCPU's extended state is
//! put into its area before a call and loaded again behind it. One call runs at a time.
//!
//! A fault in the firmware ends the call and all later ones of this life; the guest gets `EFI_DEVICE_ERROR`. So does a
//! hang that the watchdog notices. A crash of the hypervisor while a CPU is in a call makes that call again, unless the
//! CPU had to be taken away from it.
#![expect(unsafe_code, reason = "calls the firmware")]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use boot_info::{BootFacts, EfiRegion, Firmware as FirmwareMemory};
use command_line::Options;
use domain::{RuntimeCall, RuntimeServices, Unavailable};
use ids::Maddr;
use machine::paging::{Access, PageSize, PageTables, TableMemory};
use machine::{fpu, layout, percpu};
use spin::Mutex;
use system::Platform as _;
use x86::controlregs::{self, Cr0};

use crate::cells;
use crate::console::log;
use crate::fpu_areas;
use crate::guest::hardware::this_cpu;
use crate::guest::host::HostFrame;
use crate::guest::run;
use crate::sealed::sealed;

/// Where this CPU's cell lies in its data pages. Kept aside: it outlives a microreboot.
const CELL: u64 = cells::FIRMWARE_CALL;
/// `EFI_INVALID_PARAMETER`.
const INVALID_PARAMETER: u64 = 1 << 63 | 2;
/// `EFI_DEVICE_ERROR`.
const DEVICE_ERROR: u64 = 1 << 63 | 7;
/// Arguments of the longest service.
const ARGUMENTS: usize = 5;

/// Services in the table (UEFI 2.10, 4.5).
const SERVICES: usize = 14;
/// Neither the firmware nor what it needs lies at this address or higher: the hypervisor's half begins above.
const END: u64 = 1 << 47;

/// Places of the services in their table.
mod service {
    pub(super) const GET_TIME: usize = 0;
    pub(super) const SET_TIME: usize = 1;
    pub(super) const GET_WAKEUP_TIME: usize = 2;
    pub(super) const SET_WAKEUP_TIME: usize = 3;
    pub(super) const GET_VARIABLE: usize = 6;
    pub(super) const GET_NEXT_VARIABLE_NAME: usize = 7;
    pub(super) const SET_VARIABLE: usize = 8;
    pub(super) const GET_NEXT_HIGH_MONOTONIC_COUNT: usize = 9;
    pub(super) const RESET_SYSTEM: usize = 10;
    pub(super) const QUERY_VARIABLE_INFO: usize = 13;
}

// SAFETY: labels of the code below; it is called by `asm!`, which says what it takes, and only addresses are taken.
unsafe extern "C" {
    fn revenant_efi_call();
    static revenant_efi_fault: u8;
}

// RDI: the function, RSI: five arguments, RDX: page tables, RCX: the cell that says that a call is under way, by the
// stack to come back to. RAX: the function's result, RDX: 1 after a fault. Global entries of guests leave the TLB, for
// they may stand where the firmware is.
global_asm!(
    r#"
    .pushsection .text.efi, "ax", @progbits
    .global revenant_efi_call, revenant_efi_fault
revenant_efi_call:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    mov rax, cr3
    push rax
    mov r12, rcx
    mov r13, rsi
    mov r11, rdi
    mov [r12], rsp
    mov cr3, rdx
    mov rax, cr4
    mov rcx, rax
    and rcx, -129
    mov cr4, rcx
    mov cr4, rax
    sub rsp, 48
    mov rax, [r13 + 32]
    mov [rsp + 32], rax
    mov r9, [r13 + 24]
    mov r8, [r13 + 16]
    mov rdx, [r13 + 8]
    mov rcx, [r13]
    cld
    call __x86_indirect_thunk_r11
    add rsp, 48
    xor edx, edx
2:
    pop rcx
    mov cr3, rcx
    cli
    cld
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
revenant_efi_fault:                 # the stack is what the cell said
    mov edx, 1
    jmp 2b
    .popsection
"#
);

/// Where a CPU in a call comes back to, else 0.
fn cell() -> &'static AtomicU64 {
    let at: *const AtomicU64 =
        core::ptr::with_exposed_provenance((percpu::block(this_cpu()) + CELL) as usize);
    // SAFETY: this CPU's data page, mapped for good, zeroed by boot, used as nothing else.
    unsafe { &*at }
}

/// How the services are reached. Plain data: part of the sealed record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Services {
    /// Page tables with their memory.
    root: Maddr,
    /// The services, in their table's order from `GetTime` on.
    functions: [u64; SERVICES],
}

impl Services {
    /// Builds the page tables; `None` where there are no services, or `efi=no-rs`.
    ///
    /// `tables` are the final ones, slots 256 and above complete.
    pub(crate) fn map(
        tables: PageTables,
        memory: &mut impl TableMemory,
        firmware: &impl FirmwareMemory,
        facts: &BootFacts,
        options: &Options,
    ) -> Option<Self> {
        let table = facts.efi.runtime_services?;
        let functions = functions(firmware, table)?;
        if !options.efi.runtime_services {
            log!("EFI {:#x}: runtime services are off (efi=no-rs)", facts.efi.version);
            return None;
        }
        let own = PageTables::new(memory).ok()?;
        for slot in layout::FIRST_SLOT..layout::END_SLOT {
            let entry = memory.read(tables.root(), slot);
            memory.write(own.root(), slot, entry);
        }
        for region in facts.efi.runtime_memory() {
            let Some(access) = access(region, options.efi.uncached) else { continue };
            // The hypervisor's half and what no address has are not the firmware's to name.
            if region.end() > END {
                continue;
            }
            own.map(memory, region.start.0, region.start, region.len, access, PageSize::Large).ok()?;
        }
        log!(
            "EFI {:#x}: {} ranges of runtime memory, services at {:#x}",
            facts.efi.version,
            facts.efi.runtime_memory().count(),
            table.0
        );
        Some(Self { root: own.root(), functions })
    }
}

/// The addresses of the services; `None` if the table cannot be read or they are nowhere a firmware can be.
fn functions(firmware: &impl FirmwareMemory, table: Maddr) -> Option<[u64; SERVICES]> {
    const HEADER: u64 = 24;
    let bytes = firmware.bytes(Maddr(table.0.checked_add(HEADER)?), 8 * SERVICES)?;
    let mut functions = [0; SERVICES];
    for (function, bytes) in functions.iter_mut().zip(bytes.chunks_exact(8)) {
        *function = u64::from_le_bytes(bytes.try_into().ok()?);
    }
    functions.iter().all(|function| *function < END).then_some(functions)
}

/// How a range is mapped; `None`: not at all, for it says of no way.
fn access(region: &EfiRegion, uncached: bool) -> Option<Access> {
    if region.attributes & EfiRegion::WRITE_BACK == 0 {
        let may = region.attributes & EfiRegion::UNCACHED != 0 || uncached;
        return may.then_some(Access::Device);
    }
    // Images lie there whole, code and data.
    Some(if region.kind == EfiRegion::RUNTIME_CODE { Access::Firmware } else { Access::Write })
}

/// Derived: a service faulted in this life.
static BROKEN: AtomicBool = AtomicBool::new(false);
/// Derived: one call at a time.
static ONE: Mutex<()> = Mutex::new(());

/// The services for the composition, where there are any.
pub(crate) fn services() -> Option<&'static dyn RuntimeServices> {
    static FIRMWARE: Firmware = Firmware;
    sealed().efi.map(|_| &FIRMWARE as &dyn RuntimeServices)
}

#[derive(Debug)]
struct Firmware;

/// The address of a value as an argument.
fn address<T>(value: &T) -> u64 {
    core::ptr::from_ref(value) as u64
}

/// The same of one that the service writes.
fn place<T>(value: &mut T) -> u64 {
    core::ptr::from_mut(value) as u64
}

impl RuntimeServices for Firmware {
    fn call(&self, call: RuntimeCall<'_>) -> Result<u64, Unavailable> {
        let is_name = |name: &[u16]| name.contains(&0);
        let (service, arguments) = match call {
            RuntimeCall::GetTime { time, capabilities } => {
                (service::GET_TIME, [place(time), place(capabilities), 0, 0, 0])
            }
            RuntimeCall::SetTime(time) => (service::SET_TIME, [address(time), 0, 0, 0, 0]),
            RuntimeCall::GetWakeupTime { enabled, pending, time } => {
                (service::GET_WAKEUP_TIME, [place(enabled), place(pending), place(time), 0, 0])
            }
            RuntimeCall::SetWakeupTime { enable, time } => {
                (service::SET_WAKEUP_TIME, [enable.into(), time.map_or(0, address), 0, 0, 0])
            }
            RuntimeCall::NextHighMonotonicCount(count) => {
                (service::GET_NEXT_HIGH_MONOTONIC_COUNT, [place(count), 0, 0, 0, 0])
            }
            RuntimeCall::GetVariable { name, vendor, attributes, size, data } if is_name(name) => {
                *size = data.len() as u64;
                let data = if data.is_empty() { 0 } else { data.as_mut_ptr() as u64 };
                (
                    service::GET_VARIABLE,
                    [name.as_ptr() as u64, address(vendor), place(attributes), place(size), data],
                )
            }
            RuntimeCall::SetVariable { name, vendor, attributes, data } if is_name(name) => {
                let (len, data) = (data.len() as u64, data.as_ptr() as u64);
                (service::SET_VARIABLE, [name.as_ptr() as u64, address(vendor), attributes.into(), len, data])
            }
            RuntimeCall::NextVariableName { name, size, vendor } if is_name(name) => {
                *size = 2 * name.len() as u64;
                let arguments = [place(size), name.as_mut_ptr() as u64, place(vendor), 0, 0];
                (service::GET_NEXT_VARIABLE_NAME, arguments)
            }
            RuntimeCall::QueryVariableInfo { attributes, sizes: [all, left, one] } => {
                (service::QUERY_VARIABLE_INFO, [attributes.into(), place(all), place(left), place(one), 0])
            }
            RuntimeCall::GetVariable { .. }
            | RuntimeCall::SetVariable { .. }
            | RuntimeCall::NextVariableName { .. } => return Ok(INVALID_PARAMETER),
        };
        let services = sealed().efi.ok_or(Unavailable)?;
        // SAFETY: the service's own arguments: values and buffers that live until it comes back, with their sizes.
        unsafe { run(services, service, arguments) }
    }
}

/// Calls the service at offset `service` of the table.
///
/// # Safety
/// The arguments are what the service takes.
unsafe fn run(services: Services, service: usize, arguments: [u64; ARGUMENTS]) -> Result<u64, Unavailable> {
    let _one = ONE.lock();
    if BROKEN.load(Ordering::Relaxed) {
        return Err(Unavailable);
    }
    let system = run::system();
    let vcpu = system.schedule.loaded(this_cpu());
    // SAFETY: ring 0; reading has no effect.
    let task_switched = unsafe { controlregs::cr0() }.contains(Cr0::CR0_TASK_SWITCHED);
    // SAFETY: XSAVE is there, so CR4.OSXSAVE is on.
    let xcr0 = (sealed().facts.cpu.xcr0 != 0).then(|| unsafe { fpu::xcr0() });
    // All that is not in its frame: a CPU that does not come back is taken away from the firmware (`taken_back`).
    vcpu.inspect(|vcpu| system.platform.save(*vcpu, system.state.contexts.context(*vcpu)));
    let (status, fault): (u64, u64);
    // SAFETY: (1) interrupts are off and the stack is this CPU's own; (2) the tables hold the hypervisor's slots, thus
    // this code, its stack and the arguments; (3) a fault in the firmware comes back by `fixup`; (4) the extended state
    // is saved.
    unsafe {
        asm!(
            "call {call}", call = sym revenant_efi_call,
            inout("rdi") services.functions[service] => _, inout("rsi") arguments.as_ptr() => _,
            inout("rdx") services.root.0 => fault, inout("rcx") cell().as_ptr() => _, out("rax") status,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    vcpu.inspect(|vcpu| fpu_areas::restore(*vcpu));
    if let Some(xcr0) = xcr0 {
        // SAFETY: the value that was there.
        unsafe { fpu::set_xcr0(xcr0) };
    }
    if task_switched {
        fpu::set_task_switched();
    }
    cell().store(0, Ordering::Relaxed);
    if fault == 0 {
        return Ok(status);
    }
    BROKEN.store(true, Ordering::Relaxed);
    log!("EFI: service {service} of the firmware's table failed: services are off from now on");
    Ok(DEVICE_ERROR)
}

/// Whether this CPU is in a call, be it in the firmware or on the way to it or from it.
pub(crate) fn is_calling() -> bool {
    cell().load(Ordering::Relaxed) != 0
}

/// Whether this CPU, stopped with these registers, was in the firmware.
pub(crate) fn is_in_firmware(frame: &HostFrame) -> bool {
    is_calling() && frame.cs & 3 == 0 && frame.rip < END
}

/// Ends a call in which the firmware faulted; false if the fault is the hypervisor's own.
pub(crate) fn fixup(frame: &mut HostFrame) -> bool {
    if !is_in_firmware(frame) {
        return false;
    }
    log!("EFI: exception {} error {:#x} in the firmware at {:#x}", frame.vector, frame.error, frame.rip);
    end_call(frame);
    true
}

/// Ends a call in which the firmware hangs; false if the hypervisor does.
pub(crate) fn end_hang(frame: &mut HostFrame) -> bool {
    if !is_in_firmware(frame) {
        return false;
    }
    log!("EFI: the firmware hangs at {:#x}", frame.rip);
    end_call(frame);
    true
}

fn end_call(frame: &mut HostFrame) {
    frame.rip = (&raw const revenant_efi_fault).addr() as u64;
    frame.rsp = cell().load(Ordering::Relaxed);
}

/// In a new life: this CPU's vCPU gets its extended state back if the crash cut a call. `taken`: the CPU had to be taken
/// away from the firmware, which is not called again.
pub(crate) fn after_crash(taken: bool) {
    if cell().swap(0, Ordering::Relaxed) != 0
        && let Some(vcpu) = run::system().schedule.loaded(this_cpu())
    {
        fpu_areas::restore(vcpu);
        if taken {
            BROKEN.store(true, Ordering::Relaxed);
            log!("EFI: CPU {} was taken away from the firmware: services are off from now on", this_cpu().0);
        }
    }
}

/// `ResetSystem`, cold. Comes back if there are no services or this one does nothing.
pub(crate) fn reset() {
    if !crate::sealed::is_mapped() || cell().load(Ordering::Relaxed) != 0 {
        return;
    }
    let Some(services) = sealed().efi else { return };
    let arguments = [0_u64; ARGUMENTS];
    // SAFETY: as in `run`; nothing of this machine's state is needed any more, and no lock is waited for.
    unsafe {
        asm!(
            "call {call}", call = sym revenant_efi_call,
            inout("rdi") services.functions[service::RESET_SYSTEM] => _, inout("rsi") arguments.as_ptr() => _,
            inout("rdx") services.root.0 => _, inout("rcx") cell().as_ptr() => _, out("rax") _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
}
