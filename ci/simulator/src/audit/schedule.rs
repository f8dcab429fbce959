//! What scheduling promises: the vCPU a CPU runs may run and is said to, others are not, its timer is set in time,
//! and its runstate area says what the record does.

use crate::machine::this_cpu;
use crate::world::World;
use domains::VcpuState;
use guest_memory::GuestMemory as _;
use ids::{CpuId, VcpuSlot};
use pv_cpu::Mode;
use timers::State;

impl World {
    /// Checks the CPU that ran last, and the vCPUs of all.
    pub(super) fn audit_schedule(&self) -> Result<(), String> {
        let (state, cpu) = (self.system.state, CpuId(this_cpu()));
        let (timer, earliest) = (self.machine.here(|cpu| cpu.timer), state.timers_derived.earliest(cpu));
        if timer > earliest {
            return Err(format!("the timer is set for {timer}, the earliest deadline is {earliest}"));
        }
        if let Some(vcpu) = self.vcpu_on(cpu.0)
            && !self.belongs_to(vcpu, cpu)
        {
            return Err(format!("{vcpu:?} runs on {cpu:?}, where it may not"));
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
        Ok(())
    }

    /// Whether a vCPU may run on a CPU: the one that it has to, or one of its affinity and pool if there is any.
    fn belongs_to(&self, vcpu: VcpuSlot, cpu: CpuId) -> bool {
        let (region, record) = (&self.system.state.sched, self.system.state.domains.vcpu(vcpu));
        if let Some(only) = record.pin.get().checked_sub(1) {
            return only == cpu.0;
        }
        let pool = region.cpus_of(region.pool_of(record.domain.get()));
        let both = region.hard(vcpu).and(&pool);
        if both.is_empty() { pool.has(cpu) } else { both.has(cpu) }
    }

    /// What a start shows the vCPU that runs: in kernel mode its runstate area is as its record, whole.
    ///
    /// # Errors
    /// What it sees instead.
    pub fn audit_area(&self) -> Result<(), String> {
        let state = self.system.state;
        let Some(vcpu) = self.vcpu_on(this_cpu()) else { return Ok(()) };
        let (Some(at), Ok(wanted)) = (state.timers().area(vcpu), state.timers().runstate(vcpu)) else {
            return Ok(());
        };
        let mut shown = [0; 48];
        if state.contexts.context(vcpu).mode() != Mode::Kernel
            || self.machine.copy_in(at, &mut shown).is_err()
        {
            return Ok(());
        }
        // Part of it may be where a guest may only read.
        let root = state.contexts.context(vcpu).root_kernel.get();
        let writable =
            (0..48).all(|byte| self.machine.memory.translate(root, at.0.wrapping_add(byte), true).is_some());
        if writable && shown != wanted.bytes(false) {
            return Err(format!("{vcpu:?} sees {shown:x?}, its runstate is {wanted:x?}"));
        }
        Ok(())
    }
}
