//! What Dom0 finds in its memory: kernel, frame list, start_info, page tables.

use super::{BuildError, Builder};
use crate::hypercall_page::{HYPERCALL_PAGE_STUBS, stub};
use guest_loader::elf_kernel::Span;
use guest_loader::page_tables;
use guest_loader::start_info::{self, START_INFO_SIZE};
use guest_memory::GuestMemory;
use ids::{FRAME_SIZE, Gfn, Maddr};
use vault::Apply;
use xen_abi::xen::StartInfo;
use zerocopy::{FromZeros, IntoBytes};

/// Entries of the frame list in a page.
const ENTRIES: u64 = FRAME_SIZE / 8;

impl<M: GuestMemory + 'static, A: Apply> Builder<'_, M, A> {
    /// Copies the kernel's segments to where it expects them, and fills its hypercall page if it has one.
    /// Frames are zero, so there is nothing to do for the rest of a segment.
    pub(super) fn copy_kernel(&self, span: &Span) -> Result<(), BuildError> {
        for segment in self.inputs.kernel.segments() {
            self.copy(segment.virtual_start(span), segment.bytes)?;
        }
        if let Some(page) = self.inputs.notes.hypercall_page {
            for number in 0..HYPERCALL_PAGE_STUBS {
                let stub = stub(number);
                self.copy(page.wrapping_add(u64::from(number) * stub.len() as u64), &stub)?;
            }
        }
        Ok(())
    }

    /// Copies `bytes` to an address of the initial mapping.
    fn copy(&self, mut address: u64, mut bytes: &[u8]) -> Result<(), BuildError> {
        while !bytes.is_empty() {
            let outside = BuildError::Defect("something lies outside the initial mapping");
            let run = self.runs.from(self.plan.frame_at(address).ok_or(outside)?)?;
            let offset = address % FRAME_SIZE;
            let room = usize::try_from(run.count * FRAME_SIZE - offset).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.memory.write_machine(Maddr(run.mfn.maddr().0 + offset), now);
            address = address.wrapping_add(now.len() as u64);
            bytes = later;
        }
        Ok(())
    }

    /// Writes the frame list (P2M), a page after the other.
    pub(super) fn write_frame_list(&self) -> Result<(), BuildError> {
        let mut page = Maddr(0);
        for run in self.runs.iter() {
            for index in 0..run.count {
                let frame = run.first.0 + index;
                let entry = frame % ENTRIES;
                if entry == 0 {
                    page = self.frame_list_page(Gfn(frame))?;
                }
                self.memory.store64(Maddr(page.0 + 8 * entry), run.mfn.0 + index);
            }
        }
        Ok(())
    }

    fn frame_list_page(&self, frame: Gfn) -> Result<Maddr, BuildError> {
        let outside = BuildError::Defect("the frame list is too short");
        let (page, offset) = self.plan.p2m_slot(frame).ok_or(outside)?;
        Ok(Maddr(self.runs.machine(page)?.maddr().0 + offset))
    }

    /// Writes start_info and the console information behind it.
    pub(super) fn write_start_info(&self, progress: &mut dyn FnMut(&str)) -> Result<(), BuildError> {
        let fields = start_info::StartInfo::new(self.plan, self.inputs.command_line);
        if fields.command_line_cut {
            progress("Dom0: its command line is longer than 1023 bytes and was cut");
        }
        let shared_info = self.state.domains.domain(super::SLOT).shared_info.get();
        let mut info = StartInfo::new_zeroed();
        for (to, from) in info.magic.iter_mut().zip(start_info::MAGIC) {
            *to = *from;
        }
        info.nr_pages = fields.nr_pages;
        info.shared_info = shared_info.maddr().0;
        info.flags = fields.flags;
        info.console[0] = u64::from(fields.console_info_size) << 32 | u64::from(fields.console_info_offset);
        info.pt_base = fields.pt_base;
        info.nr_pt_frames = fields.nr_pt_frames;
        info.mfn_list = fields.mfn_list;
        info.mod_start = fields.mod_start;
        info.mod_len = fields.mod_len;
        info.cmd_line = fields.command_line;
        info.first_p2m_pfn = fields.first_p2m_pfn;
        info.nr_p2m_frames = fields.nr_p2m_frames;
        let at = self.plan.start_info.start;
        self.copy(at, info.as_bytes())?;
        self.copy(at + START_INFO_SIZE, self.inputs.console_info)
    }

    /// Writes the initial page tables; the hypervisor's own entries come with their validation.
    pub(super) fn write_page_tables(&self) -> Result<(), BuildError> {
        // Two look-ups an entry would defeat the hint: tables come in runs of 512 entries.
        let mut table = (Gfn(u64::MAX), Maddr(0));
        page_tables::build(
            self.plan,
            |frame| self.runs.machine(frame),
            |entry| {
                if table.0 != entry.table {
                    table = (entry.table, self.runs.machine(entry.table)?.maddr());
                }
                self.memory.store64(Maddr(table.1.0 + 8 * entry.index as u64), entry.value);
                Ok(())
            },
        )
    }
}
