//! What the toolstack is told of domains and vCPUs.

use crate::call::{Call, timer_errno};
use domain::State;
use domains::{Life, VcpuState};
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, VcpuSlot};
use timers::Runstate;
use toolstack_compat::control::DomainInfo;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::vcpu::RUNSTATE_RUNNING;
use zerocopy::IntoBytes;

const RUNNING: u32 = RUNSTATE_RUNNING as u32;

/// Slots of domains that there are.
pub(crate) fn live(state: &State) -> impl Iterator<Item = DomainSlot> + '_ {
    let all = state.domains.domains.iter().zip(0..);
    all.filter(|(domain, _)| domain.is_known()).map(|(_, slot)| DomainSlot(slot))
}

/// The domain with number `id` or the next larger one.
pub(crate) fn first_from(state: &State, id: u16) -> Option<DomainSlot> {
    let number = |slot: &DomainSlot| state.domains.domain(*slot).id.get().0;
    let next = || live(state).filter(|slot| number(slot) >= id).min_by_key(number);
    state.domains.by_id(DomId(id)).or_else(next)
}

/// A vCPU's runstate while its own CPU does not change it.
///
/// # Errors
/// `ENOENT`: it has none.
pub(crate) fn runstate<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    vcpu: VcpuSlot,
) -> Result<Runstate, Errno> {
    let timers = call.state.timers();
    let read = call.j.transaction(|tx| {
        timers.hold(tx, vcpu)?;
        timers.runstate(vcpu)
    });
    read.map_err(timer_errno)
}

/// A vCPU: where it stands, and the time it ran, ns.
#[derive(Debug)]
pub(crate) struct VcpuInfo {
    pub(crate) online: bool,
    pub(crate) blocked: bool,
    pub(crate) running: bool,
    pub(crate) cpu_time: u64,
}

/// # Errors
/// As [`runstate`].
pub(crate) fn vcpu<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    vcpu: VcpuSlot,
) -> Result<VcpuInfo, Errno> {
    let spent = runstate(call, vcpu)?.until(call.now());
    let state = call.state.domains.vcpu(vcpu).state();
    Ok(VcpuInfo {
        online: state != VcpuState::Down,
        blocked: matches!(state, VcpuState::Blocked | VcpuState::Polling),
        running: spent.state == RUNNING,
        cpu_time: spent.spent[RUNNING as usize],
    })
}

/// # Errors
/// As [`runstate`].
pub(crate) fn describe<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
) -> Result<DomainInfo, Errno> {
    let state = call.state;
    let (domain, list) = (state.domains.domain(slot), state.frames.list(slot));
    let mut handle = [0; 16];
    handle.copy_from_slice(domain.handle.each_ref().map(|word| word.get()).as_bytes());
    let mut info = DomainInfo {
        id: domain.id.get().0,
        shutdown: domain.shutdown.get().checked_sub(1),
        paused: domain.pauses.get() != 0,
        dying: domain.life() == Life::Dead,
        blocked: true,
        running: false,
        frames: list.pages(),
        most_frames: list.max_pages(),
        claimed: list.claimed(),
        shared_info: domain.shared_info.get().0,
        cpu_time: 0,
        vcpus_up: 0,
        vcpus: domain.vcpus.get(),
        handle,
        address_bits: state.facts.cpu.physical_bits,
        hardware: domain.privileged.get(),
        pool: state.sched.pool_id(state.sched.pool_of(slot)),
    };
    for slot in state.domains.vcpus_of(slot) {
        let one = vcpu(call, slot)?;
        info.cpu_time = info.cpu_time.saturating_add(one.cpu_time);
        info.vcpus_up += u32::from(one.online);
        info.blocked &= !one.online || one.blocked;
        info.running |= one.running;
    }
    Ok(info)
}
