//! The facts themselves.

use core::hash::{Hash, Hasher};

use arrayvec::ArrayVec;
use ids::Maddr;

use crate::{AcpiFacts, BiosFacts, Cpu, Display, EfiFacts, MemoryMap, Range};

/// Modules the boot loader may pass.
pub(crate) const MAX_MODULES: usize = 32;
/// Bytes of text kept: the command line (at most [`MAX_COMMAND_LINE`]) and the modules' strings.
pub(crate) const MAX_TEXT: usize = 8192;
/// Bytes of the hypervisor's command line.
pub(crate) const MAX_COMMAND_LINE: usize = 2048;

/// More than the facts have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow(
    /// Of what.
    pub &'static str,
);

/// Variable memory type ranges there is room for.
pub(crate) const MAX_MEMORY_TYPES: usize = 16;

/// A part of the text pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Text {
    start: u16,
    len: u16,
}

/// A file the boot loader put into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Module {
    /// First byte; page aligned.
    pub start: Maddr,
    /// Bytes.
    pub len: u64,
    pub(crate) command_line: Text,
}

impl Module {
    /// The memory it lies in.
    pub const fn range(&self) -> Range {
        Range::new(self.start, self.len)
    }
}

/// How fast the clocks run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timing {
    /// The time stamp counter, in kHz.
    pub tsc_khz: u64,
    /// The local APIC's timer at divisor 1, in kHz.
    pub apic_timer_khz: u64,
    /// The time stamp counter runs at one rate in all power states (CPUID 0x80000007 EDX bit 8).
    pub tsc_invariant: bool,
    /// What the counter was measured with.
    pub reference: TimeReference,
}

/// A clock of known rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimeReference {
    /// The 8254 interval timer.
    #[default]
    Pit,
    /// The ACPI timer.
    PmTimer,
    /// The high precision event timer.
    Hpet,
}

/// How the local APICs are addressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ApicMode {
    /// Memory-mapped registers, 8-bit identifiers.
    #[default]
    XApic,
    /// Model-specific registers, 32-bit identifiers.
    X2Apic,
}

/// What the boot CPU can do, and the hypervisor uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CpuFacts {
    /// The first twelve characters of CPUID leaf 0.
    pub vendor: [u8; 12],
    /// CPUID leaf 1 EAX: family, model, stepping.
    pub signature: u32,
    /// Physical address bits.
    pub physical_bits: u8,
    /// Bytes of the extended state of XCR0's highest value here; 0 without XSAVE.
    pub xsave_bytes: u32,
    /// The highest XCR0 value.
    pub xcr0: u64,
    /// AMD-V.
    pub svm: bool,
    /// VT-x.
    pub vmx: bool,
    /// The highest basic CPUID leaf.
    pub max_leaf: u32,
    /// The name in CPUID leaves 0x80000002 to 4.
    pub brand: [u8; 48],
    /// What is there and can be used of CPUID 1.EDX, 1.ECX, 0x80000001.EDX, .ECX, 0xd[1].EAX, 7.EBX, 7.ECX.
    pub capabilities: [u32; 7],
    /// Level 2 cache, KiB.
    pub cache_kib: u32,
    /// Bytes that CLFLUSH flushes.
    pub cache_line: u32,
    /// Low bits of an APIC identifier that name a thread of a core.
    pub thread_bits: u8,
    /// Low bits of an APIC identifier that name a thread of a package.
    pub package_bits: u8,
    /// `IA32_MCG_CAP`; 0 without machine checks.
    pub machine_check: u64,
    /// Base and mask of the variable memory type ranges.
    pub memory_types: ArrayVec<(u64, u64), MAX_MEMORY_TYPES>,
}

impl CpuFacts {
    /// Nothing known.
    pub const EMPTY: Self = Self {
        vendor: [0; 12],
        signature: 0,
        physical_bits: 0,
        xsave_bytes: 0,
        xcr0: 0,
        svm: false,
        vmx: false,
        max_leaf: 0,
        brand: [0; 48],
        capabilities: [0; 7],
        cache_kib: 0,
        cache_line: 0,
        thread_bits: 0,
        package_bits: 0,
        machine_check: 0,
        memory_types: ArrayVec::new_const(),
    };

    /// Family, model and stepping, as CPUID leaf 1 codes them (AMD APM volume 3, E.3.2).
    pub const fn model(&self) -> (u32, u32, u32) {
        let word = self.signature;
        let (base, extended) = (word >> 8 & 0xf, word >> 20 & 0xff);
        let family = if base == 0xf { base + extended } else { base };
        let high = if base >= 6 { word >> 12 & 0xf0 } else { 0 };
        (family, word >> 4 & 0xf | high, word & 0xf)
    }
}

/// Everything boot learned. Immutable from [`Self::seal`] on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BootFacts {
    /// The firmware's memory map.
    pub memory: MemoryMap,
    /// The firmware is UEFI: the machine address of its system table.
    pub efi_system_table: Option<Maddr>,
    /// What a 64-bit UEFI says of itself.
    pub efi: EfiFacts,
    /// The screen.
    pub display: Display,
    /// What the BIOS answered in real mode; nothing on an EFI machine.
    pub bios: BiosFacts,
    /// What the ACPI tables say.
    pub acpi: AcpiFacts,
    /// The ACPI root pointer as the boot loader passed it on.
    pub root_pointer: Option<[u8; 36]>,
    /// Clock rates.
    pub timing: Timing,
    /// How the local APICs are addressed.
    pub apic_mode: ApicMode,
    /// The boot CPU.
    pub cpu: CpuFacts,
    /// Where the boot loader put the hypervisor.
    pub image: Range,
    /// The page of a note about the image, for tools that read a dump of memory (`VMCOREINFO_XEN`).
    pub note: Range,
    pub(crate) modules: ArrayVec<Module, MAX_MODULES>,
    pub(crate) command_line: Text,
    pub(crate) text: ArrayVec<u8, MAX_TEXT>,
}

impl BootFacts {
    /// Nothing known yet; a constant, so that the facts can be gathered in a static: they are too large for a stack.
    pub const EMPTY: Self = Self {
        memory: MemoryMap::EMPTY,
        efi_system_table: None,
        efi: EfiFacts::EMPTY,
        display: Display::None,
        bios: BiosFacts::EMPTY,
        acpi: AcpiFacts::EMPTY,
        root_pointer: None,
        timing: Timing { tsc_khz: 0, apic_timer_khz: 0, tsc_invariant: false, reference: TimeReference::Pit },
        apic_mode: ApicMode::XApic,
        cpu: CpuFacts::EMPTY,
        image: Range { start: 0, end: 0 },
        note: Range { start: 0, end: 0 },
        modules: ArrayVec::new_const(),
        command_line: Text { start: 0, len: 0 },
        text: ArrayVec::new_const(),
    };

    /// The CPUs that can be used now. After [`Self::order_cpus`] their index is the CPU's number.
    pub fn cpus(&self) -> &[Cpu] {
        let cpus = &self.acpi.madt.cpus;
        &cpus[..cpus.iter().position(|cpu| !cpu.enabled).unwrap_or(cpus.len())]
    }

    /// Puts the boot CPU first and the CPUs that are not enabled last; otherwise firmware's order stays. False if the
    /// tables do not list the boot CPU as enabled.
    pub fn order_cpus(&mut self, boot_apic_id: u32) -> bool {
        let cpus = &mut self.acpi.madt.cpus;
        let rank = |cpu: &Cpu| (!cpu.enabled, cpu.apic_id != boot_apic_id);
        // An insertion sort: stable, and core has no other.
        for at in 1..cpus.len() {
            let mut at = at;
            while at > 0 && rank(&cpus[at]) < rank(&cpus[at - 1]) {
                cpus.swap(at, at - 1);
                at -= 1;
            }
        }
        cpus.first().is_some_and(|cpu| cpu.enabled && cpu.apic_id == boot_apic_id)
    }

    /// Gives up all usable CPUs but the first `most`; call after [`Self::order_cpus`].
    pub fn limit_cpus(&mut self, most: usize) {
        self.acpi.madt.cpus.iter_mut().skip(most).for_each(|cpu| cpu.enabled = false);
    }

    /// The hypervisor's command line, without the image's name.
    pub fn command_line(&self) -> &str {
        self.text_at(self.command_line)
    }

    /// The boot loader's modules, in its order.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// The string that goes with `module`.
    pub fn module_command_line(&self, module: &Module) -> &str {
        self.text_at(module.command_line)
    }

    /// A checksum over every fact.
    pub fn seal(&self) -> u64 {
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// True if the facts still are those that `seal` was taken of.
    pub fn verify(&self, seal: u64) -> bool {
        self.seal() == seal
    }

    pub(crate) fn keep_text(&mut self, text: &str) -> Result<Text, Overflow> {
        let (start, len) = (self.text.len(), text.len());
        self.text.try_extend_from_slice(text.as_bytes()).map_err(|_| Overflow("command lines"))?;
        let short = |n| u16::try_from(n).map_err(|_| Overflow("command lines"));
        Ok(Text { start: short(start)?, len: short(len)? })
    }

    fn text_at(&self, text: Text) -> &str {
        let start = usize::from(text.start);
        let bytes = self.text.get(start..start + usize::from(text.len)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// Fowler-Noll-Vo 1a, 64 bits.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_boot_cpu_is_number_0() {
        let mut facts = BootFacts::EMPTY;
        for (apic_id, enabled) in [(0, true), (1, false), (2, true), (4, true)] {
            facts.acpi.madt.cpus.push(Cpu { apic_id, acpi_id: 0, enabled, online_capable: true });
        }
        assert!(facts.order_cpus(4));
        let order: Vec<_> = facts.cpus().iter().map(|cpu| cpu.apic_id).collect();
        assert_eq!(order, [4, 0, 2]);
        assert_eq!(facts.acpi.madt.cpus[3].apic_id, 1);
        facts.limit_cpus(2);
        assert_eq!(facts.cpus().len(), 2);
        assert!(!facts.order_cpus(1) && !facts.order_cpus(9));
    }
}
