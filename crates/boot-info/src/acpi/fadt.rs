//! The fixed ACPI description table (ACPI specification 6.5, 5.2.9).

use ids::Maddr;

use super::{AcpiError, malformed, u16_at, u32_at, u64_at};

/// A register of the fixed hardware anywhere (5.2.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GenericAddress {
    /// 0 memory, 1 ports, 2 PCI configuration space (`address` is device, function, offset on bus 0).
    pub space: u8,
    /// Bits of the register.
    pub width: u8,
    /// First bit.
    pub offset: u8,
    /// Bytes of an access, as a power of two plus 1; 0: unsaid.
    pub access: u8,
    /// Where.
    pub address: u64,
}

impl GenericAddress {
    /// Memory.
    pub const MEMORY: u8 = 0;
    /// Ports.
    pub const PORTS: u8 = 1;
    /// PCI configuration space.
    pub const PCI: u8 = 2;
}

/// A block of ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct IoBlock {
    /// The first port.
    pub port: u16,
    /// Bytes.
    pub len: u8,
}

/// Fixed hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fadt {
    /// The ACPI interrupt, an ISA interrupt or global system interrupt.
    pub sci_interrupt: u16,
    /// The port that changes between legacy and ACPI mode; 0: always ACPI.
    pub smi_command: u16,
    /// The byte that takes the machine to ACPI mode.
    pub acpi_enable: u8,
    /// PM1a status and enable.
    pub pm1a_event: Option<IoBlock>,
    /// PM1b status and enable.
    pub pm1b_event: Option<IoBlock>,
    /// PM1a control: SLP_TYP and SLP_EN.
    pub pm1a_control: Option<IoBlock>,
    /// PM1b control.
    pub pm1b_control: Option<IoBlock>,
    /// The 3.579545 MHz timer.
    pub pm_timer: Option<IoBlock>,
    /// That timer has 32 bits, not 24.
    pub pm_timer_is_32_bit: bool,
    /// CMOS register of the century; 0: none.
    pub century: u8,
    /// IA-PC boot architecture flags: bit 0 legacy devices, 1 8042, 2 no VGA, 5 no CMOS RTC.
    pub boot_flags: u16,
    /// Fixed feature flags: bit 10 reset register, 20 hardware-reduced.
    pub flags: u32,
    /// The register that resets the machine, and the value to write, if supported.
    pub reset: Option<(GenericAddress, u8)>,
    /// The firmware control structure: the waking vector.
    pub facs: Maddr,
    /// The differentiated system description table (AML).
    pub dsdt: Maddr,
}

const RESET_REGISTER_SUPPORTED: u32 = 1 << 10;
const TIMER_IS_32_BIT: u32 = 1 << 8;

impl Fadt {
    pub(super) fn read(table: &[u8]) -> Result<Self, AcpiError> {
        Self::parse(table).ok_or_else(|| malformed(table))
    }

    fn parse(table: &[u8]) -> Option<Self> {
        let byte = |at: usize| table.get(at).copied();
        let block = |old, len, new| io_block(table, old, len, new);
        let flags = u32_at(table, 112)?;
        let supported = flags & RESET_REGISTER_SUPPORTED != 0;
        let reset = generic_at(table, 116).filter(|_| supported).zip(byte(128));
        let wide = |old, new| u64_at(table, new).filter(|&at| at != 0).or(u32_at(table, old).map(u64::from));
        Some(Self {
            sci_interrupt: u16_at(table, 46)?,
            smi_command: u16::try_from(u32_at(table, 48)?).unwrap_or(0),
            acpi_enable: byte(52)?,
            pm1a_event: block(56, 88, 148),
            pm1b_event: block(60, 88, 160),
            pm1a_control: block(64, 89, 172),
            pm1b_control: block(68, 89, 184),
            pm_timer: block(76, 91, 208),
            pm_timer_is_32_bit: flags & TIMER_IS_32_BIT != 0,
            century: byte(108)?,
            boot_flags: u16_at(table, 109)?,
            flags,
            reset,
            facs: Maddr(wide(36, 132)?),
            dsdt: Maddr(wide(40, 140)?),
        })
    }
}

/// A port block: by its extended description where there is one, else by the 32-bit field.
fn io_block(table: &[u8], old: usize, len: usize, new: usize) -> Option<IoBlock> {
    let len = table.get(len).copied()?;
    let extended = generic_at(table, new).filter(|at| at.space == GenericAddress::PORTS && at.address != 0);
    let port = match extended {
        Some(at) => at.address,
        None => u64::from(u32_at(table, old)?),
    };
    let port = u16::try_from(port).ok().filter(|&port| port != 0)?;
    Some(IoBlock { port, len })
}

fn generic_at(table: &[u8], at: usize) -> Option<GenericAddress> {
    let field = table.get(at..)?;
    let [space, width, offset, access] = *field.first_chunk()?;
    Some(GenericAddress { space, width, offset, access, address: u64_at(field, 4)? })
}
