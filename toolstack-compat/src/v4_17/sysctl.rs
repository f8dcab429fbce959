//! `sysctl` of Xen 4.17 (public/sysctl.h, interface version 0x15).

use super::member::{member, put};
use crate::control::{Bitmap, CpuPlace, Machine, MachineAnswer, MachineRequest, NodeMemory, PoolChange};
use xen_abi::Errno;
use xen_abi::sysctl::{
    Sysctl, SysctlAvailheap, SysctlCpupoolOp, SysctlCputopo, SysctlCputopoinfo, SysctlCredit2Schedule,
    SysctlGetcpuinfo, SysctlGetdomaininfolist, SysctlMeminfo, SysctlNumainfo, SysctlPcitopoinfo,
    SysctlPhysinfo, SysctlReadconsole, SysctlSchedId, SysctlSchedulerOp, XEN_SYSCTL_AVAILHEAP,
    XEN_SYSCTL_CPUPOOL_OP, XEN_SYSCTL_CPUPOOL_OP_ADDCPU, XEN_SYSCTL_CPUPOOL_OP_CREATE,
    XEN_SYSCTL_CPUPOOL_OP_DESTROY, XEN_SYSCTL_CPUPOOL_OP_FREEINFO, XEN_SYSCTL_CPUPOOL_OP_INFO,
    XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN, XEN_SYSCTL_CPUPOOL_OP_RMCPU, XEN_SYSCTL_CPUTOPOINFO,
    XEN_SYSCTL_GETCPUINFO, XEN_SYSCTL_GETDOMAININFOLIST, XEN_SYSCTL_INTERFACE_VERSION, XEN_SYSCTL_NUMAINFO,
    XEN_SYSCTL_PCITOPOINFO, XEN_SYSCTL_PHYSCAP_GNTTAB_V1, XEN_SYSCTL_PHYSCAP_GNTTAB_V2,
    XEN_SYSCTL_PHYSCAP_PV, XEN_SYSCTL_PHYSINFO, XEN_SYSCTL_READCONSOLE, XEN_SYSCTL_SCHED_ID,
    XEN_SYSCTL_SCHEDOP_GETINFO, XEN_SYSCTL_SCHEDOP_PUTINFO, XEN_SYSCTL_SCHEDULER_OP,
};
use xen_abi::xen::XenctlBitmap;
use zerocopy::{FromZeros, IntoBytes};

/// Decodes an argument.
///
/// # Errors
/// `EACCES`: of another interface version; `EINVAL`: impossible values.
pub fn decode(op: &Sysctl) -> Result<MachineRequest, Errno> {
    if op.interface_version != XEN_SYSCTL_INTERFACE_VERSION {
        return Err(Errno::EACCES);
    }
    Ok(match op.cmd {
        XEN_SYSCTL_READCONSOLE => {
            let m: SysctlReadconsole = member(&op.u)?;
            MachineRequest::Log {
                clear: m.clear != 0,
                from: (m.incremental != 0).then_some(m.index),
                buffer: m.buffer,
                count: m.count,
            }
        }
        XEN_SYSCTL_PHYSINFO => MachineRequest::Machine,
        XEN_SYSCTL_SCHED_ID => MachineRequest::Scheduler,
        XEN_SYSCTL_GETDOMAININFOLIST => {
            let m: SysctlGetdomaininfolist = member(&op.u)?;
            MachineRequest::Domains { first: m.first_domain, most: m.max_domains, buffer: m.buffer }
        }
        XEN_SYSCTL_CPUTOPOINFO => {
            let m: SysctlCputopoinfo = member(&op.u)?;
            MachineRequest::CpuPlaces { count: m.num_cpus, places: m.cputopo }
        }
        XEN_SYSCTL_NUMAINFO => {
            let m: SysctlNumainfo = member(&op.u)?;
            MachineRequest::Nodes { count: m.num_nodes, memory: m.meminfo, distances: m.distance }
        }
        XEN_SYSCTL_PCITOPOINFO => {
            let m: SysctlPcitopoinfo = member(&op.u)?;
            MachineRequest::PciPlaces { count: m.num_devs, devices: m.devs, nodes: m.nodes }
        }
        XEN_SYSCTL_AVAILHEAP => {
            let m: SysctlAvailheap = member(&op.u)?;
            MachineRequest::FreeMemory { widths: [m.min_bitwidth, m.max_bitwidth], node: m.node }
        }
        XEN_SYSCTL_GETCPUINFO => {
            let m: SysctlGetcpuinfo = member(&op.u)?;
            MachineRequest::IdleTimes { most: m.max_cpus, buffer: m.info }
        }
        XEN_SYSCTL_CPUPOOL_OP => {
            let m: SysctlCpupoolOp = member(&op.u)?;
            match m.op {
                XEN_SYSCTL_CPUPOOL_OP_INFO => {
                    MachineRequest::Pool { id: m.cpupool_id, cpus: bitmap(&m.cpumap) }
                }
                XEN_SYSCTL_CPUPOOL_OP_FREEINFO => MachineRequest::LooseCpus { cpus: bitmap(&m.cpumap) },
                _ => pool_change(&m).unwrap_or(MachineRequest::Other { command: op.cmd }),
            }
        }
        XEN_SYSCTL_SCHEDULER_OP => {
            let m: SysctlSchedulerOp = member(&op.u)?;
            match m.cmd {
                XEN_SYSCTL_SCHEDOP_GETINFO => {
                    MachineRequest::PoolParameters { pool: m.cpupool_id, scheduler: m.sched_id }
                }
                XEN_SYSCTL_SCHEDOP_PUTINFO => MachineRequest::SetPoolParameters {
                    pool: m.cpupool_id,
                    scheduler: m.sched_id,
                    shortest_turn: m.u[0] as u32,
                },
                _ => return Err(Errno::EINVAL),
            }
        }
        command => match (super::processor::decode(op)?, super::tools::decode(op)?) {
            (Some(request), _) => MachineRequest::Processor(request),
            (_, Some(request)) => MachineRequest::Tool(request),
            _ => MachineRequest::Other { command },
        },
    })
}

/// A change of a pool, if it is one.
fn pool_change(m: &SysctlCpupoolOp) -> Option<MachineRequest> {
    /// `XEN_SYSCTL_CPUPOOL_PAR_ANY`.
    const ANY: u32 = u32::MAX;
    let some = |value: u32| (value != ANY).then_some(value);
    let change = match m.op {
        XEN_SYSCTL_CPUPOOL_OP_CREATE => PoolChange::Create { scheduler: m.sched_id },
        XEN_SYSCTL_CPUPOOL_OP_DESTROY => PoolChange::Destroy,
        XEN_SYSCTL_CPUPOOL_OP_ADDCPU => PoolChange::AddCpu { cpu: some(m.cpu) },
        XEN_SYSCTL_CPUPOOL_OP_RMCPU => PoolChange::RemoveCpu { cpu: some(m.cpu) },
        XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN => PoolChange::MoveDomain { domain: m.domid },
        _ => return None,
    };
    Some(MachineRequest::PoolChange { pool: some(m.cpupool_id), change })
}

pub(super) fn bitmap(map: &XenctlBitmap) -> Bitmap {
    Bitmap { bytes: map.bitmap, bits: map.nr_bits }
}

/// Puts an answer into the argument that asked.
///
/// # Errors
/// `EINVAL`: its member does not fit the argument.
pub fn encode(op: &mut Sysctl, answer: &MachineAnswer) -> Result<(), Errno> {
    match *answer {
        MachineAnswer::Log { next, count } => {
            let mut m: SysctlReadconsole = member(&op.u)?;
            (m.index, m.count) = (next, count);
            put(&mut op.u, &m);
        }
        MachineAnswer::Machine(machine) => put(&mut op.u, &physinfo(&machine)),
        MachineAnswer::Scheduler { id } => put(&mut op.u, &SysctlSchedId { sched_id: id }),
        MachineAnswer::Count(count) => match op.cmd {
            XEN_SYSCTL_GETDOMAININFOLIST => {
                let mut m: SysctlGetdomaininfolist = member(&op.u)?;
                m.num_domains = count;
                put(&mut op.u, &m);
            }
            XEN_SYSCTL_GETCPUINFO => {
                let mut m: SysctlGetcpuinfo = member(&op.u)?;
                m.nr_cpus = count;
                put(&mut op.u, &m);
            }
            // All others begin with it.
            _ => op.u[0] = op.u[0] & !0xffff_ffff | u64::from(count),
        },
        MachineAnswer::FreeMemory { bytes } => {
            let mut m: SysctlAvailheap = member(&op.u)?;
            m.avail_bytes = bytes;
            put(&mut op.u, &m);
        }
        MachineAnswer::Pool { id, scheduler, domains } => {
            let mut m: SysctlCpupoolOp = member(&op.u)?;
            (m.cpupool_id, m.sched_id, m.n_dom) = (id, scheduler, domains);
            put(&mut op.u, &m);
        }
        MachineAnswer::PoolMade { id } => {
            let mut m: SysctlCpupoolOp = member(&op.u)?;
            m.cpupool_id = id;
            put(&mut op.u, &m);
        }
        MachineAnswer::PoolParameters { shortest_turn } => {
            let mut m: SysctlSchedulerOp = member(&op.u)?;
            let parameters = SysctlCredit2Schedule { ratelimit_us: shortest_turn };
            m.u.as_mut_bytes()[..size_of_val(&parameters)].copy_from_slice(parameters.as_bytes());
            put(&mut op.u, &m);
        }
        MachineAnswer::None => {}
    }
    Ok(())
}

fn physinfo(machine: &Machine) -> SysctlPhysinfo {
    let mut m = SysctlPhysinfo::new_zeroed();
    (m.threads_per_core, m.cores_per_socket) = (machine.threads_per_core, machine.cores_per_socket);
    (m.nr_cpus, m.max_cpu_id) = (machine.cpus, machine.cpus.saturating_sub(1));
    (m.nr_nodes, m.cpu_khz) = (1, machine.khz);
    m.capabilities = XEN_SYSCTL_PHYSCAP_PV | XEN_SYSCTL_PHYSCAP_GNTTAB_V1;
    if machine.grants_v2 {
        m.capabilities |= XEN_SYSCTL_PHYSCAP_GNTTAB_V2;
    }
    (m.total_pages, m.free_pages, m.max_mfn) = (machine.frames, machine.free, machine.last_frame);
    m.outstanding_pages = machine.claimed;
    m.hw_cap = machine.features;
    m
}

/// A record of [`MachineRequest::CpuPlaces`].
pub fn cpu_place(place: &CpuPlace) -> SysctlCputopo {
    SysctlCputopo { core: place.core, socket: place.socket, node: 0 }
}

/// A record of [`MachineRequest::Nodes`].
pub fn node_memory(memory: &NodeMemory) -> SysctlMeminfo {
    SysctlMeminfo { memsize: memory.bytes, memfree: memory.free }
}
