//! Dom0, built on first boot: from the kernel in memory to a vCPU that can run.
//!
//! All durable state changes by transactions as at any other time; the initial page tables are validated as
//! if the guest had made them. Nothing of Dom0 runs before the end, so memory is filled outside of them.

mod contents;
mod error;
mod memory;
mod records;
mod runs;
mod start;

pub use error::BuildError;

use crate::State;
use alloc::format;
use command_line::Dom0Pages;
use guest_loader::elf_kernel::{ElfKernel, Span};
use guest_loader::layout::{Inputs, Plan};
use guest_loader::notes::Notes;
use guest_memory::GuestMemory;
use ids::{DomainSlot, FRAME_SIZE, Mfn, VcpuSlot};
use runs::Runs;
use vault::{Apply, Journal};
use xen_abi::xen::Dom0VgaConsoleInfo;

/// Dom0's slot.
const SLOT: DomainSlot = DomainSlot(0);
/// The slot of its vCPU 0.
const VCPU0: VcpuSlot = VcpuSlot(0);

/// A file in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module {
    /// Its first frame; the others follow. All are the hypervisor's ([`frames::Owner::HYPERVISOR`]).
    pub first: Mfn,
    /// Bytes.
    pub len: u64,
}

impl Module {
    fn frames(&self) -> u64 {
        self.len.div_ceil(FRAME_SIZE)
    }
}

/// What Dom0 is built from.
#[derive(Debug, Clone, Copy)]
pub struct Dom0Inputs<'a> {
    /// The unpacked kernel.
    pub kernel: &'a ElfKernel<'a>,
    /// Its notes.
    pub notes: &'a Notes,
    /// The initrd: its frames become Dom0's.
    pub initrd: Option<Module>,
    /// Dom0's command line.
    pub command_line: &'a [u8],
    /// Its memory, the initrd's frames included.
    pub pages: Dom0Pages,
    /// Its vCPUs.
    pub vcpus: u32,
    /// They stay on the CPUs of their numbers (`dom0_vcpus_pin`).
    pub pinned: bool,
    /// System time, ns: they exist from now on.
    pub now: u64,
    /// The ISA interrupt of the hypervisor's serial console, if it has one.
    pub console_line: Option<u8>,
    /// A `dom0_vga_console_info`, or nothing.
    pub console_info: &'a [u8],
}

/// What was built; all else is in the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dom0 {
    /// Its slot.
    pub domain: DomainSlot,
    /// Its vCPU 0, runnable.
    pub vcpu0: VcpuSlot,
}

/// Builds Dom0 in slot 0. The log of `j` is begun and empty, `j` allows any number of transactions
/// (`u32::MAX`), the vault is a first boot's, the heap holds all free memory. `progress` gets lines for the
/// console.
///
/// # Errors
/// [`BuildError`]; what was allocated until then is not given back, for there is nothing to go on with.
pub fn build<M: GuestMemory + 'static, A: Apply>(
    state: &'static State,
    memory: &'static M,
    j: &mut Journal<A>,
    inputs: &Dom0Inputs<'_>,
    progress: &mut dyn FnMut(&str),
) -> Result<Dom0, BuildError> {
    let initrd = inputs.initrd.filter(|module| module.len > 0);
    let (span, plan) = plan(inputs, initrd)?;
    records::check(state, inputs)?;
    memory::check(state, &plan, initrd)?;
    report(inputs, &plan, progress);
    let mut builder = Builder { state, memory, j, inputs, plan: &plan, runs: Runs::default() };
    builder.create_domain()?;
    builder.create_vcpus()?;
    builder.take_memory(initrd)?;
    builder.copy_kernel(&span)?;
    builder.write_frame_list()?;
    builder.write_start_info(progress)?;
    builder.write_page_tables()?;
    builder.validate_page_tables()?;
    builder.set_context()?;
    progress(&format!("Dom0: built, {} pages left free", state.frames.heap().free_frames()));
    Ok(Dom0 { domain: SLOT, vcpu0: VCPU0 })
}

/// The work under way.
struct Builder<'a, M: 'static, A> {
    state: &'static State,
    memory: &'static M,
    j: &'a mut Journal<A>,
    inputs: &'a Dom0Inputs<'a>,
    plan: &'a Plan,
    runs: Runs,
}

fn plan(inputs: &Dom0Inputs<'_>, initrd: Option<Module>) -> Result<(Span, Plan), BuildError> {
    inputs.notes.check_dom0()?;
    let info = inputs.console_info.len();
    if info != 0 && info != size_of::<Dom0VgaConsoleInfo>() {
        return Err(BuildError::ConsoleInfo(info));
    }
    let span = inputs.kernel.span(inputs.notes)?;
    let plan = Plan::new(&Inputs {
        kernel: span,
        notes: inputs.notes,
        nr_pages: inputs.pages.initial.min(max_pages(inputs.pages)),
        initrd_len: initrd.map_or(0, |module| module.len),
        console_info_len: info as u32, // at most 40
    })?;
    Ok((span, plan))
}

/// The most pages that Dom0 may ever have: Xen's `max_pages` has 32 bits for it.
fn max_pages(pages: Dom0Pages) -> u64 {
    pages.max.unwrap_or(u64::MAX).min(u32::MAX.into())
}

fn report(inputs: &Dom0Inputs<'_>, plan: &Plan, progress: &mut dyn FnMut(&str)) {
    progress(&format!("Dom0: {} vCPUs, {} pages ({} MiB)", inputs.vcpus, plan.nr_pages, plan.nr_pages / 256));
    let ranges = [
        ("kernel", &plan.kernel),
        ("frame list", &plan.p2m),
        ("start info", &plan.start_info),
        ("page tables", &plan.page_tables),
        ("boot stack", &plan.stack),
        ("mapping", &(plan.virt_base..plan.virt_end)),
    ];
    for (name, range) in ranges {
        progress(&format!("  {name:<12} {:016x}->{:016x}", range.start, range.end));
    }
    if !plan.initrd_frames.is_empty() {
        let frames = &plan.initrd_frames;
        progress(&format!("  {:<12} frames {:x}->{:x}", "initrd", frames.start, frames.end));
    }
    progress(&format!("  {:<12} {:016x}", "entry", plan.entry));
}
