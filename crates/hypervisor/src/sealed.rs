//! The sealed record: what boot learned and decided, read-only at a fixed address from then on. The only thing a copy
//! of the image finds without having been told.
#![expect(unsafe_code, reason = "reads a fixed address")]

use core::sync::atomic::{AtomicBool, Ordering};

use boot_info::{BootFacts, Range};
use command_line::Options;
use ids::Maddr;
use machine::image::ImageCopies;
use machine::isolation::Isolation;
use machine::layout;
use machine::smp::Trampoline;
use mitigations::Plan;

use crate::console::Port;
use crate::efi::Services;

/// Everything that stays as boot left it.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// What the firmware and the boot loader said.
    pub(crate) facts: &'static BootFacts,
    /// The checksum of the facts.
    pub(crate) facts_seal: u64,
    /// How the firmware's services are called.
    pub(crate) efi: Option<Services>,
    /// The command line's options.
    pub(crate) options: Options,
    /// What is done about side channels.
    pub(crate) mitigations: Plan,
    /// Page tables that do not show the hypervisor, if guests run on such.
    pub(crate) isolation: Option<Isolation>,
    /// The serial console.
    pub(crate) console: Option<Port>,
    /// The two copies of the image.
    pub(crate) image: ImageCopies,
    /// The hypervisor's own L4 table: slots 256 to 271 of every address space equal its.
    pub(crate) root: Maddr,
    /// Memory behind the per-CPU blocks, `percpu::BYTES` each, in order.
    pub(crate) per_cpu: Range,
    /// CPUs that have a block.
    pub(crate) cpus: u32,
    /// How a CPU is started.
    pub(crate) trampoline: Trampoline,
    /// Memory mapped at `composition::vault_address`; what the regions leave of it is the heap's.
    pub(crate) vault: Range,
    /// The machine-to-physical table's whole pieces, which Dom0 may read.
    pub(crate) m2p: Range,
    /// Where its entries end, in whole pages mapped at `layout::M2P`. Behind them lies code of the image.
    pub(crate) m2p_end: u64,
    /// The log's ring: kept over a microreboot (`console::adopt`).
    pub(crate) log: Range,
    /// The heap's permanent memory.
    pub(crate) heap: Range,
    /// Memory mapped at `layout::CHART`; what the chart leaves of it is the heap's.
    pub(crate) chart: Range,
    /// All RAM: what the direct map shows.
    pub(crate) ram: boot_info::FreeRanges,
}

/// Where the facts lie, behind the record.
pub(crate) const FACTS: u64 = layout::SEALED + size_of::<Sealed>().next_multiple_of(4096) as u64;

const _: () = assert!(FACTS + (size_of::<BootFacts>() as u64) < layout::CHART);

static MAPPED: AtomicBool = AtomicBool::new(false);

/// The record.
///
/// # Panics
/// Panics before boot has mapped it.
pub(crate) fn sealed() -> &'static Sealed {
    assert!(MAPPED.load(Ordering::Relaxed), "the sealed record is not mapped yet");
    // SAFETY: mapped read-only for good, and written before.
    unsafe { &*core::ptr::with_exposed_provenance(layout::SEALED as usize) }
}

/// Whether the record is there.
pub(crate) fn is_mapped() -> bool {
    MAPPED.load(Ordering::Relaxed)
}

/// Says that the record is there: once by boot, once by each start from a refreshed image copy.
///
/// # Safety
/// It is.
pub(crate) unsafe fn mark_mapped() {
    MAPPED.store(true, Ordering::Relaxed);
}
