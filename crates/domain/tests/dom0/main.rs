//! Dom0 built on a fake machine, and looked at by code that shares nothing with the builder; from a real kernel
//! too when `GUEST_KERNEL` names one.

mod check;
mod kernel;
mod machine;

use check::{Walked, check, check_but_contents};
use command_line::{Dom0Memory, Dom0Pages};
use domain::dom0::{BuildError, Dom0Inputs, Module};
use guest_loader::LoadError;
use guest_loader::bzimage::{Kernel, payload};
use guest_loader::decompress::{decompress_into, decompressed_size_hint};
use guest_loader::elf_kernel::ElfKernel;
use guest_memory::GuestMemory;
use ids::{DomainSlot, Maddr, Mfn, VcpuSlot};
use kernel::{BASE, ENTRY, TEXT, Wishes};
use machine::{HIGH, Machine};
use pv_cpu::{Mode, Reg, vector};
use std::ops::Range;

const LINUX: Wishes = Wishes { init_p2m: true, mod_start_pfn: true, hypercall_page: None };
/// The initrd's frames.
const KEPT: Range<u64> = 0x2000..0x2004;
const INITRD_LEN: u64 = 3 * 4096 + 1237;
const NO_LIMIT: Dom0Pages = Dom0Pages { initial: 12_000, max: None };

/// 64 MiB less what the hypervisor has.
fn small() -> Vec<Range<u64>> {
    vec![1..0x9f, 0x300..KEPT.start, KEPT.end..0x4000]
}

/// Builds with `change`d inputs and gives the machine, its answer and the initrd to `then`.
fn with_dom0(
    free: &[Range<u64>],
    wishes: Wishes,
    change: impl Fn(&mut Dom0Inputs<'_>),
    then: impl Fn(&mut Machine, Result<(), BuildError>, &Dom0Inputs<'_>, &[u8]),
) {
    let mut machine = Machine::new(free, KEPT, u32::MAX);
    let initrd: Vec<u8> = (0..INITRD_LEN).map(|index| (index * 13 + 3) as u8 | 1).collect();
    machine.memory.write_machine(Mfn(KEPT.start).maddr(), &initrd);
    let file = kernel::file(&kernel::notes(wishes));
    let kernel = ElfKernel::parse(&file).unwrap();
    let notes = kernel.notes().unwrap();
    let mut inputs = Dom0Inputs {
        kernel: &kernel,
        notes: &notes,
        initrd: Some(Module { first: Mfn(KEPT.start), len: INITRD_LEN }),
        command_line: b"console=hvc0 root=/dev/xvda",
        pages: NO_LIMIT,
        vcpus: 2,
        pinned: false,
        now: 1000,
        console_line: Some(4),
        console_info: &[],
    };
    change(&mut inputs);
    let result = machine.build(&inputs).map(|dom0| {
        assert_eq!((dom0.domain, dom0.vcpu0), (DomainSlot(0), VcpuSlot(0)));
    });
    let initrd = if inputs.initrd.is_some() { &initrd[..] } else { &[] };
    then(&mut machine, result, &inputs, initrd);
}

/// Builds and checks; `then` sees the machine and the frame list.
fn builds(
    free: &[Range<u64>],
    wishes: Wishes,
    change: impl Fn(&mut Dom0Inputs<'_>),
    then: impl Fn(&mut Machine, &[u64], u64),
) {
    with_dom0(free, wishes, change, |machine, result, inputs, initrd| {
        result.unwrap();
        let list = check(machine, inputs, wishes, initrd);
        let total: u64 = free.iter().map(|range| range.end - range.start).sum();
        let adopted = initrd.len().div_ceil(4096) as u64;
        let left = machine.state.frames.heap().free_frames();
        assert_eq!(left, total - 1 - (list.len() as u64 - adopted));
        let root = machine.state.contexts.context(VcpuSlot(0)).root_kernel.get();
        let initial = Walked::new(machine, root).leaves.range(BASE..).count() as u64;
        then(machine, &list, initial);
    });
}

fn refusal(wishes: Wishes, change: impl Fn(&mut Dom0Inputs<'_>), check: impl Fn(BuildError)) {
    with_dom0(&small(), wishes, change, |_, result, _, _| {
        let error = result.unwrap_err();
        assert!(!error.to_string().contains('\n'));
        check(error);
    });
}

#[test]
fn a_linux_like_kernel_gets_what_it_expects() {
    builds(
        &small(),
        LINUX,
        |_| {},
        |machine, list, initial| {
            assert_eq!(list[initial as usize..][..4], [0x2000, 0x2001, 0x2002, 0x2003], "the initrd stays");
            assert!(machine.lines.iter().any(|line| line.contains("12000 pages")));
        },
    );
}

#[test]
fn an_old_kernel_has_all_in_its_mapping() {
    let old = Wishes { hypercall_page: Some(BASE + TEXT + 0x4000), ..Wishes::default() };
    let info: Vec<u8> = (1..=40).collect();
    builds(
        &small(),
        old,
        |inputs| {
            inputs.console_info = Vec::leak(info.clone());
            inputs.vcpus = 40;
            inputs.pages.max = Some(12_345);
        },
        |machine, _, _| {
            let root = machine.state.contexts.context(VcpuSlot(0)).root_kernel.get();
            let at = Walked::new(machine, root).at(BASE + TEXT + 0x4000);
            let stub = machine.load_bytes(Maddr(at.0 + 29 * 32), 14);
            assert_eq!(stub, [0x51, 0x41, 0x53, 0xb8, 29, 0, 0, 0, 0x0f, 5, 0x41, 0x5b, 0x59, 0xc3]);
        },
    );
}

#[test]
fn no_initrd_is_fine() {
    for wishes in [LINUX, Wishes::default()] {
        builds(&small(), wishes, |inputs| inputs.initrd = None, |_, _, _| {});
    }
}

#[test]
fn the_processor_starts_as_the_abi_says() {
    builds(
        &small(),
        LINUX,
        |_| {},
        |machine, _, _| {
            let context = machine.state.contexts.context(VcpuSlot(0));
            let registers = &context.registers;
            assert_eq!(registers.get(Reg::Rip), ENTRY);
            assert_eq!(registers.get(Reg::Rflags), 0x202);
            assert_eq!((registers.get(Reg::Cs), registers.get(Reg::Ss)), (0xe033, 0xe02b));
            let named = [Reg::Rsp, Reg::Rsi];
            let others = Reg::HARDWARE.into_iter().filter(|register| !named.contains(register));
            assert!(others.map(|register| registers.get(register)).all(|value| value == 0));
            assert_eq!(registers.vector.get(), vector::NONE);
            assert_eq!(context.mode(), Mode::Kernel);
            assert_eq!(context.root_user.get(), Mfn(0));
            assert_eq!((context.xcr0.get(), context.cr4.get()), (1, 0));
            assert_eq!((context.debug[6].get(), context.debug[7].get()), (0xffff_0ff0, 0x400));
            assert_eq!((context.gdt_entries.get(), context.ldt_entries.get()), (0, 0));
            assert!(context.traps.iter().all(|trap| trap.address.get().0 == 0));
        },
    );
}

#[test]
fn the_initial_mapping_lies_below_4_gib_and_ascends() {
    let free = [0x300..KEPT.start, KEPT.end..0x2800, HIGH..HIGH + 0x2000];
    builds(
        &free,
        LINUX,
        |_| {},
        |_, list, initial| {
            let (mapped, rest) = list.split_at(initial as usize);
            assert!(mapped.iter().all(|&mfn| mfn < HIGH));
            let descents = mapped.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
            assert!(descents < 40, "{descents} pieces");
            assert!(rest[4..].iter().all(|&mfn| mfn >= HIGH));
        },
    );
}

#[test]
fn the_initial_mapping_takes_high_memory_when_there_is_no_other() {
    let free = [0x300..0x500, HIGH..HIGH + 0x4000];
    builds(
        &free,
        LINUX,
        |_| {},
        |_, list, initial| {
            assert!(list[..initial as usize].iter().any(|&mfn| mfn >= HIGH));
        },
    );
}

#[test]
fn crumbs_of_memory_will_do() {
    let crumbs: Vec<_> = (0x20..0x3f0).map(|block| block * 16 + 1..block * 16 + 1 + block % 15).collect();
    let free: Vec<_> = crumbs.into_iter().filter(|crumb| !crumb.is_empty()).collect();
    let free: Vec<_> =
        free.into_iter().filter(|crumb| crumb.end <= KEPT.start || crumb.start >= KEPT.end).collect();
    let total: u64 = free.iter().map(|range| range.end - range.start).sum();
    assert!((6500..8000).contains(&total), "{total}");
    // Everything but the frame of shared_info.
    builds(&free, LINUX, |inputs| inputs.pages.initial = total - 1 + 4, |_, _, _| {});
}

#[test]
fn dma_memory_stays_free_when_dom0_takes_everything() {
    let free = [1..0x9f, 0x300..KEPT.start, KEPT.end..0x8000, HIGH..HIGH + 0x4000];
    let total: u64 = free.iter().map(|range| range.end - range.start).sum();
    let pages = Dom0Memory::default().pages(total + 4, total + 4);
    builds(
        &free,
        LINUX,
        |inputs| inputs.pages = pages,
        |machine, _, _| {
            let frames = machine.state.frames;
            let left = frames.heap().free_frames();
            assert!(left > total / 17);
            let other = DomainSlot(1);
            machine.journal.change(|tx| frames.set_max_pages(tx, other, u64::MAX));
            let mut blocks = 0;
            while machine.journal.transaction(|tx| frames.allocate(tx, other, 6, 32)).is_ok() {
                blocks += 1;
            }
            assert!(blocks * 64 > left * 9 / 10, "{blocks} blocks of {left} frames");
        },
    );
}

#[test]
fn too_little_memory_is_refused_with_numbers() {
    refusal(
        LINUX,
        |inputs| inputs.pages.initial = 3000,
        |error| {
            assert!(
                matches!(error, BuildError::Plan(LoadError::NotEnoughMemory { given: 3000, .. })),
                "{error}"
            );
        },
    );
    refusal(
        LINUX,
        |inputs| inputs.pages.initial = 20_000,
        |error| {
            assert!(matches!(error, BuildError::NotEnoughFree { needed: 19_997, .. }));
            assert!(error.to_string().contains("19997 pages"), "{error}");
            assert!(error.to_string().contains("dom0_mem"), "{error}");
        },
    );
    refusal(
        LINUX,
        |inputs| inputs.pages.max = Some(3001),
        |error| {
            assert!(
                matches!(error, BuildError::Plan(LoadError::NotEnoughMemory { given: 3001, .. })),
                "{error}"
            );
        },
    );
}

#[test]
fn bad_inputs_are_refused() {
    for asked in [0, 129, u32::MAX] {
        refusal(
            LINUX,
            |inputs| inputs.vcpus = asked,
            |error| {
                assert_eq!(error, BuildError::Vcpus { asked, limit: 128 });
            },
        );
    }
    refusal(
        LINUX,
        |inputs| inputs.console_info = &[0; 39],
        |error| {
            assert_eq!(error, BuildError::ConsoleInfo(39));
        },
    );
    for first in [KEPT.start + 1, KEPT.start - 1, 1 << 50, u64::MAX >> 12] {
        let module = Module { first: Mfn(first), len: INITRD_LEN };
        refusal(
            LINUX,
            |inputs| inputs.initrd = Some(module),
            |error| {
                assert!(matches!(error, BuildError::InitrdFrame(_)), "{error}");
            },
        );
    }
    let outside = Wishes { hypercall_page: Some(BASE + (1 << 30)), ..LINUX };
    refusal(outside, |_| {}, |error| assert!(matches!(error, BuildError::Defect(_))));
    let notes = guest_loader::notes::Notes::new(ENTRY);
    with_dom0(
        &small(),
        LINUX,
        |_| {},
        |machine, _, inputs, _| {
            let again = machine.build(inputs).unwrap_err();
            assert!(matches!(again, BuildError::Defect(_)), "{again}");
            let other = machine.build(&Dom0Inputs { notes: &notes, ..*inputs }).unwrap_err();
            assert_eq!(other, BuildError::Plan(LoadError::NoNotes));
        },
    );
}

#[test]
fn too_small_a_budget_is_an_error_and_no_loop() {
    let mut machine = Machine::new(&small(), KEPT, 10);
    let file = kernel::file(&kernel::notes(LINUX));
    let kernel = ElfKernel::parse(&file).unwrap();
    let notes = kernel.notes().unwrap();
    let inputs = Dom0Inputs {
        kernel: &kernel,
        notes: &notes,
        initrd: None,
        command_line: &[b'x'; 2000],
        pages: NO_LIMIT,
        vcpus: 1,
        pinned: false,
        now: 1000,
        console_line: Some(4),
        console_info: &[],
    };
    assert!(matches!(machine.build(&inputs), Err(BuildError::Defect(_))));
    assert!(machine.lines.iter().any(|line| line.contains("was cut")));
}

#[test]
fn a_real_kernel() {
    let Some(path) = std::env::var_os("GUEST_KERNEL") else {
        eprintln!("GUEST_KERNEL is not set: no real kernel tried");
        return;
    };
    let file = std::fs::read(path).expect("GUEST_KERNEL names a readable file");
    let Kernel::Payload(payload) = payload(&file).unwrap() else { panic!("no bzImage") };
    let mut image = vec![0; decompressed_size_hint(payload).unwrap() as usize];
    decompress_into(payload, &mut image).unwrap();
    let kernel = ElfKernel::parse(&image).unwrap();
    let notes = kernel.notes().unwrap();
    let kept = 0x6000..0x6000 + (28 << 8);
    let mut machine = Machine::new(&[1..0x9f, 0x300..kept.start, kept.end..0x1_0000], kept.clone(), u32::MAX);
    let inputs = Dom0Inputs {
        kernel: &kernel,
        notes: &notes,
        initrd: Some(Module { first: Mfn(kept.start), len: (28 << 20) - 5 }),
        command_line: b"console=hvc0",
        pages: Dom0Pages { initial: 220 << 8, max: None },
        vcpus: 4,
        pinned: false,
        now: 1000,
        console_line: Some(4),
        console_info: &[3; 40],
    };
    machine.build(&inputs).unwrap();
    let root = machine.state.contexts.context(VcpuSlot(0)).root_kernel.get();
    let walked = Walked::new(&machine, root);
    let wishes = Wishes {
        init_p2m: notes.init_p2m.is_some(),
        mod_start_pfn: notes.mod_start_pfn,
        hypercall_page: notes.hypercall_page,
    };
    check_but_contents(&machine, &walked, &inputs, wishes);
    let span = kernel.span(&notes).unwrap();
    for segment in kernel.segments() {
        let start = segment.virtual_start(&span);
        let bytes = walked.read(&machine, start, segment.bytes.len() as u64);
        let differ = bytes.iter().zip(segment.bytes).filter(|(a, b)| a != b).count();
        assert!(differ == 0 || differ <= 4096 && notes.hypercall_page.is_some(), "{differ} bytes");
    }
    machine.lines.iter().for_each(|line| println!("{line}"));
}
