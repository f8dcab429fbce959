//! What scheduling promises: the vCPU a CPU runs may run and is said to, others are not, its timer is set in time,
//! and its runstate area says what the record does.

use crate::world::World;
use domains::VcpuState;
use guest_memory::GuestMemory as _;
use ids::{CpuId, VcpuSlot};
use pv_cpu::Mode;
use timers::State;

impl World {
    /// Checks the CPU that ran last, and the vCPUs of all.
    pub(super) fn audit_schedule(&self) -> Result<(), String> {
        let (state, cpu) = (self.system.state, CpuId(self.machine.current.get() as u32));
        let (timer, earliest) = (self.machine.here(|cpu| cpu.timer), state.timers_derived.earliest(cpu));
        if timer > earliest {
            return Err(format!("the timer is set for {timer}, the earliest deadline is {earliest}"));
        }
        let loaded = self.loaded();
        for slot in (0..self.size.vcpus).map(VcpuSlot) {
            let held = loaded.contains(&Some(slot));
            let runstate = state.timers().runstate(slot).map_err(|e| format!("{slot:?}: {e:?}"))?;
            let vcpu = state.domains.vcpu(slot);
            let said = match runstate.state {
                0 => held && vcpu.state() == VcpuState::Runnable,
                1 => vcpu.state() == VcpuState::Runnable,
                2 => matches!(vcpu.state(), VcpuState::Blocked | VcpuState::Polling),
                _ => vcpu.state() == VcpuState::Down,
            };
            // Another CPU may not have noticed yet.
            let noticed = runstate.state != State::Running as u32 || self.vcpu_on(cpu.0) == Some(slot);
            if !said && noticed {
                return Err(format!(
                    "{slot:?} is {:?}, its runstate {runstate:?}, held {held}",
                    vcpu.state()
                ));
            }
        }
        match self.vcpu_on(cpu.0) {
            Some(vcpu) => self.audit_area(vcpu),
            None => Ok(()),
        }
    }

    /// In kernel mode a vCPU sees its runstate.
    fn audit_area(&self, vcpu: VcpuSlot) -> Result<(), String> {
        let state = self.system.state;
        let timers = state.timers();
        let (Some(at), Ok(wanted)) = (timers.area(vcpu), timers.runstate(vcpu)) else { return Ok(()) };
        let mut shown = [0; 48];
        let kernel = state.contexts.context(vcpu).mode() == Mode::Kernel;
        // Registering shows it once; from then on it is a guest's own memory, which it may have changed.
        if kernel
            && self.machine.copy_in(at, &mut shown).is_ok()
            && shown[15] & 0x80 != 0
            && shown[8..15] == wanted.bytes(false)[8..15]
        {
            return Err(format!("{vcpu:?} sees an update that does not end"));
        }
        Ok(())
    }
}
