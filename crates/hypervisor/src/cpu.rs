//! What the boot CPU says of itself.
#![expect(unsafe_code, reason = "reads model-specific registers")]

use boot_info::CpuFacts;
use command_line::Options;
use machine::{control, cpuid, fpu};
use mitigations::{Host, Plan, Vendor};

use crate::console::log;

/// Leaf 1 EDX: memory type ranges, and the machine check architecture.
/// CPUID 1.EDX: `sysenter`.
const SEP: u32 = 1 << 11;
/// Bits of CPUID 0x80000001.EDX that repeat those of 1.EDX.
const REPEATED: u32 = 0x0183_f3ff;

const HAS_MTRR: u32 = 1 << 12;
const HAS_MCA: u32 = 1 << 14;
const MCG_CAP: u32 = 0x179;
const MTRR_CAP: u32 = 0xfe;
/// The first of the pairs of base and mask.
const MTRR_BASE: u32 = 0x200;

/// Facts about the CPU that this runs on.
pub(crate) fn facts() -> CpuFacts {
    let cpuid = cpuid::CpuId::new();
    let mut facts = CpuFacts::EMPTY;
    facts.vendor = [b' '; 12];
    if let Some(info) = cpuid.get_vendor_info() {
        let name = info.as_str().as_bytes();
        let len = name.len().min(12);
        facts.vendor[..len].copy_from_slice(&name[..len]);
    }
    let state = fpu::detect();
    let sizes = cpuid.get_processor_capacity_feature_info();
    let basic = cpuid::cpuid!(1);
    facts.signature = basic.eax;
    facts.physical_bits = sizes.as_ref().map_or(36, |sizes| sizes.physical_address_bits());
    facts.xsave_bytes = if state.supported == 0 { 0 } else { state.bytes };
    facts.xcr0 = state.supported;
    facts.svm = cpuid.get_extended_processor_and_feature_identifiers().is_some_and(|info| info.has_svm());
    facts.vmx = cpuid.get_feature_info().is_some_and(|info| info.has_vmx());
    facts.max_leaf = cpuid::cpuid!(0).eax;
    let leaf = |leaf, subleaf| {
        let last = if leaf < 0x8000_0000 { facts.max_leaf } else { cpuid::cpuid!(0x8000_0000_u32).eax };
        (leaf <= last).then(|| cpuid::cpuid!(leaf, subleaf))
    };
    for (part, bytes) in (0x8000_0002..).zip(facts.brand.chunks_exact_mut(16)) {
        let Some(r) = leaf(part, 0) else { break };
        for (word, bytes) in [r.eax, r.ebx, r.ecx, r.edx].into_iter().zip(bytes.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }
    let extended = leaf(0x8000_0001, 0);
    let structured = leaf(7, 0);
    let is_amd = matches!(&facts.vendor, b"AuthenticAMD" | b"HygonGenuine");
    facts.capabilities = [
        // Theirs have no `sysenter` in 64-bit mode.
        if is_amd { basic.edx & !SEP } else { basic.edx },
        basic.ecx,
        extended.map_or(0, |r| r.edx & !REPEATED),
        extended.map_or(0, |r| r.ecx),
        leaf(0xd, 1).map_or(0, |r| r.eax),
        structured.map_or(0, |r| r.ebx),
        structured.map_or(0, |r| r.ecx),
    ];
    facts.cache_kib = leaf(0x8000_0006, 0).map_or(0, |r| r.ecx >> 16);
    facts.cache_line = (basic.ebx >> 8 & 0xff) * 8;
    let level = |subleaf| leaf(0xb, subleaf).filter(|r| r.ebx != 0).map(|r| (r.eax & 0x1f) as u8);
    facts.thread_bits = level(0).unwrap_or(0);
    // Elder CPUs of AMD name the bits of a core alone.
    let cores = || leaf(0x8000_0008, 0).map_or(0, |r| (r.ecx >> 12 & 0xf) as u8);
    facts.package_bits = level(1).unwrap_or_else(cores);
    read_registers(&mut facts, basic.edx);
    facts
}

fn read_registers(facts: &mut CpuFacts, features: u32) {
    if features & HAS_MCA != 0 {
        // SAFETY: part of the machine check architecture.
        facts.machine_check = unsafe { control::read_msr(MCG_CAP) };
    }
    if features & HAS_MTRR == 0 {
        return;
    }
    // SAFETY: part of the memory type ranges.
    let count = (unsafe { control::read_msr(MTRR_CAP) } & 0xff) as u32;
    for index in 0..count.min(facts.memory_types.capacity() as u32) {
        // SAFETY: within the number that there are.
        let base = unsafe { control::read_msr(MTRR_BASE + 2 * index) };
        // SAFETY: as above.
        let mask = unsafe { control::read_msr(MTRR_BASE + 2 * index + 1) };
        facts.memory_types.push((base, mask));
    }
}

/// What is done about side channels of speculation on the CPU that this runs on; said in the log.
pub(crate) fn mitigations(options: &Options) -> Plan {
    let plan = Plan::decide(&speculation(), &options.mitigations, options.xpti);
    log!("Speculative mitigation facilities:\n{plan}");
    plan
}

/// What the CPU says about them.
fn speculation() -> Host {
    /// Leaf 7 EDX: IA32_ARCH_CAPABILITIES exists.
    const HAS_CAPABILITIES: u32 = 1 << 29;
    const CAPABILITIES: u32 = 0x10a;
    let leaf = |leaf: u32, subleaf: u32| {
        let last = cpuid::cpuid!(leaf & 0x8000_0000).eax;
        (leaf <= last).then(|| cpuid::cpuid!(leaf, subleaf))
    };
    let vendor = cpuid::CpuId::new().get_vendor_info();
    let vendor = match vendor.as_ref().map(|vendor| vendor.as_str()) {
        Some("GenuineIntel") => Vendor::Intel,
        Some("AuthenticAMD" | "HygonGenuine") => Vendor::Amd,
        _ => Vendor::Other,
    };
    let (structured, more) = (leaf(7, 0), leaf(7, 0).filter(|r| r.eax >= 2).and_then(|_| leaf(7, 2)));
    let sizes = leaf(0x8000_0008, 0);
    let leaf7_edx = structured.map_or(0, |r| r.edx);
    let capabilities = if leaf7_edx & HAS_CAPABILITIES == 0 {
        0
    } else {
        // SAFETY: the CPU says that it has the register.
        unsafe { control::read_msr(CAPABILITIES) }
    };
    Host {
        vendor,
        signature: cpuid::cpuid!(1).eax,
        leaf7_ebx: structured.map_or(0, |r| r.ebx),
        leaf7_edx,
        leaf7_2_edx: more.map_or(0, |r| r.edx),
        extended8_ebx: sizes.map_or(0, |r| r.ebx),
        extended21_eax: leaf(0x8000_0021, 0).map_or(0, |r| r.eax),
        capabilities,
        address_bits: sizes.map_or(36, |r| r.eax as u8),
        threads: leaf(0xb, 0).is_some_and(|r| r.ebx != 0 && r.eax & 0x1f != 0),
    }
}
