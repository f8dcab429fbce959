//! System calls of user programs and their returns, without leaving assembly.
//!
//! A system call enters the guest's kernel by its callback, the kernel goes back by the `iret` hypercall: the two most
//! frequent entries of all, and both only change where the vCPU goes on. What is usual of them is done here with
//! the general registers left where they are; all else goes the long way (`revenant_syscall`), whose effect is the
//! same (`pv_cpu::bounce`, `pv_cpu::iret`). Usual means: 64-bit code, events of the vCPU neither masked in user mode nor
//! pending at the return, a callback that masks them, flat selectors, no look around wanted, SMAP, nothing
//! noted for `xentrace`.
//!
//! A crash cannot come in between: there is no call, no lock, and each fault has its place to go on
//! ([`fixup`]). An NMI that stops CPUs comes back at once (`stubs::holds_registers`).
//!
//! RAX is the end of the frame in the vCPU's context, RCX and R11 are free: the processor put RIP and flags there,
//! and they are in the frame. RSP is the end of this CPU's stack.
#![expect(unsafe_code, reason = "entry points in assembly")]

use super::hardware::this_cpu;
use super::{access, stubs, swift_fault};
use crate::cells;
use core::arch::global_asm;
use core::sync::atomic::AtomicU32;
use machine::{layout, percpu};
use pv_cpu::{Context, Reg, offsets};
use xen_abi::arch::{FLAT_RING3_CS64, FLAT_RING3_SS64};
use xen_abi::callback::CALLBACKTYPE_SYSCALL;

// SAFETY: labels of the code below; only their addresses are taken.
unsafe extern "C" {
    static revenant_swift_start: u8;
    static revenant_swift_end: u8;
    static revenant_bounce_start: u8;
    static revenant_bounce_end: u8;
    static revenant_bounce_fault: u8;
    static revenant_swift_leave: u8;
    static revenant_return_start: u8;
    static revenant_return_end: u8;
    static revenant_return_fault: u8;
}

/// From the end of a CPU's stack to the address of the word that says whether the CPU has to look around.
pub(super) const LOOK: i64 = cell(cells::LOOK);

/// Bits 43 and up of the first address behind the hypervisor's range: a kernel's stack is there.
pub(super) const GUEST_KERNEL: u64 = xen_abi::arch::HYPERVISOR_VIRT_END >> 43;

/// From the frame's end to a field of the context.
pub(super) const fn field(offset: usize) -> i64 {
    offset as i64 - Context::FRAME_END as i64
}

/// From the frame's end to a register.
pub(super) const fn register(register: Reg) -> i64 {
    field(offsets::register(register))
}

/// From the end of a CPU's stack to a cell of its data.
pub(super) const fn cell(offset: u64) -> i64 {
    offset as i64 - percpu::STACK_TOP as i64
}

/// The selectors of Linux's 64-bit programs, which are the usual ones (`__USER_CS`, `__USER_DS`).
const LINUX_CS: u64 = 0x33;
const LINUX_SS: u64 = 0x2b;

const CALLBACK: usize = offsets::callback(CALLBACKTYPE_SYSCALL);

global_asm!(
    super::to_kernel_macros!(),
    r#"
    .pushsection .text.swift, "ax", @progbits
    .balign 64
    .global revenant_swift, revenant_swift_start, revenant_swift_end
    .global revenant_bounce_start, revenant_bounce_end, revenant_bounce_fault
    .global revenant_swift_leave, revenant_return_start, revenant_return_end, revenant_return_fault
revenant_swift_start:
revenant_swift:
    push qword ptr [rsp + {scratch}]
    pop qword ptr [rax + {rax}]
    cmp byte ptr [rip + {swift}], 0
    je revenant_not_usual
    cmp dword ptr [rax + {modes}], {user}
    jne revenant_swift_return

    # A system call of a user program.
    mov r11, [rsp + {look}]
    cmp dword ptr [r11], 0
    jne revenant_not_usual
    movabs rcx, {direct}
    add rcx, [rax + {info}]
    cmp byte ptr [rcx + 1], 0
    jne revenant_not_usual
    cmp byte ptr [rax + {callback_mask}], 0
    je revenant_not_usual
    cmp qword ptr [rax + {callback}], 0
    je revenant_not_usual
    to_kernel_stack 56, revenant_not_usual
revenant_bounce_start:
    mov r11, [rax + {rip}]
    mov [rcx - 56], r11
    mov [rcx - 40], r11
    mov r11, [rax + {rsp}]
    mov [rcx - 16], r11
    mov qword ptr [rcx - 8], {user_ss}
    mov qword ptr [rcx - 32], {user_cs}
    mov r11, [rax + {rflags}]
    mov [rcx - 48], r11
    mov [rcx - 24], r11
revenant_bounce_end:
    to_kernel_mode 56
    mov rcx, [rax + {callback}]
    .global revenant_bounce_leaves
revenant_bounce_leaves:
    mov rax, [rax + {rax}]
revenant_swift_leave:
    sysretq

    # A hypercall: the return of a system call, or for others.
revenant_swift_return:
    cmp dword ptr [rax + {modes}], {kernel}
    jne revenant_not_usual
    cmp dword ptr [rax + {rax}], {iret}
    jne revenant_not_usual
    mov rcx, [rax + {rsp}]
    mov r11, rcx
    shr r11, 43
    cmp r11d, {guest_kernel}
    jb revenant_not_usual
    cmp qword ptr [rax + {root_user}], 0
    je revenant_not_usual
    movabs r11, {direct}
    add r11, [rax + {info}]
    cmp byte ptr [r11], 0
    jne revenant_not_usual
    stac
revenant_return_start:
    push qword ptr [rcx + 64]
    push qword ptr [rcx + 56]
    push qword ptr [rcx + 48]
    push qword ptr [rcx + 40]
    push qword ptr [rcx + 32]
    push qword ptr [rcx + 8]
    push qword ptr [rcx + 16]
    push qword ptr [rcx]
revenant_return_end:
    clac
    cmp qword ptr [rsp + 32], {linux_cs}
    jne revenant_not_usual
    cmp qword ptr [rsp + 56], {linux_ss}
    jne revenant_not_usual
    bt dword ptr [rsp + 40], 9
    jnc revenant_not_usual
    and dword ptr [rsp + 40], {return_flags}
    mov byte ptr [r11 + 1], 0
    mov dword ptr [rax + {modes}], {user}
    swapgs
    mov r11, [rax + {root_user}]
    shl r11, 12
    mov cr3, r11
    pop qword ptr [rax + {rax}]
    pop rcx
    pop r11
    pop qword ptr [rax + {rip}]
    pop qword ptr [rax + {cs}]
    pop qword ptr [rax + {rflags}]
    pop qword ptr [rax + {rsp}]
    pop qword ptr [rax + {ss}]
    lea rsp, [rax + {rip}]
    .global revenant_return_leaves
revenant_return_leaves:
    mov rax, [rax + {rax}]
    jmp revenant_iret

revenant_bounce_fault:
    from_kernel_stack
revenant_return_fault:
    clac
revenant_not_usual:
    mov qword ptr [rax + {ss}], {user_ss}
    mov qword ptr [rax + {cs}], {user_cs}
    mov rcx, [rax + {rip}]
    mov r11, [rax + {rflags}]
    lea rsp, [rax + {rip}]
    mov rax, [rax + {rax}]
    jmp revenant_syscall
revenant_swift_end:
    .popsection
    .purgem to_kernel_stack
    .purgem to_kernel_mode
    .purgem from_kernel_stack
"#,
    scratch = const cell(stubs::SCRATCH_CELL),
    look = const LOOK,
    swift = sym access::SWIFT,
    direct = const layout::DIRECT_MAP,
    rax = const register(Reg::Rax),
    rip = const register(Reg::Rip),
    cs = const register(Reg::Cs),
    rflags = const register(Reg::Rflags),
    rsp = const register(Reg::Rsp),
    ss = const register(Reg::Ss),
    modes = const field(offsets::MODES),
    user = const offsets::MODES_USER,
    kernel = const offsets::MODES_KERNEL,
    info = const field(offsets::INFO),
    callback = const field(CALLBACK),
    callback_mask = const field(CALLBACK + offsets::CALLBACK_MASK),
    kernel_sp = const field(offsets::KERNEL_SP),
    root_kernel = const field(offsets::ROOT_KERNEL),
    root_user = const field(offsets::ROOT_USER),
    guest_kernel = const GUEST_KERNEL,
    handler_flags = const pv_cpu::HANDLER_FLAGS,
    return_flags = const pv_cpu::RETURN_FLAGS,
    iret = const xen_abi::hypercall::IRET,
    user_cs = const FLAT_RING3_CS64,
    user_ss = const FLAT_RING3_SS64,
    linux_cs = const LINUX_CS,
    linux_ss = const LINUX_SS,
);

/// Tells the code here where this CPU's word is that says whether it has to look around: by every start.
pub(crate) fn watch(look: &'static AtomicU32) {
    let at: *mut u64 =
        core::ptr::with_exposed_provenance_mut((percpu::block(this_cpu()) + cells::LOOK) as usize);
    // SAFETY: this CPU's own data page.
    unsafe { at.write_volatile(look.as_ptr().expose_provenance() as u64) };
}

/// Whether `rip` is a `sysretq` to a guest's kernel, after which no trap flag of before has an effect.
pub(crate) fn is_leaving(rip: u64) -> bool {
    rip == (&raw const revenant_swift_leave).addr() as u64 || swift_fault::is_leaving(rip)
}

/// Whether `rip` is in the code here.
pub(super) fn contains(rip: u64) -> bool {
    within(rip, &raw const revenant_swift_start, &raw const revenant_swift_end)
}

/// Whether `rip` is from `start` on and before `end`.
pub(super) fn within(rip: u64, start: *const u8, end: *const u8) -> bool {
    (start.addr() as u64..end.addr() as u64).contains(&rip)
}

/// Where to go on when an access to the guest's stack faults at `rip`: the long way.
pub(super) fn fixup(rip: u64) -> Option<u64> {
    let to = if within(rip, &raw const revenant_bounce_start, &raw const revenant_bounce_end) {
        &raw const revenant_bounce_fault
    } else if within(rip, &raw const revenant_return_start, &raw const revenant_return_end) {
        &raw const revenant_return_fault
    } else {
        return None;
    };
    Some(to.addr() as u64)
}
