//! The planned page tables, walked as the processor walks them, give what the plan promises.

use guest_loader::LoadError;
use guest_loader::elf_kernel::Span;
use guest_loader::layout::{Initrd, Inputs, Plan};
use guest_loader::notes::Notes;
use guest_loader::page_tables::{Entry, Level, build, tables};
use guest_loader::start_info::StartInfo;
use ids::{Gfn, Mfn};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;

const MIB: u64 = 1 << 20;
const DEBIAN_BASE: u64 = 0xffff_ffff_8000_0000;
const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;

/// The notes of Debian 12's kernel.
fn debian_notes() -> Notes {
    let mut notes = Notes::new(0);
    notes.entry = 0xffff_ffff_8307_91c0;
    notes.virt_base = DEBIAN_BASE;
    notes.init_p2m = Some(0x80_0000_0000);
    notes.mod_start_pfn = true;
    notes
}

fn span(start: u64, end: u64) -> Span {
    Span { start, end, offset: 0 }
}

/// Any bijection will do: the order of machine frames is the caller's business.
fn machine(frame: u64) -> u64 {
    frame ^ 0x5_5000
}

/// The tables in "memory", by machine frame.
struct Tables {
    root: u64,
    memory: HashMap<u64, [u64; 512]>,
}

impl Tables {
    fn of(plan: &Plan) -> Self {
        let mut memory = HashMap::new();
        let mut level_of = HashMap::new();
        for (frame, level) in tables(plan) {
            assert!(memory.insert(machine(frame.0), [0; 512]).is_none(), "{frame} is used for two tables");
            level_of.insert(frame, level);
        }
        build::<Infallible>(
            plan,
            |frame| Ok(Mfn(machine(frame.0))),
            |Entry { level, table, index, value }| {
                assert_eq!(level_of.get(&table), Some(&level));
                let table = memory.get_mut(&machine(table.0)).expect("entries go to tables only");
                assert_eq!(std::mem::replace(&mut table[index], value), 0, "entry written twice");
                Ok(())
            },
        )
        .unwrap();
        let (root, _) = tables(plan).next().unwrap();
        Self { root: machine(root.0), memory }
    }

    /// Machine frame and writability of `address`, by a walk that shares nothing with the code under test.
    fn walk(&self, address: u64) -> Option<(u64, bool)> {
        let (mut frame, mut writable) = (self.root, true);
        for shift in [39, 30, 21, 12] {
            let entry = self.memory[&frame][(address >> shift) as usize & 511];
            if entry & 1 == 0 {
                return None;
            }
            assert_ne!(entry & 4, 0, "the guest's kernel runs in ring 3");
            if shift == 12 {
                assert_eq!(entry & !ADDRESS_MASK & !2, 1 | 4 | 0x20 | 1 << 52);
            } else {
                assert_eq!(entry & !ADDRESS_MASK, 0x67);
            }
            writable &= entry & 2 != 0;
            frame = (entry & ADDRESS_MASK) >> 12;
        }
        Some((frame, writable))
    }
}

/// Checks everything that a plan promises.
fn check(plan: &Plan) {
    let walked = Tables::of(plan);
    // Regions, in order and apart.
    let mut next = plan.virt_base;
    let mut regions = vec![plan.kernel.clone()];
    if let Initrd::Mapped(at) = &plan.initrd {
        regions.push(at.clone());
    }
    if plan.p2m_frames.is_empty() {
        regions.push(plan.p2m.clone());
    }
    regions.extend([plan.start_info.clone(), plan.page_tables.clone(), plan.stack.clone()]);
    for region in regions {
        assert!(region.start >= next && region.end >= region.start);
        next = region.end;
    }
    assert_eq!(plan.virt_end % (4 * MIB), 0);
    assert!(plan.virt_end - plan.stack.end >= MIB / 2);
    assert_eq!(plan.stack_top() - plan.stack.start, 4096);
    // Every page of the initial mapping is its frame; tables are read-only, all else writable.
    for address in (plan.virt_base..plan.virt_end).step_by(4096) {
        let expected = plan.frame_at(address).unwrap();
        assert_eq!(expected.0, (address - plan.virt_base) / 4096);
        let writable = !plan.page_tables.contains(&address);
        assert_eq!(walked.walk(address), Some((machine(expected.0), writable)), "{address:#x}");
    }
    assert_eq!(walked.walk(plan.virt_end), None);
    assert_eq!(walked.walk(plan.virt_base.wrapping_sub(4096)), None);
    assert_eq!(plan.frame_at(plan.virt_end), None);
    // No table outside the read-only region is mapped anywhere, and the counts agree.
    let all: Vec<_> = tables(plan).collect();
    let in_region = all.iter().filter(|(frame, _)| frame.0 < plan.initial_frames).count() as u64;
    assert_eq!(in_region, plan.nr_page_tables());
    assert_eq!(all[0], (plan.frame_at(plan.page_tables.start).unwrap(), Level::L4));
    // The frame list.
    let mut leaves = HashSet::new();
    for (page, address) in plan.p2m.clone().step_by(4096).enumerate() {
        let (frame, writable) = walked.walk(address).expect("the frame list is mapped");
        assert!(writable);
        assert!(leaves.insert(frame));
        let slot = plan.p2m_slot(Gfn(page as u64 * 512)).unwrap();
        assert_eq!((machine(slot.0.0), slot.1), (frame, 0));
    }
    assert_eq!(leaves.len() as u64, plan.nr_pages.div_ceil(512));
    assert_eq!(plan.p2m_slot(Gfn(plan.nr_pages)), None);
    if let Some(last) = plan.nr_pages.checked_sub(1) {
        assert_eq!(plan.p2m_slot(Gfn(last)).unwrap().1, last % 512 * 8);
    }
    // Frames are used once, and all lie in the domain's memory.
    let mut used: HashSet<u64> = (0..plan.initial_frames).collect();
    if plan.initrd == Initrd::Unmapped {
        assert!(plan.initrd_frames.clone().all(|frame| used.insert(frame)));
    }
    assert!(plan.p2m_frames.clone().all(|frame| used.insert(frame)));
    assert!(used.iter().all(|&frame| frame < plan.nr_pages));
    assert_eq!(used.len() as u64, plan.frames_needed());
    let own = plan.p2m_frames.end - plan.p2m_frames.start;
    if own != 0 {
        assert_eq!(own, (all.len() as u64 - plan.nr_page_tables()) + plan.nr_pages.div_ceil(512));
        for (frame, _) in &all {
            assert!(plan.p2m_frames.contains(&frame.0) || frame.0 < plan.initial_frames);
        }
    }
}

#[test]
fn debian_dom0_gets_the_layout_that_xen_gives_it() {
    let notes = debian_notes();
    let kernel = span(0xffff_ffff_8100_0000, 0xffff_ffff_84a0_0000);
    let plan = Plan::new(&Inputs {
        kernel,
        notes: &notes,
        nr_pages: 640 * 256,
        initrd_len: 28 * MIB + 17,
        console_info_len: 40,
    })
    .unwrap();
    check(&plan);
    assert_eq!(plan.start_info.start, 0xffff_ffff_84a0_0000);
    assert_eq!(plan.start_info.end - plan.start_info.start, 1168 + 40);
    assert_eq!(plan.page_tables.start, 0xffff_ffff_84a0_1000);
    assert_eq!(plan.nr_page_tables(), 0x29);
    assert_eq!(plan.virt_end, 0xffff_ffff_84c0_0000);
    assert_eq!(plan.initrd_frames, 0x4c00..0x4c00 + 28 * 256 + 1);
    let info = StartInfo::new(&plan, b"console=hvc0\0garbage");
    assert_eq!(info.flags, 1 | 2 | 8);
    assert_eq!((info.mod_start, info.mod_len), (0x4c00, 28 * MIB + 17));
    assert_eq!((info.console_info_offset, info.console_info_size), (1168, 40));
    assert_eq!((info.pt_base, info.nr_pt_frames), (plan.page_tables.start, 0x29));
    assert_eq!(info.mfn_list, 0x80_0000_0000);
    assert_eq!(info.first_p2m_pfn, plan.initrd_frames.end);
    // 640 MiB: 320 pages of list, one L1 for each 512 of them, one L2, one L3.
    assert_eq!(info.nr_p2m_frames, 320 + 1 + 1 + 1);
    assert_eq!(&info.command_line[..14], b"console=hvc0\0\0");
    assert!(!info.command_line_cut);
}

#[test]
fn an_old_kernel_gets_initrd_and_frame_list_behind_it() {
    let mut notes = debian_notes();
    (notes.init_p2m, notes.mod_start_pfn) = (None, false);
    let kernel = span(0xffff_ffff_8100_0000, 0xffff_ffff_8200_0123);
    let inputs = Inputs { kernel, notes: &notes, nr_pages: 65_536, initrd_len: 5000, console_info_len: 0 };
    let plan = Plan::new(&inputs).unwrap();
    check(&plan);
    assert_eq!(plan.initrd, Initrd::Mapped(0xffff_ffff_8200_1000..0xffff_ffff_8200_2388));
    assert_eq!(plan.p2m, 0xffff_ffff_8200_3000..0xffff_ffff_8208_3000);
    let info = StartInfo::new(&plan, &[b'x'; 5000]);
    assert_eq!((info.flags, info.mod_start), (3, 0xffff_ffff_8200_1000));
    assert_eq!((info.first_p2m_pfn, info.nr_p2m_frames), (0, 0));
    assert_eq!(info.mfn_list, plan.p2m.start);
    assert_eq!((info.console_info_offset, info.console_info_size), (0, 0));
    assert!(info.command_line_cut && info.command_line[1022] == b'x' && info.command_line[1023] == 0);
}

#[test]
fn too_little_memory_says_how_much_is_needed() {
    for init_p2m in [None, Some(0x80_0000_0000)] {
        let mut notes = debian_notes();
        notes.init_p2m = init_p2m;
        let kernel = span(0xffff_ffff_8100_0000, 0xffff_ffff_84a0_0000);
        let inputs =
            Inputs { kernel, notes: &notes, nr_pages: 1000, initrd_len: 50 * MIB, console_info_len: 40 };
        let error = Plan::new(&inputs).unwrap_err();
        let LoadError::NotEnoughMemory { needed, given: 1000 } = error else { panic!("{error}") };
        assert!(error.to_string().contains("raise dom0_mem"));
        check(&Plan::new(&Inputs { nr_pages: needed, ..inputs }).unwrap());
        assert!(Plan::new(&Inputs { nr_pages: needed - 1, ..inputs }).is_err());
    }
}

#[test]
fn impossible_addresses_are_refused() {
    let kernel = span(0xffff_ffff_8100_0000, 0xffff_ffff_84a0_0000);
    let refuse = |change: &dyn Fn(&mut Notes), kernel: Span| {
        let mut notes = debian_notes();
        change(&mut notes);
        let inputs = Inputs { kernel, notes: &notes, nr_pages: 65_536, initrd_len: 0, console_info_len: 40 };
        let result = Plan::new(&inputs);
        assert!(matches!(result, Err(LoadError::BadLayout(_))), "{result:?}");
    };
    refuse(&|notes| notes.virt_base += 1, kernel);
    refuse(&|notes| notes.init_p2m = Some(1), kernel);
    refuse(&|notes| notes.init_p2m = Some(0xffff_8000_0000_0000), kernel);
    refuse(&|notes| notes.init_p2m = Some(0x0000_7fff_ffff_f000), kernel);
    refuse(&|notes| notes.init_p2m = Some(0xffff_ffff_a000_0000), kernel);
    refuse(&|notes| notes.init_p2m = Some(u64::MAX - 4095), kernel);
    refuse(&|notes| notes.virt_base = 0xffff_8000_0000_0000, kernel);
    refuse(&|_| (), span(0xffff_ffff_8100_0000, u64::MAX));
    refuse(&|_| (), span(0xffff_ffff_8100_0000, u64::MAX - MIB));
    refuse(&|_| (), span(0xffff_ffff_7000_0000, 0xffff_ffff_84a0_0000));
    refuse(&|notes| notes.virt_base = 0, span(0x100_0000, 0x7fff_ffff_f000));
}

prop_compose! {
    fn any_notes()(
        base in prop_oneof![
            Just(DEBIAN_BASE), Just(0), Just(0xffff_8800_0000_0000), (0u64..0x4000_0000).prop_map(|page| page << 12)
        ],
        p2m in prop_oneof![
            Just(None), Just(Some(0x80_0000_0000_u64)), (0u64..1 << 36).prop_map(|page| Some(page << 12)),
            Just(Some(0x7f_ffff_f000)), Just(Some(0x80_3fff_e000))
        ],
        mod_start_pfn in any::<bool>(),
    ) -> Notes {
        let mut notes = Notes::new(0);
        (notes.virt_base, notes.init_p2m, notes.mod_start_pfn) = (base, p2m, mod_start_pfn);
        notes
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_plan_keeps_its_promises(
        notes in any_notes(), below in 0u64..8 * MIB, len in 1u64..40 * MIB,
        nr_pages in 0u64..300_000, initrd_len in prop_oneof![Just(0), 1u64..30 * MIB], console_info_len in 0u32..9000,
    ) {
        let start = notes.virt_base + below;
        let kernel = span(start, start.saturating_add(len));
        let inputs = Inputs { kernel, notes: &notes, nr_pages, initrd_len, console_info_len };
        match Plan::new(&inputs) {
            Ok(plan) => check(&plan),
            Err(LoadError::NotEnoughMemory { needed, .. }) => {
                prop_assert!(needed > nr_pages);
                check(&Plan::new(&Inputs { nr_pages: needed, ..inputs }).unwrap());
            }
            Err(LoadError::BadLayout(_)) => {}
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn wild_addresses_never_panic(
        base in any::<u64>(), p2m in proptest::option::of(any::<u64>()), start in any::<u64>(), end in any::<u64>(),
        nr_pages in any::<u64>(), initrd_len in any::<u64>(), mod_start_pfn in any::<bool>(), page in any::<bool>(),
    ) {
        let mut notes = Notes::new(0);
        let mask = if page { !0xfff } else { !0 };
        (notes.virt_base, notes.init_p2m, notes.mod_start_pfn) = (base & mask, p2m.map(|p2m| p2m & mask), mod_start_pfn);
        for nr_pages in [nr_pages, nr_pages >> 24, nr_pages >> 44] {
            for initrd_len in [initrd_len, initrd_len >> 34] {
                let inputs = Inputs { kernel: span(start, end), notes: &notes, nr_pages, initrd_len, console_info_len: 40 };
                let _ = Plan::new(&inputs);
            }
        }
    }
}
