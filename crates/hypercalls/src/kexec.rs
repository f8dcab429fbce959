//! `kexec_op`: where things lie. No image can be loaded: there is no memory for a crash image, and the machine restarts
//! through its firmware.

use crate::call::{Call, CallResult, Outcome, fault};
use guest_memory::GuestMemory;
use ids::Gva;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::hypercall::KEXEC_OP;
use xen_abi::kexec::{
    KEXEC_CMD_KEXEC, KEXEC_CMD_KEXEC_GET_RANGE, KEXEC_CMD_KEXEC_LOAD, KEXEC_CMD_KEXEC_LOAD_V1,
    KEXEC_CMD_KEXEC_STATUS, KEXEC_CMD_KEXEC_UNLOAD, KEXEC_CMD_KEXEC_UNLOAD_V1, KEXEC_RANGE_MA_CPU,
    KEXEC_RANGE_MA_CRASH, KEXEC_RANGE_MA_VMCOREINFO, KEXEC_RANGE_MA_XEN, KEXEC_TYPE_CRASH,
    KEXEC_TYPE_DEFAULT, KexecExec, KexecLoad, KexecRange,
};

/// ELF machine types of images.
const I386: u16 = 3;
const X86_64: u16 = 62;

/// The hypercall: command, argument.
pub(crate) fn kexec_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    call.privileged()?;
    let [command, at, ..] = call.args;
    let at = Gva(at);
    match command as u32 {
        KEXEC_CMD_KEXEC => {
            let KexecExec { type_ } = call.memory.read(at).map_err(fault)?;
            known(type_ as u32)?;
            Err(Errno::ENOENT)
        }
        KEXEC_CMD_KEXEC_LOAD_V1 => call.unsupported(KEXEC_OP, command, Errno::EINVAL),
        // Nothing is loaded, so there is nothing to unload.
        KEXEC_CMD_KEXEC_UNLOAD_V1 => {
            let KexecExec { type_ } = call.memory.read(at).map_err(fault)?;
            known(type_ as u32).map(|()| Outcome::Value(0))
        }
        KEXEC_CMD_KEXEC_UNLOAD | KEXEC_CMD_KEXEC_STATUS => {
            let kind: u8 = call.memory.read(at).map_err(fault)?;
            known(kind.into()).map(|()| Outcome::Value(0))
        }
        KEXEC_CMD_KEXEC_GET_RANGE => range(call, at),
        KEXEC_CMD_KEXEC_LOAD => load(call, at),
        // As Xen does.
        _ => Ok(Outcome::Value(0)),
    }
}

/// Refuses types of images that there are none of.
fn known(kind: u32) -> Result<(), Errno> {
    if matches!(kind, KEXEC_TYPE_DEFAULT | KEXEC_TYPE_CRASH) { Ok(()) } else { Err(Errno::EINVAL) }
}

fn load<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: Gva) -> CallResult {
    let load: KexecLoad = call.memory.read(at).map_err(fault)?;
    known(load.type_.into())?;
    if u32::from(load.type_) == KEXEC_TYPE_CRASH {
        // No memory was set aside for it.
        return Err(Errno::EADDRNOTAVAIL);
    }
    if !matches!(load.arch, I386 | X86_64) {
        return Err(Errno::EINVAL);
    }
    call.unsupported(KEXEC_OP, KEXEC_CMD_KEXEC_LOAD.into(), Errno::EOPNOTSUPP)
}

/// Where the image and its note lie; a crash kernel's memory is empty, and CPUs have no notes.
fn range<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, at: Gva) -> CallResult {
    let mut range: KexecRange = call.memory.read(at).map_err(fault)?;
    let facts = call.state.facts;
    (range.size, range.start) = match range.range as u32 {
        KEXEC_RANGE_MA_CRASH => (0, 0),
        KEXEC_RANGE_MA_XEN => (facts.image.len(), facts.image.start),
        KEXEC_RANGE_MA_VMCOREINFO => (facts.note.len(), facts.note.start),
        KEXEC_RANGE_MA_CPU if usize::try_from(range.nr).map_or(true, |cpu| cpu >= facts.cpus().len()) => {
            return Err(Errno::ERANGE);
        }
        _ => return Err(Errno::EINVAL),
    };
    call.memory.write(at, &range).map_err(fault)?;
    Ok(Outcome::Value(0))
}
