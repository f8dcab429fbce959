//! The fake machine: what a processor and its devices hold, as plain values.

use crate::memory::Memory;
use crate::shared::Shared;
use crate::shootdown::Shootdown;
use crate::steps::{Cut, cut, step};
use crate::tlb::Tlb;
use crate::world::DEVICES;
use ids::{CpuId, Maddr, Mfn, VcpuSlot};
use pv_cpu::Context;
use std::cell::Cell;
use system::{Base, Clock, Flush, Platform, Power};

/// A processor's own state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cpu {
    /// The root table in use.
    pub root: Mfn,
    /// FS base, active GS base, the other one.
    pub bases: [u64; 3],
    /// The selector last loaded into the other GS.
    pub gs_selector: u16,
    /// ds, es, fs, gs.
    pub selectors: [u16; 4],
    /// Frames shown as the GDT.
    pub gdt: Vec<Mfn>,
    /// Frames shown as the LDT, and its entries.
    pub ldt: (Vec<Mfn>, u32),
    /// DR0 to DR7.
    pub debug: [u64; 8],
    /// CR0.TS, CR4, XCR0.
    pub control: (bool, u64, u64),
    /// TSC_AUX.
    pub tsc_aux: u64,
    /// Stands for the extended state: a number that belongs to the vCPU.
    pub fpu: u64,
    /// CR2.
    pub fault_address: u64,
    /// The timer is armed for this time; `u64::MAX`: it is not.
    pub timer: u64,
    /// Interrupts in service.
    pub in_service: Vec<u8>,
}

/// What no CPU has for itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Devices {
    /// Machine to physical.
    pub m2p: Vec<u64>,
    /// Console output.
    pub console: Vec<u8>,
    /// CPUs with a kick on its way.
    pub kicked: Vec<bool>,
    /// Saved extended state by vCPU.
    pub fpu_areas: Vec<u64>,
}

/// The machine.
#[derive(Debug)]
pub struct Machine {
    /// Memory.
    pub memory: Memory,
    /// Processors.
    pub cpus: Shared<Vec<Cpu>>,
    /// Devices.
    pub devices: Shared<Devices>,
    /// What processors remember of page tables.
    pub(crate) tlbs: Shared<Vec<Tlb>>,
    /// Which have to forget it, which are in the hypervisor, and have asked others.
    pub(crate) shootdown: Shared<Vec<Shootdown>>,
    /// What a processor remembers and must not.
    pub(crate) stale: Shared<Option<String>>,
    /// Flushes are forgotten.
    pub(crate) forgetful: Shared<bool>,
    /// System time, ns.
    pub now: Shared<u64>,
    /// Lines of the hypervisor's log are shown.
    pub verbose: Shared<bool>,
    /// Transactions an entry may make before it is run again for its rest.
    pub budget: Shared<u32>,
}

std::thread_local! {
    /// The CPU that this thread is.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// Makes this thread a CPU.
pub(crate) fn become_cpu(cpu: u32) {
    CURRENT.set(cpu as usize);
}

/// The CPU that this thread is.
pub(crate) fn this_cpu() -> u32 {
    CURRENT.get() as u32
}

const TSC_AUX: u32 = 0xc000_0103;

impl Machine {
    /// A machine with zeroed processors.
    pub fn new(frames: usize, cpus: usize, vcpus: usize) -> Self {
        let cpu = Cpu { timer: u64::MAX, ..Cpu::default() };
        Self {
            memory: Memory::new(frames),
            cpus: Shared::new(vec![cpu; cpus]),
            devices: Shared::new(Devices {
                m2p: vec![u64::MAX; frames],
                console: Vec::new(),
                kicked: vec![false; cpus],
                fpu_areas: vec![0; vcpus],
            }),
            tlbs: Shared::new(vec![Tlb::new(DEVICES.end as usize); cpus]),
            shootdown: Shared::new(vec![Shootdown::default(); cpus]),
            stale: Shared::default(),
            forgetful: Shared::default(),
            now: Shared::new(1_000_000),
            verbose: Shared::new(false),
            budget: Shared::new(2048),
        }
    }

    /// The root table of the CPU that runs.
    pub fn root(&self) -> Mfn {
        self.cpus.borrow()[CURRENT.get()].root
    }

    /// Looks at the CPU that runs.
    pub fn here<T>(&self, f: impl FnOnce(&mut Cpu) -> T) -> T {
        f(&mut self.cpus.borrow_mut()[CURRENT.get()])
    }

    /// A change of the CPU that runs, as a step.
    fn change(&self, f: impl FnOnce(&mut Cpu)) {
        step();
        self.here(f);
    }
}

fn index(which: Base) -> usize {
    match which {
        Base::Fs => 0,
        Base::Gs => 1,
        Base::OtherGs => 2,
    }
}

impl Clock for Machine {
    fn now(&self) -> u64 {
        self.now.get()
    }
}

impl Platform for Machine {
    fn budget(&self) -> u32 {
        self.budget.get()
    }
    fn load_root(&self, root: Mfn) {
        self.change(|cpu| cpu.root = root);
        self.tlb(Tlb::load_root);
    }
    fn load_space(&self, root: Mfn) {
        self.change(|cpu| cpu.root = root);
        self.tlb(Tlb::load_space);
    }
    fn swap_gs(&self, active: &vault::GuestOwned<u8>, mode: u8) {
        // One step: the word has it, the CPU follows without another.
        active.set(mode);
        self.here(|cpu| cpu.bases.swap(1, 2));
    }
    fn base(&self, which: Base) -> u64 {
        self.here(|cpu| cpu.bases[index(which)])
    }
    fn set_base(&self, which: Base, value: u64) {
        self.change(|cpu| cpu.bases[index(which)] = value);
    }
    fn flush(&self, what: Flush) {
        step();
        if !self.forgetful.get() {
            self.tlb(|tlb| tlb.flush(what));
        }
    }
    fn ask_flush(&self, cpu: CpuId, what: Flush) {
        step();
        if self.forgetful.get() {
            return;
        }
        let mut shootdown = self.shootdown.borrow_mut();
        shootdown[CURRENT.get()].asked = true;
        let wanted = &mut shootdown[cpu.0 as usize].wanted;
        *wanted = Some(wanted.map_or(what, |_| Flush::All));
    }
    fn await_flush(&self, cpus: u32) {
        step();
        let own = CURRENT.get();
        if !std::mem::take(&mut self.shootdown.borrow_mut()[own].asked) {
            return;
        }
        for other in (0..cpus as usize).filter(|cpu| *cpu != own) {
            while self.shootdown.borrow()[other].wanted.is_some() {
                if !self.shootdown.borrow()[other].busy {
                    // In a guest or idle, where the kick comes at once.
                    self.serve_flush(other);
                    break;
                }
                self.serve_flush(own);
                vault::step::pause();
            }
        }
    }
    fn set_m2p(&self, mfn: Mfn, pfn: u64) {
        step();
        if let Some(entry) = self.devices.borrow_mut().m2p.get_mut(mfn.0 as usize) {
            *entry = pfn;
        }
    }
    fn set_gdt(&self, frames: &[Mfn]) {
        self.change(|cpu| cpu.gdt = frames.to_vec());
    }
    fn set_ldt(&self, frames: &[Mfn], entries: u32) {
        self.change(|cpu| cpu.ldt = (frames.to_vec(), entries));
    }
    fn set_debug(&self, registers: &[u64; 8]) {
        let mut registers = *registers;
        // The guest's DR6 is in its context; what the processor holds of it between debug exceptions is nobody's.
        registers[6] = 0;
        self.change(|cpu| cpu.debug = registers);
    }
    fn set_control(&self, task_switched: bool, cr4: u64, xcr0: u64) {
        self.change(|cpu| cpu.control = (task_switched, cr4, xcr0));
    }
    fn fault_address(&self) -> u64 {
        self.here(|cpu| cpu.fault_address)
    }
    fn cpu(&self) -> CpuId {
        CpuId(this_cpu())
    }
    fn kick(&self, cpu: CpuId) {
        step();
        self.devices.borrow_mut().kicked[cpu.0 as usize] = true;
    }
    fn arm_timer(&self, deadline: u64) {
        self.change(|cpu| cpu.timer = deadline);
    }
    fn idle(&self) {
        self.sleep()
    }
    fn end_of_interrupt(&self) {
        self.change(|cpu| {
            cpu.in_service.pop();
        });
    }
    fn port_in(&self, port: u16, width: u32) -> u32 {
        step();
        u32::from(port).wrapping_mul(0x0101_0101) >> (32 - 8 * width.min(4))
    }
    fn port_out(&self, _: u16, _: u32, _: u32) {
        step();
    }
    fn write_device(&self, _: Maddr, _: u32, _: u64) {
        step();
    }
    fn owns_port(&self, port: u16) -> bool {
        (0x3f8..0x400).contains(&port)
    }
    fn load_user_gs(&self, selector: u16) {
        self.change(|cpu| {
            cpu.gs_selector = selector;
            cpu.bases[2] = 0;
        });
    }
    fn save(&self, vcpu: VcpuSlot, context: &Context) {
        let cpu = self.here(|cpu| cpu.clone());
        step();
        self.devices.borrow_mut().fpu_areas[vcpu.0 as usize] = cpu.fpu;
        step();
        context.fs_base.set(cpu.bases[0]);
        step();
        let active = usize::from(context.gs_mode.get() & 1);
        context.gs_base[active].set(cpu.bases[1]);
        context.gs_base[active ^ 1].set(cpu.bases[2]);
        for (word, value) in context.selectors.iter().zip(cpu.selectors) {
            word.set(value);
        }
        step();
    }
    fn restore(&self, vcpu: VcpuSlot, context: &Context) {
        step();
        let fpu = self.devices.borrow().fpu_areas[vcpu.0 as usize];
        self.here(|cpu| cpu.fpu = fpu);
        self.write_msr(TSC_AUX, context.tsc_aux.get().into());
        step();
    }
    fn load_selectors(&self, selectors: [u16; 4]) -> bool {
        // What no guest may hold, and what its local table has not.
        let entries = self.here(|cpu| cpu.ldt.1);
        let faults = |selector: u16| selector & 4 != 0 && u32::from(selector >> 3) >= entries;
        self.change(|cpu| {
            cpu.selectors = selectors.map(|selector| if faults(selector) { 0 } else { selector });
            cpu.bases = [0; 3];
        });
        !selectors.into_iter().any(faults)
    }
    fn force_selector(&self, which: usize, selector: u16) {
        self.change(|cpu| {
            cpu.selectors[which] = selector;
            cpu.ldt = (Vec::new(), 0);
        });
    }
    fn selectors(&self) -> [u16; 4] {
        self.here(|cpu| cpu.selectors)
    }
    fn forget_log(&self, _: u32) {}
    fn console_receive(&self, _: &mut [u8]) -> usize {
        0
    }
    fn read_msr(&self, index: u32) -> Option<u64> {
        (index & 1 == 0).then_some(u64::from(index) << 8)
    }
    fn write_msr(&self, index: u32, value: u64) {
        self.change(|cpu| {
            if index == TSC_AUX {
                cpu.tsc_aux = value;
            }
        });
    }
    fn tsc(&self) -> u64 {
        self.now.get()
    }
    fn write_back_caches(&self) {
        step();
    }
    fn console(&self, bytes: &[u8]) {
        step();
        self.devices.borrow_mut().console.extend_from_slice(bytes);
    }
    fn log(&self, line: core::fmt::Arguments<'_>) {
        if self.verbose.get() {
            println!("    | {line}");
        }
    }
    fn program_route(&self, _: u32) {
        step();
    }
    fn forget(&self, _vcpu: VcpuSlot) {}
    fn let_go(&self) {
        self.change(|cpu| (cpu.root, cpu.gdt, cpu.ldt) = (Mfn(0), Vec::new(), (Vec::new(), 0)));
    }
    fn power(&self, what: Power) {
        step();
        cut(Cut::Off(what))
    }
}
