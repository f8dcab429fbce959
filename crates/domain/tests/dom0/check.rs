//! An independent look at what was built: as the processor walks tables and as the guest reads its memory.

use crate::kernel::{BASE, DATA, DATA_BYTES, FRAME_LIST, TEXT, TEXT_BYTES, Wishes, data_byte, text_byte};
use crate::machine::{Machine, hypervisor_slots};
use domain::dom0::Dom0Inputs;
use frames::{Kind, Owner};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Maddr, Mfn, VcpuSlot};
use std::collections::{BTreeMap, BTreeSet};

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// All mappings and tables under one root.
#[derive(Default)]
pub(crate) struct Walked {
    /// L1 entries by virtual address.
    pub(crate) leaves: BTreeMap<u64, u64>,
    /// Levels of tables by frame.
    tables: BTreeMap<u64, u32>,
}

impl Walked {
    pub(crate) fn new(machine: &Machine, root: Mfn) -> Self {
        let mut walked = Self::default();
        walked.descend(machine, root.0, 4, 0);
        walked
    }

    fn descend(&mut self, machine: &Machine, table: u64, level: u32, va: u64) {
        assert_eq!(self.tables.insert(table, level), None, "a table has one place");
        for index in 0..512 {
            let entry = machine.memory.load64(Maddr((table << 12) + 8 * index));
            if level == 4 && (256..272).contains(&index) {
                assert_eq!(entry, hypervisor_slots()[index as usize - 256]);
                continue;
            }
            if entry == 0 {
                continue;
            }
            let va = va | index << (12 + 9 * (level - 1));
            let va = if level == 4 && index > 255 { va | 0xffff << 48 } else { va };
            if level == 1 {
                assert_eq!(entry & !ADDRESS & !2, 1 | 4 | 0x20 | 1 << 52, "{va:#x}");
                self.leaves.insert(va, entry);
            } else {
                assert_eq!(entry & !ADDRESS, 0x67, "{va:#x}");
                self.descend(machine, (entry & ADDRESS) >> 12, level - 1, va);
            }
        }
    }

    /// Machine address of `va`.
    pub(crate) fn at(&self, va: u64) -> Maddr {
        Maddr((self.leaves[&(va & !0xfff)] & ADDRESS) + (va & 0xfff))
    }

    pub(crate) fn read(&self, machine: &Machine, va: u64, len: u64) -> Vec<u8> {
        (va..va + len).map(|va| machine.memory.load8(self.at(va))).collect()
    }

    fn word(&self, machine: &Machine, va: u64) -> u64 {
        machine.memory.load64(self.at(va))
    }
}

/// Checks everything; returns the frame list. The kernel is that of this test.
pub(crate) fn check(machine: &Machine, inputs: &Dom0Inputs<'_>, wishes: Wishes, initrd: &[u8]) -> Vec<u64> {
    let context = machine.state.contexts.context(VcpuSlot(0));
    let walked = Walked::new(machine, context.root_kernel.get());
    let list = check_but_contents(machine, &walked, inputs, wishes);
    check_contents(machine, &walked, &list, wishes, initrd, context.registers.get(pv_cpu::Reg::Rsi));
    list
}

/// Checks everything but the bytes in Dom0's memory.
pub(crate) fn check_but_contents(
    machine: &Machine,
    walked: &Walked,
    inputs: &Dom0Inputs<'_>,
    wishes: Wishes,
) -> Vec<u64> {
    let context = machine.state.contexts.context(VcpuSlot(0));
    let info = context.registers.get(pv_cpu::Reg::Rsi);
    let word = |offset: u64| walked.word(machine, info + offset);
    let nr_pages = word(32);
    assert_eq!(nr_pages, inputs.pages.initial);
    let list: Vec<u64> = (0..nr_pages).map(|pfn| walked.word(machine, word(104) + 8 * pfn)).collect();

    check_start_info(machine, walked, inputs, wishes, info);
    let (pt_start, pt_end) = (word(88), word(88) + word(96) * 4096);
    let mapped_end = BASE + walked.leaves.range(BASE..).count() as u64 * 4096;
    for (&va, &entry) in &walked.leaves {
        let mfn = (entry & ADDRESS) >> 12;
        let pfn = match va {
            BASE.. => (va - BASE) >> 12,
            _ => {
                assert!(wishes.init_p2m && (FRAME_LIST..FRAME_LIST + nr_pages * 8).contains(&va));
                word(1152) + word(1160) - nr_pages.div_ceil(512) + ((va - FRAME_LIST) >> 12)
            }
        };
        assert_eq!(list[pfn as usize], mfn, "{va:#x}");
        assert_eq!(entry & 2 == 0, (pt_start..pt_end).contains(&va), "{va:#x}");
    }
    assert!(mapped_end > pt_end + 4096 + (512 << 10) && mapped_end.is_multiple_of(4 << 20));
    assert_eq!(context.root_kernel.get(), walked.at(pt_start).mfn());
    assert_eq!(context.registers.get(pv_cpu::Reg::Rsp), pt_end + 4096);

    check_frames(machine, walked, &list, inputs);
    check_vcpus(machine, inputs);
    list
}

fn check_start_info(m: &Machine, walked: &Walked, inputs: &Dom0Inputs<'_>, wishes: Wishes, info: u64) {
    let word = |offset: u64| walked.word(m, info + offset);
    assert_eq!(walked.read(m, info, 32), *b"xen-3.0-x86_64\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(word(40), m.state.domains.domain(DomainSlot(0)).shared_info.get().0 << 12);
    let has_initrd = inputs.initrd.is_some();
    assert_eq!(word(48), if wishes.mod_start_pfn && has_initrd { 0b1011 } else { 0b11 });
    assert_eq!((word(56), word(64)), (0, 0));
    let len = inputs.console_info.len() as u64;
    assert_eq!(word(72), if len == 0 { 0 } else { len << 32 | 1168 });
    assert_eq!(word(80), 0);
    assert_eq!(walked.read(m, info + 1168, len), inputs.console_info);
    assert_eq!(word(120), inputs.initrd.map_or(0, |module| module.len));
    let text = walked.read(m, info + 128, 1024);
    assert_eq!(text[..inputs.command_line.len()], *inputs.command_line);
    assert!(text[inputs.command_line.len()..].iter().all(|&byte| byte == 0));
    if !wishes.init_p2m {
        assert_eq!((word(1152), word(1160)), (0, 0));
    }
}

/// Owner, counts, page list and M2P of every frame.
fn check_frames(m: &Machine, walked: &Walked, list: &[u64], inputs: &Dom0Inputs<'_>) {
    let (state, owner) = (m.state, Owner::domain(DomainSlot(0)));
    let mut mappings: BTreeMap<u64, u64> = BTreeMap::new();
    for &entry in walked.leaves.values() {
        assert_eq!(mappings.insert((entry & ADDRESS) >> 12, entry & 2), None, "mapped once");
    }
    for (pfn, mfn) in list.iter().enumerate() {
        let usage = state.frames.frame(Mfn(*mfn)).unwrap().usage();
        assert_eq!(usage.owner(), owner, "{pfn:#x}");
        let table = walked.tables.get(mfn);
        // The root is held by vCPU 0 and by its pin.
        let is_root = table == Some(&4);
        let (refs, typed, kind) = match (mappings.get(mfn), table) {
            (Some(2), None) => (1, 1, Kind::Writable),
            (Some(0), Some(level)) => (2, 1, Kind::table(*level)),
            (None, Some(level)) => (1, 1, Kind::table(*level)),
            (None, None) => (1, 0, Kind::None),
            other => panic!("frame {pfn:#x} is {other:?}"),
        };
        let typed = typed + u64::from(is_root);
        assert_eq!((usage.refs(), usage.typed(), usage.kind()), (refs, typed, kind), "{pfn:#x}");
        assert_eq!((usage.is_validated(), usage.is_allocated()), (table.is_some(), true));
        assert!(!usage.is_in_work() && usage.is_pinned() == is_root);
        assert_eq!(m.journal.apply.m2p.get(mfn), Some(&(pfn as u64)));
    }
    let frames: BTreeSet<u64> = list.iter().copied().collect();
    assert_eq!(frames.len(), list.len(), "every frame once");
    let shared_info = state.domains.domain(DomainSlot(0)).shared_info.get();
    assert_eq!(m.journal.apply.m2p.get(&shared_info.0), Some(&u64::MAX));
    assert_eq!(m.journal.apply.m2p.len(), list.len() + 1);
    let usage = state.frames.frame(shared_info).unwrap().usage();
    assert_eq!((usage.owner(), usage.refs(), usage.typed()), (owner, 0, 1));

    let pages = state.frames.list(DomainSlot(0));
    let mut listed = BTreeSet::new();
    let mut at = pages.first();
    while let Some(mfn) = at {
        assert!(listed.insert(mfn.0));
        at = state.frames.frame(mfn).unwrap().following();
    }
    assert_eq!(listed, frames);
    assert_eq!(pages.pages(), list.len() as u64);
    assert_eq!(pages.max_pages(), inputs.pages.max.unwrap_or(u32::MAX.into()));
}

/// The bytes of everything that is not a table or the frame list.
fn check_contents(m: &Machine, walked: &Walked, list: &[u64], wishes: Wishes, initrd: &[u8], info: u64) {
    let mapped_end = BASE + walked.leaves.range(BASE..).count() as u64 * 4096;
    let text = walked.read(m, BASE + TEXT, TEXT_BYTES);
    for (index, byte) in (0..TEXT_BYTES).zip(text) {
        let stub =
            wishes.hypercall_page.is_some_and(|page| (page..page + 4096).contains(&(BASE + TEXT + index)));
        assert!(stub || byte == text_byte(index), "text {index:#x}");
    }
    let data = walked.read(m, BASE + DATA, DATA_BYTES);
    assert!((0..DATA_BYTES).zip(data).all(|(index, byte)| byte == data_byte(index)));
    let start = |offset: u64| walked.word(m, info + offset);
    let initrd_frame = match wishes.mod_start_pfn {
        true => start(112),
        false => start(112).wrapping_sub(BASE) >> 12,
    };
    let initrd_frames = initrd.len().div_ceil(4096) as u64;
    for (index, chunk) in initrd.chunks(4096).enumerate() {
        let mut page = m.load_bytes(Mfn(list[initrd_frame as usize + index]).maddr(), 4096);
        assert!(page[chunk.len()..].iter().all(|&byte| byte == 0), "the tail is cleared");
        page.truncate(chunk.len());
        assert_eq!(page, chunk);
    }
    let list_at = start(104);
    let zero_word = |at: Maddr| assert_eq!(m.memory.load64(at), 0, "{at}");
    // Mapped: gaps, bss, slack and stack.
    let tables = start(88)..start(88) + start(96) * 4096;
    let zero = |va: u64| {
        let physical = va - BASE;
        let in_kernel =
            (TEXT..TEXT + TEXT_BYTES).contains(&physical) || (DATA..DATA + DATA_BYTES).contains(&physical);
        let in_list = (list_at..list_at + list.len() as u64 * 8).contains(&va);
        let in_info = (info..info + 1168 + 40).contains(&va);
        let in_initrd =
            !initrd.is_empty() && (initrd_frame..initrd_frame + initrd_frames).contains(&(physical >> 12));
        !(in_kernel || in_list || in_info || in_initrd || tables.contains(&va))
    };
    for va in (BASE..mapped_end).step_by(8) {
        if zero(va) && zero(va + 7) {
            zero_word(walked.at(va));
        }
    }
    // Unmapped.
    let mut used: BTreeSet<u64> = walked.leaves.values().map(|entry| (entry & ADDRESS) >> 12).collect();
    used.extend(walked.tables.keys());
    used.extend(
        (initrd_frame..initrd_frame.wrapping_add(initrd_frames))
            .filter(|_| !initrd.is_empty())
            .map(|pfn| list[pfn as usize]),
    );
    for mfn in list.iter().filter(|mfn| !used.contains(mfn)) {
        (0..512).for_each(|index| zero_word(Maddr((mfn << 12) + 8 * index)));
    }
}

fn check_vcpus(m: &Machine, inputs: &Dom0Inputs<'_>) {
    let domain = m.state.domains.domain(DomainSlot(0));
    assert_eq!(domain.life(), domains::Life::Alive);
    assert!(domain.privileged.get());
    assert_eq!(
        (domain.id.get().0, domain.vcpus.get(), domain.first_vcpu.get()),
        (0, inputs.vcpus, VcpuSlot(0))
    );
    let shared_info = domain.shared_info.get().maddr();
    for offset in (0..4096).step_by(8) {
        let expected = if offset % 64 == 0 && offset < 32 * 64 { 0x100 } else { 0 };
        assert_eq!(m.memory.load64(Maddr(shared_info.0 + offset)), expected, "{offset}");
    }
    let events = m.state.events(m.memory);
    for id in 0..inputs.vcpus {
        let vcpu = m.state.domains.vcpu(VcpuSlot(id));
        assert_eq!((vcpu.domain.get(), vcpu.id.get().0), (DomainSlot(0), id));
        let expected = if id == 0 { domains::VcpuState::Runnable } else { domains::VcpuState::Down };
        assert_eq!((vcpu.state(), vcpu.initialised.get()), (expected, id == 0));
        let info = (id < 32).then_some(Maddr(shared_info.0 + 64 * u64::from(id)));
        assert_eq!(events.vcpu_info(VcpuSlot(id)), info);
        assert!(events.upcall_state(VcpuSlot(id)).masked);
    }
    assert!(events::audit(&m.state.events).is_ok());
}
