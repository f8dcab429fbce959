//! `xen_version`: which Xen this is, to the guest.

use crate::call::{Call, CallResult, Outcome, fault};
use domain::Release;
use domains::Domain;
use guest_memory::GuestMemory;
use ids::Gva;
use toolstack_compat::v4_20::version as v4_20;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::features::{
    XENFEAT_DIRECT_MAPPED, XENFEAT_DOM0, XENFEAT_GNTTAB_MAP_AVAIL_BITS, XENFEAT_HIGHMEM_ASSIST,
    XENFEAT_MEMORY_OP_VNODE_SUPPORTED, XENFEAT_MMU_PT_UPDATE_PRESERVE_AD, XENFEAT_PAE_PGDIR_ABOVE_4GB,
};
use xen_abi::hypercall::XEN_VERSION;
use xen_abi::version::{
    CompileInfo, FeatureInfo, PlatformParameters, XEN_CAPABILITIES_INFO_LEN, XEN_CHANGESET_INFO_LEN,
    XEN_COMMANDLINE_LEN, XEN_EXTRAVERSION_LEN, XENVER_BUILD_ID, XENVER_CAPABILITIES, XENVER_CHANGESET,
    XENVER_COMMANDLINE, XENVER_COMPILE_INFO, XENVER_EXTRAVERSION, XENVER_GET_FEATURES, XENVER_GUEST_HANDLE,
    XENVER_PAGESIZE, XENVER_PLATFORM_PARAMETERS, XENVER_VERSION,
};

/// The version of Xen that is shown: major << 16 | minor, and the rest.
pub(crate) const fn shown(release: Release) -> (i64, &'static str) {
    match release {
        Release::V4_17 => (4 << 16 | 17, ".7"),
        Release::V4_20 => (4 << 16 | 20, ".4"),
    }
}

/// The guests that can be built: 64-bit PV.
const CAPABILITIES: &str = "xen-3.0-x86_64 ";
/// First linear address of the hypervisor's range.
const VIRT_START: u64 = 0xffff_8000_0000_0000;
/// Of what only Dom0 may read, others get this.
const DENIED: &str = "<denied>";

pub(crate) const COMPILER: &str = "rustc";
pub(crate) const COMPILED_BY: &str = "Revenant";
pub(crate) const CHANGESET: &str = concat!("Revenant ", env!("CARGO_PKG_VERSION"));

/// VMASST type whose enabling is answered by a feature bit.
const PAE_EXTENDED_CR3: u64 = 1 << 3;

/// The hypercall: command, argument.
pub(crate) fn xen_version<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [command, at, ..] = call.args;
    let at = Gva(at);
    let release = call.state.host.release;
    let (version, extra) = shown(release);
    match command as u32 {
        // Linux makes this call just to be interrupted.
        XENVER_VERSION => return Ok(Outcome::Value(version)),
        XENVER_EXTRAVERSION => text::<XEN_EXTRAVERSION_LEN, _, _>(call, at, extra)?,
        XENVER_COMPILE_INFO => call.memory.write(at, &compile_info()).map_err(fault)?,
        XENVER_CAPABILITIES => text::<XEN_CAPABILITIES_INFO_LEN, _, _>(call, at, CAPABILITIES)?,
        XENVER_CHANGESET => text::<XEN_CHANGESET_INFO_LEN, _, _>(call, at, CHANGESET)?,
        XENVER_PLATFORM_PARAMETERS => {
            call.memory.write(at, &PlatformParameters { virt_start: VIRT_START }).map_err(fault)?;
        }
        XENVER_GET_FEATURES => features(call, at)?,
        XENVER_PAGESIZE if at == Gva(0) => return Ok(Outcome::Value(ids::FRAME_SIZE as i64)),
        XENVER_PAGESIZE => return Err(Errno::EINVAL),
        XENVER_GUEST_HANDLE => {
            let handle = &call.state.domains.domain(call.domain).handle;
            call.memory.write(at, &[handle[0].get(), handle[1].get()]).map_err(fault)?;
        }
        XENVER_COMMANDLINE if call.is_privileged() => {
            text::<XEN_COMMANDLINE_LEN, _, _>(call, at, call.state.facts.command_line())?;
        }
        XENVER_COMMANDLINE => text::<{ DENIED.len() + 1 }, _, _>(call, at, DENIED)?,
        XENVER_BUILD_ID => {
            call.privileged()?;
            return Err(Errno::ENODATA);
        }
        long @ v4_20::EXTRAVERSION..=v4_20::COMMAND_LINE if release == Release::V4_20 => {
            return long_text(call, at, long, extra);
        }
        _ => return call.unsupported(XEN_VERSION, command, Errno::ENOSYS),
    }
    Ok(Outcome::Value(0))
}

/// Writes a text, cut off if need be, and zeros up to `N` bytes.
fn text<const N: usize, M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    at: Gva,
    text: &str,
) -> Result<(), Errno> {
    call.memory.copy_out(at, &padded::<N>(text)).map_err(fault)
}

/// A text of any length, without an end, behind a word that says how much room there is; its length. Without a place it
/// is the length that is asked.
fn long_text<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    at: Gva,
    which: u32,
    extra: &str,
) -> CallResult {
    let text = match which {
        v4_20::EXTRAVERSION => extra,
        v4_20::CAPABILITIES => CAPABILITIES,
        v4_20::CHANGESET => CHANGESET,
        _ if call.is_privileged() => call.state.facts.command_line(),
        _ => DENIED,
    };
    let length = text.len() as u32;
    if at != Gva(0) {
        let room: u32 = call.memory.read(at).map_err(fault)?;
        if room == 0 {
            return Err(Errno::EINVAL);
        }
        if room < length {
            return Err(Errno::ENOBUFS);
        }
        call.memory.copy_out(Gva(at.0.wrapping_add(4)), text.as_bytes()).map_err(fault)?;
    }
    Ok(Outcome::Value(length.into()))
}

/// A text as a C string in a field of `N` bytes.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    let count = text.len().min(N - 1);
    field[..count].copy_from_slice(&text.as_bytes()[..count]);
    field
}

fn compile_info() -> CompileInfo {
    CompileInfo {
        compiler: padded(COMPILER),
        compile_by: padded(COMPILED_BY),
        compile_domain: padded(""),
        compile_date: padded(option_env!("REVENANT_BUILD_DATE").unwrap_or("")),
    }
}

fn features<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, at: Gva) -> Result<(), Errno> {
    let mut info: FeatureInfo = call.memory.read(at).map_err(fault)?;
    if info.submap_idx != 0 {
        return Err(Errno::EINVAL);
    }
    info.submap = pv_features(call.state.domains.domain(call.domain));
    call.memory.write(at, &info).map_err(fault)
}

/// What a PV domain is told it can rely on.
fn pv_features(domain: &Domain) -> u32 {
    let mut map = 1 << XENFEAT_MEMORY_OP_VNODE_SUPPORTED
        | 1 << XENFEAT_MMU_PT_UPDATE_PRESERVE_AD
        | 1 << XENFEAT_HIGHMEM_ASSIST
        | 1 << XENFEAT_GNTTAB_MAP_AVAIL_BITS
        | 1 << XENFEAT_DIRECT_MAPPED;
    if domain.assists.get() & PAE_EXTENDED_CR3 != 0 {
        map |= 1 << XENFEAT_PAE_PGDIR_ABOVE_4GB;
    }
    if domain.privileged.get() {
        map |= 1 << XENFEAT_DOM0;
    }
    map
}
