//! `mca`: the processors as machine-check tools want them, and telemetry for Dom0, of which none is collected.

use crate::call::{Call, CallResult, Outcome, fault};
use crate::event_channel::copy_back;
use crate::topology::topology;
use boot_info::{BootFacts, Cpu};
use guest_memory::GuestMemory;
use ids::Gva;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::hypercall::ARCH_0;
use xen_abi::mca::{
    Mc, McinfoLogicalCpu, XEN_MC_ACK, XEN_MC_FETCH, XEN_MC_NODATA, XEN_MC_NONURGENT, XEN_MC_PHYSCPUINFO,
    XEN_MC_URGENT, XEN_MCA_INTERFACE_VERSION,
};
use zerocopy::FromZeros;

/// `IA32_MCG_CAP`.
const MCG_CAP: u64 = 0x179;

/// The hypercall: argument.
pub(crate) fn mca<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    call.privileged()?;
    let at = Gva(call.args[0]);
    let op: Mc = call.memory.read(at).map_err(fault)?;
    if op.interface_version != XEN_MCA_INTERFACE_VERSION {
        return Err(Errno::EACCES);
    }
    match op.cmd {
        XEN_MC_FETCH => fetch(call, at, op),
        XEN_MC_PHYSCPUINFO => physical_cpus(call, at, op),
        // Errors are not injected; notifications are only for machine checks that were reported.
        _ => call.unsupported(ARCH_0, op.cmd.into(), Errno::EINVAL),
    }
}

/// Nothing there. The low half of the first word is `flags`, the second is `fetch_id`, the third the buffer.
fn fetch<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: Gva, mut op: Mc) -> CallResult {
    let flags = op.u[0] as u32;
    match flags & !XEN_MC_ACK {
        XEN_MC_URGENT | XEN_MC_NONURGENT => {}
        _ => return Err(Errno::EINVAL),
    }
    if flags & XEN_MC_ACK != 0 {
        return Ok(Outcome::Value(0));
    }
    if op.u[2] == 0 {
        return Err(Errno::EINVAL);
    }
    op.u[0] = op.u[0] & !0xffff_ffff | u64::from(XEN_MC_NODATA);
    op.u[1] = 0;
    // With the reply: the flags are also an argument, which a repetition reads again.
    call.reply_after(|tx| copy_back(tx, at.0, &op))
}

/// As many processors as fit the buffer. The low half of the first word is their number, the second the buffer.
fn physical_cpus<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: Gva,
    mut op: Mc,
) -> CallResult {
    let facts = call.state.facts;
    let (room, buffer) = (op.u[0] as u32 as usize, op.u[1]);
    let mut count = facts.cpus().len();
    if buffer != 0 {
        count = count.min(room);
        if count == 0 {
            return Err(Errno::EINVAL);
        }
        for (index, cpu) in facts.cpus().iter().take(count).enumerate() {
            let to = buffer.wrapping_add((index * size_of::<McinfoLogicalCpu>()) as u64);
            call.memory.write(Gva(to), &describe(facts, index as u32, cpu)).map_err(fault)?;
        }
    }
    op.u[0] = op.u[0] & !0xffff_ffff | count as u64;
    call.reply_after(|tx| copy_back(tx, at.0, &op))
}

/// A processor; what is not asked of each is the boot CPU's.
fn describe(facts: &BootFacts, number: u32, cpu: &Cpu) -> McinfoLogicalCpu {
    let own = &facts.cpu;
    let place = topology(facts, cpu.apic_id);
    let (family, model, stepping) = own.model();
    let mut info = McinfoLogicalCpu::new_zeroed();
    info.mc_cpunr = number;
    info.mc_chipid = place.package;
    (info.mc_coreid, info.mc_threadid) = (place.core as u16, place.thread as u16);
    info.mc_apicid = cpu.apic_id;
    (info.mc_ncores, info.mc_nthreads) = (place.cores, place.threads);
    info.mc_ncores_active = info.mc_ncores;
    info.mc_cpuid_level = own.max_leaf as i32;
    (info.mc_family, info.mc_model, info.mc_step) = (family, model, stepping);
    info.mc_vendor = vendor_bit(&own.vendor);
    info.mc_vendorid[..own.vendor.len()].copy_from_slice(&own.vendor);
    info.mc_brandid[..own.brand.len()].copy_from_slice(&own.brand);
    info.mc_cpu_caps = own.capabilities;
    (info.mc_cache_size, info.mc_cache_alignment) = (own.cache_kib, own.cache_line);
    info.mc_nmsrvals = 1;
    info.mc_msrvalues[0].reg = MCG_CAP;
    info.mc_msrvalues[0].value = own.machine_check;
    info
}

/// Xen's numbers for vendors.
const fn vendor_bit(vendor: &[u8; 12]) -> u32 {
    match vendor {
        b"GenuineIntel" => 1,
        b"AuthenticAMD" => 2,
        b"CentaurHauls" => 4,
        b"  Shanghai  " => 8,
        b"HygonGenuine" => 16,
        _ => 0,
    }
}
