//! How long a vCPU was running, runnable, blocked and offline (public/vcpu.h, `vcpu_runstate_info`).

use crate::record::VcpuTimer;
use crate::{Error, Timers};
use guest_memory::{Fault, GuestMemory};
use ids::{Gva, VcpuSlot};
use vault::Tx;

/// `XEN_RUNSTATE_UPDATE`: set in the entry time while an area is being written.
pub const UPDATE: u64 = 1 << 63;
/// Offset of `state_entry_time` in the guest's area.
const ENTERED: u64 = 8;

/// What a vCPU does (`RUNSTATE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has a CPU.
    Running = 0,
    /// It waits for one.
    Runnable = 1,
    /// It waits for an event.
    Blocked = 2,
    /// It is down or paused.
    Offline = 3,
}

/// A vCPU's runstate, as the ABI shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runstate {
    /// One of `RUNSTATE_*`.
    pub state: u32,
    /// When it was entered.
    pub entered: u64,
    /// Time spent in each state, the present one up to `entered`.
    pub spent: [u64; 4],
}

impl Runstate {
    /// The six words of the guest's area; `updating` sets [`UPDATE`].
    pub fn words(&self, updating: bool) -> [u64; 6] {
        let entered = if updating { self.entered | UPDATE } else { self.entered & !UPDATE };
        [u64::from(self.state), entered, self.spent[0], self.spent[1], self.spent[2], self.spent[3]]
    }

    /// The bytes of the guest's area (48), for a copy by guest address.
    pub fn bytes(&self, updating: bool) -> [u8; 48] {
        let mut bytes = [0; 48];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(self.words(updating)) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The same runstate with the time since `entered` counted up to `now` (`VCPUOP_get_runstate_info`).
    pub fn until(&self, now: u64) -> Self {
        let mut shown = *self;
        if let Some(spent) = shown.spent.get_mut(self.state as usize) {
            *spent = spent.saturating_add(now.saturating_sub(self.entered));
        }
        shown
    }

    /// Writes the area at a guest address, as the CPU's page tables have it. `flag`: the guest asked for the
    /// update bit (`VMASST_TYPE_runstate_update_flag`). Cut short, it is repaired by publishing again.
    ///
    /// # Errors
    /// A fault; nothing of the area was written, or the address is mapped in part.
    pub fn publish(&self, mem: &impl GuestMemory, at: Gva, flag: bool) -> Result<(), Fault> {
        let entered = Gva(at.0.wrapping_add(ENTERED));
        if flag {
            mem.copy_out(entered, &(self.entered | UPDATE).to_le_bytes())?;
        }
        mem.copy_out(at, &self.bytes(flag))?;
        if flag { mem.copy_out(entered, &self.entered.to_le_bytes()) } else { Ok(()) }
    }
}

impl<'l> Timers<'l> {
    /// A vCPU enters a state at `now`; the time since the last change goes to the state it leaves. A `now`
    /// before that change counts as that change.
    ///
    /// # Errors
    /// `NoSuchVcpu`.
    pub fn set_runstate(&self, tx: &mut Tx<'l>, slot: VcpuSlot, state: State, now: u64) -> Result<(), Error> {
        let vcpu = self.region.vcpu(slot)?;
        tx.lock(self.derived.vcpu(slot)?);
        let now = now.max(vcpu.entered.get());
        if let Some(spent) = vcpu.spent.get(vcpu.state.get() as usize) {
            tx.set(spent, spent.get().saturating_add(now - vcpu.entered.get()));
        }
        tx.set(&vcpu.entered, now);
        tx.set(&vcpu.state, state as u32);
        Ok(())
    }

    /// Keeps a vCPU's deadlines and runstate from changing until the transaction is over.
    ///
    /// # Errors
    /// `NoSuchVcpu`.
    pub fn hold(&self, tx: &mut Tx<'l>, slot: VcpuSlot) -> Result<(), Error> {
        tx.lock(self.derived.vcpu(slot)?);
        Ok(())
    }

    /// A vCPU's runstate; its last one, when its domain has been destroyed and is still there. Of another CPU's running
    /// vCPU it may be torn by an update under way, unless it is [held](Self::hold).
    ///
    /// # Errors
    /// `NoSuchVcpu`: nor was there one.
    pub fn runstate(&self, slot: VcpuSlot) -> Result<Runstate, Error> {
        let was = |vcpu: &&VcpuTimer| vcpu.live.get() || vcpu.state.get() != 0;
        let vcpu = self.region.vcpus.get(slot.0 as usize).filter(was).ok_or(Error::NoSuchVcpu)?;
        let spent = [0, 1, 2, 3].map(|state| vcpu.spent[state].get());
        Ok(Runstate { state: vcpu.state.get(), entered: vcpu.entered.get(), spent })
    }

    /// `VCPUOP_register_runstate_memory_area`: from now on the runstate is shown there; 0 nowhere.
    ///
    /// # Errors
    /// `NoSuchVcpu`.
    pub fn set_area(&self, tx: &mut Tx<'l>, slot: VcpuSlot, at: Gva) -> Result<(), Error> {
        let vcpu = self.region.vcpu(slot)?;
        tx.lock(self.derived.vcpu(slot)?);
        tx.set(&vcpu.area, at);
        Ok(())
    }

    /// Where a vCPU's runstate is shown, if anywhere.
    pub fn area(&self, slot: VcpuSlot) -> Option<Gva> {
        let at = self.region.vcpu(slot).ok()?.area.get();
        (at != Gva(0)).then_some(at)
    }
}
