//! `sysctl`: what the toolstack asks of the machine.

use crate::bitmap::put_bitmap;
use crate::call::{Call, CallResult, fault};
use crate::domain_info;
use crate::event_channel::copy_back;
use crate::pools;
use crate::processor;
use crate::tools;
use crate::topology::topology;
use guest_memory::GuestMemory;
use ids::{CpuId, FRAME_SHIFT, FRAME_SIZE, Gva};
use toolstack_compat::control::{
    CpuPlace, Machine, MachineAnswer as Answer, MachineRequest as Request, NodeMemory,
};
use toolstack_compat::domctl::domain_info as encode_domain;
use toolstack_compat::v4_17::sysctl::{cpu_place, decode, encode, node_memory};
use vault::{Apply, Effect, kind};
use xen_abi::Errno;
use xen_abi::domctl::XEN_SCHEDULER_CREDIT2;
use xen_abi::hypercall::SYSCTL;
use xen_abi::physdev::PhysdevPciDevice;
use xen_abi::sysctl::{Sysctl, XEN_INVALID_DEV, XEN_INVALID_NODE_ID};
use zerocopy::{Immutable, IntoBytes};

/// Bytes of the log that one call hands out at most: readers go on where it ended.
const MOST_LOG: u32 = 32 << 10;
/// PCI devices that one call looks at: the caller asks again for the rest.
const MOST_DEVICES: u32 = 64;
/// A CONSOLE effect with this `a` forgets the log up to position `b`.
pub const FORGET: u64 = 1;
/// The scheduler: what its parameters mean.
pub(crate) const SCHEDULER: u32 = XEN_SCHEDULER_CREDIT2;
/// The distance of a NUMA node to itself (ACPI 6.5, 5.2.17).
const LOCAL_DISTANCE: u32 = 10;
/// Invariant TSC, in the word of CPUID 0x80000007.EDX.
const INVARIANT_TSC: u32 = 1 << 8;

/// The hypercall: argument.
pub(crate) fn sysctl<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let at = call.args[0];
    let mut op: Sysctl = call.memory.read(Gva(at)).map_err(fault)?;
    let request = call.privileged_request(decode(&op))?;
    let region = call.state.sched;
    let mut forget = None;
    let answer = match request {
        Request::Log { clear, from, buffer, count } => {
            let answer = log(call, from, buffer, count)?;
            if let (true, Answer::Log { next, .. }) = (clear, answer) {
                forget = Some(next);
            }
            answer
        }
        Request::Machine => Answer::Machine(machine(call)),
        Request::Scheduler => Answer::Scheduler { id: SCHEDULER },
        Request::Domains { first, most, buffer } => domains(call, first, most, buffer)?,
        Request::CpuPlaces { count, places } => cpu_places(call, count, places)?,
        Request::Nodes { count, memory, distances } => nodes(call, count, memory, distances)?,
        Request::PciPlaces { count, devices, nodes } => pci_places(call, count, devices, nodes)?,
        Request::FreeMemory { widths: [0, 0], node: -1 | 0 } => {
            Answer::FreeMemory { bytes: free_frames(call) << FRAME_SHIFT }
        }
        Request::FreeMemory { node, .. } if !(-1..=0).contains(&node) => return Err(Errno::EINVAL),
        Request::Pool { id, cpus } => {
            let (slot, id) = region.pool_from(id).ok_or(Errno::ENOENT)?;
            let set = region.cpus_of(slot);
            put_bitmap(call, cpus, |cpu| set.has(CpuId(cpu)))?;
            let domains = pools::members(call.state, slot).count() as u32;
            Answer::Pool { id, scheduler: SCHEDULER, domains }
        }
        Request::PoolParameters { pool, scheduler } => {
            let slot = region.pool_by_id(pool).ok_or(Errno::ESRCH)?;
            if scheduler != SCHEDULER {
                return Err(Errno::EINVAL);
            }
            Answer::PoolParameters { shortest_turn: region.shortest_turn(slot) }
        }
        Request::LooseCpus { cpus } => {
            let set = region.loose_cpus();
            put_bitmap(call, cpus, |cpu| set.has(CpuId(cpu)))?;
            Answer::None
        }
        Request::Processor(request) => return processor::machine(call, at, op, request),
        Request::Tool(request) => return tools::tool(call, op, request),
        Request::IdleTimes { most, buffer } => pools::idle_times(call, most, buffer)?,
        Request::SetPoolParameters { .. } | Request::PoolChange { .. } => {
            return pools::change(call, &op, request).unwrap_or(Err(Errno::ENOSYS));
        }
        Request::FreeMemory { .. } | Request::Other { .. } => {
            return call.unsupported(SYSCTL, op.cmd.into(), Errno::ENOSYS);
        }
    };
    encode(&mut op, &answer)?;
    call.reply_after(|tx| {
        if let Some(position) = forget {
            tx.publish(Effect { kind: kind::CONSOLE, x: 0, a: FORGET, b: position.into() });
        }
        copy_back(tx, at, &op)
    })
}

/// Hands out the log; what is written meanwhile may be in it.
fn log<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    from: Option<u32>,
    buffer: u64,
    count: u32,
) -> Result<Answer, Errno> {
    let Some(log) = call.state.host.log else { return Err(Errno::EOPNOTSUPP) };
    let (mut position, mut done) = (log.start(from), 0);
    let wanted = count.min(MOST_LOG);
    let mut piece = [0; 512];
    while done < wanted {
        let room = ((wanted - done) as usize).min(piece.len());
        let (got, next) = log.copy(position, &mut piece[..room]);
        if got == 0 {
            break;
        }
        call.memory.copy_out(Gva(buffer.wrapping_add(done.into())), &piece[..got]).map_err(fault)?;
        (position, done) = (next, done + got as u32);
    }
    Ok(Answer::Log { next: position, count: done })
}

/// Writes an element of the caller's array.
fn put<M: GuestMemory + 'static, A: Apply, T: IntoBytes + Immutable>(
    call: &Call<'_, M, A>,
    array: u64,
    index: u32,
    element: &T,
) -> Result<(), Errno> {
    let at = array.wrapping_add(u64::from(index) * size_of::<T>() as u64);
    call.memory.write(Gva(at), element).map_err(fault)
}

fn free_frames<M, A>(call: &Call<'_, M, A>) -> u64 {
    call.state.frames.heap().free_frames()
}

fn machine<M, A>(call: &Call<'_, M, A>) -> Machine {
    let (facts, host) = (call.state.facts, call.state.host);
    let shape = topology(facts, facts.cpus().first().map_or(0, |cpu| cpu.apic_id));
    let mut features = [0; 8];
    features[..7].copy_from_slice(&facts.cpu.capabilities);
    features[7] = if facts.timing.tsc_invariant { INVARIANT_TSC } else { 0 };
    Machine {
        threads_per_core: shape.threads,
        cores_per_socket: shape.cores,
        cpus: facts.cpus().len() as u32,
        khz: facts.timing.tsc_khz as u32,
        grants_v2: call.state.grants.defaults.version >= 2,
        frames: host.ram_frames,
        free: free_frames(call),
        claimed: call.state.frames.heap().claimed_frames(),
        last_frame: host.last_frame,
        features,
    }
}

fn domains<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    first: u16,
    most: u32,
    buffer: u64,
) -> Result<Answer, Errno> {
    let (mut count, mut next) = (0, Some(first));
    while let Some(from) = next.filter(|_| count < most) {
        let Some(slot) = domain_info::first_from(call.state, from) else { break };
        let info = domain_info::describe(call, slot)?;
        put(call, buffer, count, &encode_domain(&info))?;
        (count, next) = (count + 1, info.id.checked_add(1));
    }
    Ok(Answer::Count(count))
}

fn cpu_places<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    room: u32,
    places: u64,
) -> Result<Answer, Errno> {
    let facts = call.state.facts;
    let cpus = facts.cpus().len() as u32;
    if places == 0 {
        return Ok(Answer::Count(cpus));
    }
    let count = cpus.min(room);
    for (index, cpu) in (0..count).zip(facts.cpus()) {
        let place = topology(facts, cpu.apic_id);
        put(call, places, index, &cpu_place(&CpuPlace { core: place.core, socket: place.package }))?;
    }
    Ok(Answer::Count(count))
}

/// No device is nearer to some CPUs than to others, as far as is known.
fn pci_places<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    count: u32,
    devices: u64,
    nodes: u64,
) -> Result<Answer, Errno> {
    if count == 0 || devices == 0 || nodes == 0 {
        return Err(Errno::EINVAL);
    }
    let count = count.min(MOST_DEVICES);
    for index in 0..count {
        let from = devices.wrapping_add(u64::from(index) * size_of::<PhysdevPciDevice>() as u64);
        let device: PhysdevPciDevice = call.memory.read(Gva(from)).map_err(fault)?;
        let exists = call.state.pci.is_some_and(|pci| pci.exists(device.seg, device.bus, device.devfn));
        let node = if exists { XEN_INVALID_NODE_ID } else { XEN_INVALID_DEV };
        put(call, nodes, index, &node)?;
    }
    Ok(Answer::Count(count))
}

/// All memory is one node's.
fn nodes<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    room: u32,
    memory: u64,
    distances: u64,
) -> Result<Answer, Errno> {
    if memory == 0 && distances == 0 {
        return Ok(Answer::Count(1));
    }
    if room == 0 {
        return Ok(Answer::Count(0));
    }
    if memory != 0 {
        let bytes = call.state.host.ram_frames * FRAME_SIZE;
        let node = NodeMemory { bytes, free: free_frames(call) << FRAME_SHIFT };
        call.memory.write(Gva(memory), &node_memory(&node)).map_err(fault)?;
    }
    if distances != 0 {
        call.memory.write(Gva(distances), &LOCAL_DISTANCE).map_err(fault)?;
    }
    Ok(Answer::Count(1))
}
