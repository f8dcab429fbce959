//! The machine as the composition sees it.
#![expect(unsafe_code, reason = "drives the processor")]

use super::{access, gs, guarded, idle, shootdown, stubs, windows};
use crate::console::{self, log};
use crate::sealed::sealed;
use crate::{devices, fpu_areas, machine_nmi, pci_config, stop, watchdog};
use command_line::LogLevels;
use core::arch::asm;

use ids::{CpuId, Maddr, Mfn, VcpuSlot};
use machine::apic::LocalApic;
use machine::paging::TableMemory;
use machine::{clock, control, direct, percpu, port, tables};
use pv_cpu::Context;
use system::{Base, Clock, Flush, Platform, Power, own_vector};
use timers::TimeScale;
use vault::GuestOwned;

/// The machine. Derived: what it holds is set by every start.
#[derive(Debug)]
pub(crate) struct Hardware {
    /// TSC to system time.
    pub(crate) scale: TimeScale,
    /// How this CPU's timer is set.
    pub(crate) alarm: Alarm,
}

/// The timer of local APICs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarm {
    /// It waits for a time stamp; else it counts down.
    pub(crate) by_stamp: bool,
    /// Rate of what it goes by.
    rate: clock::Rate,
}

impl Alarm {
    /// The machine's.
    pub(crate) fn new(timing: boot_info::Timing) -> Self {
        let by_stamp = timing.tsc_invariant && LocalApic::has_deadline();
        let khz = if by_stamp { timing.tsc_khz } else { timing.apic_timer_khz };
        Self { by_stamp, rate: clock::Rate::from_khz(khz) }
    }
}

/// Longest time the timer is set for, ns: it comes early then, and is set again.
const LONGEST_ALARM: u64 = 1 << 31;

const FS_BASE: u32 = 0xc000_0100;
const GS_BASE: u32 = 0xc000_0101;
const OTHER_GS_BASE: u32 = 0xc000_0102;
const TSC_AUX: u32 = 0xc000_0103;
/// CR4 bits of a guest that reach the processor: TSD, DE, FSGSBASE.
const GUEST_CR4: u64 = 1 << 2 | 1 << 3 | 1 << 16;
const CR0_TS: u64 = 1 << 3;
fn msr_of(which: Base) -> u32 {
    match which {
        Base::Fs => FS_BASE,
        Base::Gs => GS_BASE,
        Base::OtherGs => OTHER_GS_BASE,
    }
}

/// Tables that exist already, through the direct map.
pub(crate) struct Existing;

impl TableMemory for Existing {
    fn read(&self, table: Maddr, index: usize) -> u64 {
        // SAFETY: a table of the hypervisor's own address space.
        unsafe { direct::read_word(Maddr(table.0 + 8 * index as u64)) }
    }
    fn write(&mut self, table: Maddr, index: usize, entry: u64) {
        // SAFETY: as above; entries of this CPU's own windows, or of first boot's vault and image.
        unsafe { direct::write_word(Maddr(table.0 + 8 * index as u64), entry) };
    }
    fn allocate(&mut self) -> Option<Maddr> {
        None
    }
}

/// The CPU whose block the stack in use belongs to.
pub(crate) fn this_cpu() -> CpuId {
    let here: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) here, options(pure, nomem, nostack, preserves_flags)) };
    percpu::cpu_of(here).unwrap_or(CpuId(0))
}

impl Hardware {
    /// Makes the entry code put this vCPU's registers into its context.
    pub(crate) fn attach(&self, context: &Context) {
        let block = percpu::block(this_cpu());
        let end = core::ptr::from_ref(context) as u64 + Context::FRAME_END as u64;
        context.stack.set(block + percpu::STACK_TOP);
        let cell: *mut u64 = core::ptr::with_exposed_provenance_mut((block + stubs::FRAME_CELL) as usize);
        // SAFETY: this CPU's own data page.
        unsafe { cell.write_volatile(end) };
        // RSP0 lies at offset 4 of the task state segment.
        let rsp0: *mut u64 = core::ptr::with_exposed_provenance_mut((block + percpu::TSS + 4) as usize);
        // SAFETY: this CPU's own TSS page; the field is packed.
        unsafe { rsp0.write_unaligned(guarded::entry_stack(this_cpu(), end)) };
    }
}

impl Clock for Hardware {
    fn now(&self) -> u64 {
        self.scale.to_ns(clock::tsc())
    }
}

impl Platform for Hardware {
    fn budget(&self) -> u32 {
        // Where failures come all the time, no entry is as long as it takes for several of them.
        if cfg!(feature = "chaos") { 32 } else { 256 }
    }
    #[inline(always)]
    fn dispatching(&self) {
        crate::inject::dispatched();
    }
    #[inline(always)]
    fn load_root(&self, root: Mfn) {
        // SAFETY: a validated root table, which has the hypervisor's entries.
        unsafe { control::set_root(root.maddr()) };
        guarded::root_loaded(root);
    }
    fn load_space(&self, root: Mfn) {
        // SAFETY: as for `load_root`.
        unsafe { control::set_space(root.maddr()) };
        guarded::root_loaded(root);
    }
    #[inline(always)]
    fn swap_gs(&self, active: &GuestOwned<u8>, mode: u8) {
        gs::swap(active, mode);
    }
    fn base(&self, which: Base) -> u64 {
        // SAFETY: part of x86-64.
        unsafe { control::read_msr(msr_of(which)) }
    }
    fn set_base(&self, which: Base, value: u64) {
        // SAFETY: the value is canonical, checked where the guest gave it; the hypervisor uses no segment.
        unsafe { control::write_msr(msr_of(which), value) };
    }
    fn flush(&self, what: Flush) {
        match what {
            Flush::All => control::flush_tlb(),
            Flush::Page(page) => control::flush_page(page.0),
        }
    }
    fn ask_flush(&self, cpu: CpuId, what: Flush) {
        shootdown::ask(cpu, what);
    }
    #[inline(always)]
    fn await_flush(&self, cpus: u32) {
        shootdown::wait(this_cpu(), cpus);
    }
    fn set_m2p(&self, mfn: Mfn, pfn: u64) {
        let record = sealed();
        let at = record.m2p.start + 8 * mfn.0;
        if at < record.m2p_end {
            // SAFETY: within the table's own memory.
            unsafe { direct::write_word(Maddr(at), pfn) };
        }
    }
    fn set_gdt(&self, frames: &[Mfn]) {
        windows::GDT.show(frames);
    }
    fn set_ldt(&self, frames: &[Mfn], entries: u32) {
        windows::LDT.show(frames);
        tables::set_ldt(this_cpu(), entries);
    }
    fn set_debug(&self, registers: &[u64; 8]) {
        let [d0, d1, d2, d3, _, _, d6, d7] = *registers;
        // SAFETY: breakpoints outside of the hypervisor's range and control bits checked where the guest
        // gave them.
        unsafe {
            asm!(
                "mov dr7, {zero}", "mov dr0, {d0}", "mov dr1, {d1}", "mov dr2, {d2}", "mov dr3, {d3}",
                "mov dr6, {d6}", "mov dr7, {d7}",
                zero = in(reg) 0_u64, d0 = in(reg) d0, d1 = in(reg) d1, d2 = in(reg) d2, d3 = in(reg) d3,
                d6 = in(reg) d6, d7 = in(reg) d7, options(nostack, preserves_flags)
            );
        }
    }
    fn set_control(&self, task_switched: bool, cr4: u64, xcr0: u64) {
        // SAFETY: only bits that the policy lets guests set.
        unsafe {
            asm!("mov {t}, cr4", "and {t}, {keep}", "or {t}, {set}", "mov cr4, {t}", t = out(reg) _,
                keep = in(reg) !GUEST_CR4, set = in(reg) cr4 & GUEST_CR4, options(nostack));
        }
        if sealed().facts.cpu.xcr0 != 0 && xcr0 & 1 != 0 {
            // SAFETY: the policy allows only supported, consistent values.
            unsafe { machine::fpu::set_xcr0(xcr0 & sealed().facts.cpu.xcr0) };
        }
        // SAFETY: TS only makes FPU instructions trap.
        unsafe {
            asm!("mov {t}, cr0", "and {t}, {keep}", "or {t}, {set}", "mov cr0, {t}", t = out(reg) _,
                keep = in(reg) !CR0_TS, set = in(reg) if task_switched { CR0_TS } else { 0 }, options(nostack));
        }
    }
    #[inline(always)]
    fn fault_address(&self) -> u64 {
        control::fault_address()
    }
    #[inline(always)]
    fn cpu(&self) -> CpuId {
        this_cpu()
    }
    fn kick(&self, cpu: CpuId) {
        let facts = &sealed().facts;
        if let Some(target) = facts.cpus().get(cpu.0 as usize) {
            let ipi = machine::apic::Ipi::Fixed(own_vector::KICK);
            // SAFETY: the vector has a gate on every CPU.
            unsafe { devices::local_apic(facts).send(ipi, target.apic_id) };
        }
    }
    fn arm_timer(&self, deadline: u64) {
        let apic = devices::local_apic(sealed().facts);
        let deadline =
            if watchdog::is_on() { deadline.min(self.now() + watchdog::LOOK_EVERY) } else { deadline };
        if deadline == u64::MAX {
            if self.alarm.by_stamp {
                apic.set_deadline(0)
            } else {
                apic.stop_timer()
            }
            return;
        }
        let now = clock::tsc();
        let left = deadline.saturating_sub(self.scale.to_ns(now)).min(LONGEST_ALARM);
        let ticks = self.alarm.rate.ticks(left);
        if self.alarm.by_stamp {
            apic.set_deadline(now.saturating_add(ticks));
        } else {
            apic.start_timer(u32::try_from(ticks).unwrap_or(u32::MAX));
        }
    }
    fn idle(&self) {
        watchdog::waits();
        shootdown::set_active(false);
        idle::wait();
        shootdown::set_active(true);
        watchdog::waits_no_more();
    }
    fn end_of_interrupt(&self) {
        devices::local_apic(sealed().facts).end_of_interrupt();
        shootdown::serve(this_cpu());
        watchdog::on_interrupt();
    }
    fn port_in(&self, number: u16, width: u32) -> u32 {
        match width {
            // SAFETY: a port that is Dom0's.
            1 => unsafe { port::read_u8(number) }.into(),
            // SAFETY: as above.
            2 => unsafe { port::read_u16(number) }.into(),
            // SAFETY: as above.
            _ => unsafe { port::read_u32(number) },
        }
    }
    fn port_out(&self, number: u16, width: u32, value: u32) {
        match width {
            // SAFETY: a port that is Dom0's.
            1 => unsafe { port::write_u8(number, value as u8) },
            // SAFETY: as above.
            2 => unsafe { port::write_u16(number, value as u16) },
            // SAFETY: as above.
            _ => unsafe { port::write_u32(number, value) },
        }
    }
    fn write_device(&self, at: Maddr, width: u32, value: u64) {
        pci_config::write_device(at, width, value);
    }
    fn owns_port(&self, number: u16) -> bool {
        let timer = sealed().facts.acpi.fadt.and_then(|fadt| fadt.pm_timer);
        console::owns_port(number)
            || timer.is_some_and(|block| (block.port..block.port.saturating_add(4)).contains(&number))
    }
    fn load_user_gs(&self, selector: u16) {
        gs::load_other(selector);
    }
    fn save(&self, vcpu: VcpuSlot, context: &Context) {
        fpu_areas::save(vcpu);
        context.fs_base.set(self.base(Base::Fs));
        let active = usize::from(context.gs_mode.get() & 1);
        context.gs_base[active].set(self.base(Base::Gs));
        context.gs_base[active ^ 1].set(self.base(Base::OtherGs));
        for (word, value) in context.selectors.iter().zip(self.selectors()) {
            word.set(value);
        }
    }
    fn restore(&self, vcpu: VcpuSlot, context: &Context) {
        guarded::switched();
        self.attach(context);
        fpu_areas::restore(vcpu);
        self.write_msr(TSC_AUX, context.tsc_aux.get().into());
    }
    fn load_selectors(&self, selectors: [u16; 4]) -> bool {
        access::load_selectors(selectors)
    }
    fn force_selector(&self, which: usize, selector: u16) {
        tables::show_flat_at(this_cpu(), selector);
        access::load_selector(which, selector);
    }
    fn set_swift(&self, allowed: bool) {
        access::set_swift(allowed);
    }
    fn read_msr(&self, index: u32) -> Option<u64> {
        access::read_msr(index)
    }
    fn write_msr(&self, index: u32, value: u64) {
        // SAFETY: registers that the policy gives to guests, with checked values.
        unsafe { control::write_msr(index, value) };
    }
    #[inline(always)]
    fn tsc(&self) -> u64 {
        clock::tsc()
    }
    fn write_back_caches(&self) {
        // SAFETY: costs time only.
        unsafe { asm!("wbinvd", options(nostack)) };
    }
    fn console(&self, bytes: &[u8]) {
        console::guest_output(bytes);
    }
    fn nmi_reasons(&self) -> u8 {
        machine_nmi::reasons()
    }
    fn nmi_told(&self, reasons: u8) {
        machine_nmi::told(reasons);
    }
    fn forget_log(&self, position: u32) {
        console::forget(position);
    }
    fn set_log_levels(&self, levels: [LogLevels; 2]) {
        console::set_levels(levels);
    }
    fn console_receive(&self, out: &mut [u8]) -> usize {
        console::receive(out)
    }
    fn selectors(&self) -> [u16; 4] {
        access::selectors()
    }
    fn log(&self, line: core::fmt::Arguments<'_>) {
        log!("{line}");
    }
    fn program_route(&self, irq: u32) {
        crate::routes::program(irq);
    }
    fn forget(&self, vcpu: VcpuSlot) {
        fpu_areas::forget(vcpu);
    }
    fn let_go(&self) {
        stop::forget_held();
        // SAFETY: the hypervisor's own root; no guest runs here before another one's is loaded.
        unsafe { control::set_root(sealed().root) };
        self.set_gdt(&[]);
        self.set_ldt(&[], 0);
    }
    fn power(&self, what: Power) {
        crate::power::change(what);
    }
}
