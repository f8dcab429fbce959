//! The hypervisor's own CPUID leaves from 40000000 on (public arch-x86/cpuid.h).

use core::ops::RangeInclusive;

use crate::cpuid::Leaf;

/// Leaves that belong to hypervisors; never shown from the host's.
pub const RANGE: RangeInclusive<u32> = 0x4000_0000..=0x4000_ffff;

const FIRST: u32 = 0x4000_0000;
/// Leaves after the first.
const COUNT: u32 = 5;
/// `XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD`.
const PRESERVE_AD: u32 = 1;

/// Xen 4.17 as leaf 40000001 shows it: major in the upper half, minor in the lower.
pub const VERSION_4_17: u32 = 0x0004_0011;
/// Xen 4.20.
pub const VERSION_4_20: u32 = 0x0004_0014;

/// What the leaves of a PV domain are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct XenLeaves {
    /// [`VERSION_4_17`] or [`VERSION_4_20`].
    pub version: u32,
    /// RDTSC is trapped and answered from system time.
    pub virtual_tsc: bool,
    /// The host's TSCs are synchronised and never stop or change rate.
    pub host_tsc_safe: bool,
    /// RDTSCP runs natively.
    pub rdtscp: bool,
    /// The domain's `tsc_mode`.
    pub tsc_mode: u32,
    /// The rate of the guest's TSC in kHz.
    pub tsc_khz: u32,
    /// How often the domain has been restored.
    pub incarnation: u32,
    /// Added to the scaled TSC to give guest time, in nanoseconds.
    pub tsc_offset_ns: u64,
    /// Multiplier of the TSC-to-nanoseconds scale (32-bit fraction).
    pub ns_multiplier: u32,
    /// Shift of the TSC before multiplication; negative shifts right.
    pub ns_shift: i8,
    /// The rate of the processor's TSC in kHz.
    pub cpu_khz: u32,
    /// Bits in a machine address.
    pub machine_address_bits: u8,
}

impl XenLeaves {
    /// One of the leaves; empty for those that do not exist. `limit` is how many follow the first one as the toolstack
    /// wants it; 0: all.
    pub fn leaf(&self, leaf: u32, subleaf: u32, limit: u32) -> Leaf {
        let limit = if limit == 0 { COUNT } else { limit.clamp(2, COUNT) };
        let number = leaf.wrapping_sub(FIRST);
        if number > limit {
            return Leaf::EMPTY;
        }
        let [low, high] =
            [self.tsc_offset_ns & 0xffff_ffff, self.tsc_offset_ns >> 32].map(|half| half as u32);
        match (number, subleaf) {
            // "XenVMMXenVMM"
            (0, _) => Leaf { eax: FIRST + limit, ebx: 0x566e_6558, ecx: 0x6558_4d4d, edx: 0x4d4d_566e },
            (1, _) => Leaf { eax: self.version, ..Leaf::EMPTY },
            // One hypercall page, installed through MSR 40000000.
            (2, _) => Leaf { eax: 1, ebx: FIRST, ecx: PRESERVE_AD, edx: 0 },
            (3, 0) => Leaf {
                eax: u32::from(self.virtual_tsc)
                    | u32::from(self.host_tsc_safe) << 1
                    | u32::from(self.rdtscp) << 2,
                ebx: self.tsc_mode,
                ecx: self.tsc_khz,
                edx: self.incarnation,
            },
            (3, 1) => Leaf {
                eax: low,
                ebx: high,
                ecx: self.ns_multiplier,
                edx: i32::from(self.ns_shift).cast_unsigned(),
            },
            (3, 2) => Leaf { eax: self.cpu_khz, ..Leaf::EMPTY },
            (5, 0) => Leaf { ebx: self.machine_address_bits.into(), ..Leaf::EMPTY },
            (_, _) => Leaf::EMPTY,
        }
    }
}
