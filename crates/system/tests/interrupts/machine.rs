//! A machine with one pin, and one CPU that does something.

use domain::State;
use guest_memory::{FakeMemory, Fault, GuestMemory};
use ids::{CpuId, Gva, Maddr, Mfn, VcpuSlot};
use pv_cpu::Context;
use std::sync::Mutex;
use system::{Base, Clock, Flush, Platform, Power, own_vector};
use vault::step;

use crate::GSI;

/// What the machine's interrupt hardware would hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hardware {
    pub(crate) masked: bool,
    pub(crate) in_service: Option<u8>,
    /// Reasons of NMIs that nobody was told of.
    pub(crate) nmi_reasons: u8,
    /// Reads and writes of ports.
    pub(crate) port_accesses: u32,
    /// The last write of a port, and its value.
    pub(crate) written: Option<(u16, u32)>,
}

/// A machine with one pin, and one CPU that does something.
pub(crate) struct Machine {
    pub(crate) memory: FakeMemory,
    pub(crate) hardware: Mutex<Hardware>,
    /// Which CPUs were asked to forget what.
    pub(crate) asked: Mutex<Vec<(CpuId, Flush)>>,
    pub(crate) state: Mutex<Option<&'static State>>,
}

impl Machine {
    pub(crate) fn hardware(&self) -> std::sync::MutexGuard<'_, Hardware> {
        self.hardware.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl GuestMemory for Machine {
    fn load64(&self, at: Maddr) -> u64 {
        self.memory.load64(at)
    }
    fn store64(&self, at: Maddr, value: u64) {
        self.memory.store64(at, value);
    }
    fn exchange64(&self, at: Maddr, old: u64, new: u64) -> Result<(), u64> {
        self.memory.exchange64(at, old, new)
    }
    fn exchange32(&self, at: Maddr, old: u32, new: u32) -> Result<(), u32> {
        self.memory.exchange32(at, old, new)
    }
    fn load32(&self, at: Maddr) -> u32 {
        self.memory.load32(at)
    }
    fn store32(&self, at: Maddr, value: u32) {
        self.memory.store32(at, value);
    }
    fn load8(&self, at: Maddr) -> u8 {
        self.memory.load8(at)
    }
    fn store8(&self, at: Maddr, value: u8) {
        self.memory.store8(at, value);
    }
    fn copy_in(&self, from: Gva, out: &mut [u8]) -> Result<(), Fault> {
        self.memory.copy_in(from, out)
    }
    fn copy_out(&self, to: Gva, bytes: &[u8]) -> Result<(), Fault> {
        self.memory.copy_out(to, bytes)
    }
}

impl Clock for Machine {
    fn now(&self) -> u64 {
        0
    }
}

impl Platform for Machine {
    fn program_route(&self, irq: u32) {
        step::point();
        if irq == GSI {
            let state = self.state.lock().unwrap().expect("a state");
            self.hardware().masked = state.irqs().route(irq).is_none_or(|route| route.masked);
        }
        step::point();
    }
    fn end_of_interrupt(&self) {
        step::point();
        let mut hardware = self.hardware();
        if hardware.in_service.is_some_and(|vector| vector >= own_vector::TIMER) {
            hardware.in_service = None;
        } else if hardware.in_service.take().is_some() {
            assert!(hardware.masked, "a level-triggered pin is masked before its end of interrupt");
        }
        drop(hardware);
        step::point();
    }
    fn cpu(&self) -> CpuId {
        CpuId(0)
    }
    fn load_root(&self, _: Mfn) {}
    fn load_space(&self, _: Mfn) {}
    fn forget(&self, _vcpu: VcpuSlot) {}
    fn let_go(&self) {}
    fn swap_gs(&self, active: &vault::GuestOwned<u8>, mode: u8) {
        active.set(mode);
    }
    fn base(&self, _: Base) -> u64 {
        0
    }
    fn set_base(&self, _: Base, _: u64) {}
    fn flush(&self, _: Flush) {}
    fn set_m2p(&self, _: Mfn, _: u64) {}
    fn set_gdt(&self, _: &[Mfn]) {}
    fn set_ldt(&self, _: &[Mfn], _: u32) {}
    fn set_debug(&self, _: &[u64; 8]) {}
    fn set_control(&self, _: bool, _: u64, _: u64) {}
    fn fault_address(&self) -> u64 {
        0
    }
    fn kick(&self, _: CpuId) {}
    fn arm_timer(&self, _: u64) {}
    fn idle(&self) {}
    fn port_in(&self, _: u16, _: u32) -> u32 {
        self.hardware().port_accesses += 1;
        0
    }
    fn port_out(&self, port: u16, _: u32, value: u32) {
        self.hardware().port_accesses += 1;
        self.hardware().written = Some((port, value));
    }
    fn owns_port(&self, _: u16) -> bool {
        false
    }
    fn load_user_gs(&self, _: u16) {}
    fn save(&self, _: VcpuSlot, _: &Context) {}
    fn restore(&self, _: VcpuSlot, _: &Context) {}
    fn force_selector(&self, _: usize, _: u16) {}
    fn load_selectors(&self, _: [u16; 4]) -> bool {
        true
    }
    fn read_msr(&self, _: u32) -> Option<u64> {
        None
    }
    fn write_msr(&self, _: u32, _: u64) {}
    fn tsc(&self) -> u64 {
        0
    }
    fn write_back_caches(&self) {}
    fn console(&self, _: &[u8]) {}
    fn forget_log(&self, _: u32) {}
    fn write_device(&self, _: Maddr, _: u32, _: u64) {}
    fn nmi_reasons(&self) -> u8 {
        self.hardware().nmi_reasons
    }
    fn nmi_told(&self, reasons: u8) {
        step::point();
        self.hardware().nmi_reasons &= !reasons;
        step::point();
    }
    fn console_receive(&self, _: &mut [u8]) -> usize {
        0
    }
    fn ask_flush(&self, cpu: CpuId, what: Flush) {
        self.asked.lock().unwrap().push((cpu, what));
    }
    fn await_flush(&self, _: u32) {}
    fn selectors(&self) -> [u16; 4] {
        [0; 4]
    }
    fn log(&self, line: core::fmt::Arguments<'_>) {
        panic!("{line}");
    }
    fn power(&self, what: Power) {
        panic!("{what:?}");
    }
}
