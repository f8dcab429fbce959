//! What the machine must have, checked before boot relies on it.

use boot_info::{BootFacts, FreeRanges, Range};
use machine::cpuid::CpuId;

use crate::refusal::refuse;

/// Refuses a CPU without the features that the hypervisor cannot do without.
pub(crate) fn check_cpu() {
    let cpuid = CpuId::new();
    let basic = cpuid.get_feature_info();
    let extended = cpuid.get_extended_processor_and_feature_identifiers();
    let has = |test: fn(&machine::cpuid::FeatureInfo) -> bool| basic.as_ref().is_some_and(test);
    let needed = [
        ("nx", extended.as_ref().is_some_and(|info| info.has_execute_disable())),
        ("syscall", extended.as_ref().is_some_and(|info| info.has_syscall_sysret())),
        ("apic", has(|info| info.has_apic())),
        ("cx8", has(|info| info.has_cmpxchg8b())),
        ("cmov", has(|info| info.has_cmov())),
        ("de", has(|info| info.has_de())),
        ("fxsr", has(|info| info.has_fxsave_fxstor())),
        ("mce", has(|info| info.has_mce())),
        ("msr", has(|info| info.has_msr())),
        ("pat", has(|info| info.has_pat())),
        ("pge", has(|info| info.has_pge())),
        ("sse", has(|info| info.has_sse())),
        ("sse2", has(|info| info.has_sse2())),
        ("tsc", has(|info| info.has_tsc())),
    ];
    if needed.iter().all(|(_, there)| *there) {
        return;
    }
    refuse!(
        "CPU: it lacks{}: switch them on in the machine's settings, or use an x86-64 CPU that has them",
        Missing(&needed)
    );
}

/// Names those that are not there.
struct Missing<'a>(&'a [(&'static str, bool)]);

impl core::fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().filter(|(_, there)| !there).try_for_each(|(name, _)| write!(f, " {name}"))
    }
}

/// Refuses a memory limit below what the boot loader has placed: it could not be read any more.
pub(crate) fn check_placement(ram: &FreeRanges, facts: &BootFacts, image: Range) {
    let within =
        |range: Range| range.is_empty() || ram.iter().any(|r| r.start <= range.start && range.end <= r.end);
    let modules = facts.modules().iter().enumerate();
    let mut placed = modules.map(|(number, module)| (Some(number), module.range())).chain([(None, image)]);
    if let Some((module, range)) = placed.find(|(_, range)| !within(*range)) {
        let end = range.end.div_ceil(1 << 20);
        match module {
            Some(number) => {
                refuse!("mem=: boot module {number} ends at {end} MiB, outside of the RAM in use: raise mem=")
            }
            None => refuse!(
                "mem=: the hypervisor itself ends at {end} MiB, outside of the RAM in use: raise mem="
            ),
        }
    }
}
