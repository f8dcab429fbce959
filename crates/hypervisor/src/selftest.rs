//! `boot-selftest`: shows on the real machine that the image switch switches, that the address space is as said, and
//! that interrupts come. `boot-selftest=WHAT` ends the boot by `panic`, `guard`, `overflow`, or a `reboot=` letter.
#![expect(unsafe_code, reason = "switches and damages image copies on purpose")]

use core::sync::atomic::{AtomicU64, Ordering};

mod interrupts;

use alloc::vec::Vec;

use boot_info::{GenericAddress, Range};
use ids::{CpuId, Maddr};
use machine::image::Copy;
use machine::paging::{Bits, PageTables, TableMemory};
use machine::reset::{self, Method, Register};
use machine::{control, direct, layout, percpu, thunk};
use mitigations::Thunk;

use crate::console::log;
use crate::sealed::sealed;
use crate::{boot, console, heap, smp};

/// Initialised data: a refreshed copy has 7 again.
static INITIALISED: AtomicU64 = AtomicU64::new(7);
/// Zeroed data.
static ZEROED: AtomicU64 = AtomicU64::new(0);

/// Loads an immediate operand that the test changes in the copy that does not run.
#[inline(never)]
fn marker() -> u64 {
    let value: u64;
    // SAFETY: a constant into a register.
    unsafe { core::arch::asm!("movabs {}, 0x1122334455667788", out(reg) value, options(nomem, nostack)) };
    value
}

/// Runs all tests.
///
/// # Panics
/// Panics at the first that fails.
pub(crate) fn run() {
    assert_eq!(control::root(), sealed().root);
    the_address_space_is_as_said();
    the_image_switches();
    let plan = &sealed().mitigations;
    assert_eq!(thunk::is_jump(), plan.thunk != Thunk::Retpoline, "indirect branches");
    scratch_memory_comes_back();
    interrupts::come();
    the_log_is_kept();
    log!("Self-test: {} bytes of boot stack never used", unused_boot_stack());
}

fn the_log_is_kept() {
    console::set_deferred(true);
    log!("Self-test: deferred output");
    console::set_deferred(false);
    let log = sealed().log;
    // SAFETY: the log's memory; one CPU runs, and says nothing meanwhile.
    let bytes = unsafe { direct::bytes(Maddr(log.start), log.len() as usize) };
    for wanted in ["(XEN) Revenant", "(XEN) Self-test: deferred output\n"] {
        assert!(
            bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes()),
            "{wanted} is not in the ring"
        );
    }
}

/// Bytes at the low end of the boot stack that still are zero.
fn unused_boot_stack() -> usize {
    // SAFETY: `entry` reserves so many bytes under this name.
    unsafe extern "C" {
        static boot_stack: [u8; 65536];
    }
    let stack = &raw const boot_stack;
    // SAFETY: `entry` reserves these bytes, and nobody is on that stack any more.
    unsafe { &*stack }.iter().take_while(|byte| **byte == 0).count()
}

/// With all CPUs up: a CPU is taken again although it runs.
pub(crate) fn retake() {
    for cpu in (1..sealed().cpus).map(CpuId) {
        // SAFETY: it is parked.
        assert!(unsafe { smp::start_one(cpu) }, "CPU {cpu} was not taken again");
    }
    log!("Self-test: running CPUs were taken by INIT-SIPI");
}

/// Ends the boot the way `what` says.
pub(crate) fn end(what: &str) {
    match what {
        "panic" => panic!("asked for"),
        "guard" => {
            let guard = percpu::block(CpuId(0)) + percpu::STACK_TOP;
            // SAFETY: not mapped: it faults, which is the test.
            unsafe { core::ptr::with_exposed_provenance_mut::<u8>(guard as usize).write_volatile(0) };
        }
        "overflow" => log!("{}", overflow(0)),
        _ => {
            let Some(method) = what.bytes().next().and_then(Method::from_option) else { return };
            let reset = sealed().facts.acpi.fadt.and_then(|fadt| fadt.reset);
            let port = |(at, value): (GenericAddress, u8)| {
                let port = u16::try_from(at.address).ok().filter(|_| at.space == GenericAddress::PORTS)?;
                Some((Register::Port(port), value))
            };
            // SAFETY: the FADT's register; ending is the test.
            unsafe { reset::restart(method, reset.and_then(port)) };
        }
    }
}

/// Uses up the stack.
#[expect(unconditional_recursion, reason = "the double fault is the test")]
fn overflow(depth: u64) -> u64 {
    core::hint::black_box(overflow(core::hint::black_box(depth + 1))) + depth
}

/// Walks the tables in use.
struct Walk;

impl TableMemory for Walk {
    fn read(&self, table: Maddr, index: usize) -> u64 {
        // SAFETY: tables are RAM.
        unsafe { direct::read_word(Maddr(table.0 + 8 * index as u64)) }
    }

    fn write(&mut self, _: Maddr, _: usize, _: u64) {}

    fn allocate(&mut self) -> Option<Maddr> {
        None
    }
}

fn the_address_space_is_as_said() {
    let tables = PageTables::at(control::root());
    let bits = |va| tables.translate(&Walk, va).map(|found| Bits::from_bits_truncate(found.entry));
    let (_, first) = sealed().image.first_boots();
    for page in (0..first + sealed().image.bytes()).step_by(4096) {
        let bits = bits(layout::IMAGE + page).expect("the image is mapped");
        assert!(!bits.contains(Bits::WRITABLE) || bits.contains(Bits::NO_EXECUTE), "W^X at {page:#x}");
    }
    let code = bits(marker as fn() -> u64 as usize as u64).expect("code");
    assert!(!code.intersects(Bits::WRITABLE | Bits::NO_EXECUTE | Bits::USER));
    assert!(bits(layout::SEALED).is_some_and(|bits| !bits.contains(Bits::WRITABLE)));
    assert!(
        bits(layout::M2P).is_some_and(|bits| bits.contains(Bits::USER) && !bits.contains(Bits::WRITABLE))
    );
    for cpu in (0..sealed().cpus).map(CpuId) {
        let stack = percpu::block(cpu) + percpu::STACK_TOP;
        assert!(
            bits(stack - 8).is_some()
                && bits(stack).is_none()
                && bits(stack - percpu::STACK_SIZE - 8).is_none()
        );
    }
    for range in sealed().ram.iter() {
        let [first, last] =
            [range.start, range.end - 1].map(|maddr| tables.translate(&Walk, layout::DIRECT_MAP + maddr));
        assert_eq!(first.map(|found| found.maddr.0), Some(range.start));
        assert_eq!(last.map(|found| found.maddr.0), Some(range.end - 1));
        assert_eq!(bits(layout::DIRECT_MAP + range.end), None, "a hole is mapped");
    }
    for slot in 0..layout::FIRST_SLOT {
        assert_eq!(Walk.read(tables.root(), slot), 0, "slot {slot}");
    }
    log!("Self-test: address space");
}

fn scratch_memory_comes_back() {
    let mut free = boot::FREE.lock();
    let free = free.as_mut().expect("boot left memory");
    let before = free.bytes();
    let range = Range::new(free.take(64 << 20, 4096, u64::MAX).expect("64 MiB"), 64 << 20);
    // SAFETY: just taken.
    unsafe { heap::open_scratch(range) };
    let large: Vec<u64> = (0..4 << 20).collect();
    assert!(
        (layout::DIRECT_MAP + range.start..layout::DIRECT_MAP + range.end)
            .contains(&(large.as_ptr().addr() as u64))
    );
    assert_eq!(heap::close_scratch(), Err(1));
    drop(large);
    let back = heap::close_scratch().expect("nothing is alive");
    free.insert(back).expect("room for a range");
    assert_eq!(free.bytes(), before);
    let permanent: Vec<u64> = (0..1000).collect();
    let (at, heap) = (permanent.as_ptr().addr() as u64 - layout::DIRECT_MAP, sealed().heap);
    assert!((heap.start..heap.end).contains(&at));
    log!("Self-test: heap and scratch heap work");
}

/// In code of its own: the second copy does not have the code of the first boot, from which this is called.
#[inline(never)]
fn the_image_switches() {
    let image = sealed().image;
    assert_eq!(image.running(), Copy::A);
    for copy in [Copy::A, Copy::B] {
        assert_eq!(image.first_damaged(copy), None, "{copy:?}");
    }
    INITIALISED.store(1, Ordering::Relaxed);
    ZEROED.store(2, Ordering::Relaxed);
    let immediate = immediate_of_marker();
    let in_b = image.maddr(Copy::B, immediate).expect("marker is in the image");
    // SAFETY: eight bytes of code of the copy that does not run.
    unsafe { direct::pointer::<u64>(in_b).write_unaligned(0xb) };
    assert_eq!(image.first_damaged(Copy::B), Some((immediate - layout::IMAGE) & !0xfff));

    // SAFETY: on a per-CPU stack, one CPU runs, no reference to a static is held; the damage is the test.
    unsafe { image.select(Copy::B) };
    let seen = [marker(), INITIALISED.load(Ordering::Relaxed), ZEROED.load(Ordering::Relaxed)];
    let running = image.running();
    // SAFETY: as above; copy A is intact.
    unsafe { image.select(Copy::A) };
    assert_eq!((running, seen), (Copy::B, [0xb, 7, 0]), "copy B did not run");
    let back = [marker(), INITIALISED.load(Ordering::Relaxed), ZEROED.load(Ordering::Relaxed)];
    assert_eq!(back, [0x1122_3344_5566_7788, 1, 2], "copy A did not come back");

    // SAFETY: copy B does not run.
    assert_eq!(unsafe { image.make_pristine(Copy::B) }, Ok(1));
    assert_eq!(image.first_damaged(Copy::B), None);
    log!("Self-test: image A -> B -> A switched, B ran its own code and variables and was repaired");
}

/// Where the immediate operand of [`marker`] is.
fn immediate_of_marker() -> u64 {
    let code = marker as fn() -> u64 as usize as u64;
    let in_a = sealed().image.maddr(Copy::A, code).expect("marker is in the image");
    // SAFETY: code does not change.
    let bytes = unsafe { direct::bytes(in_a, 64) };
    let wanted = 0x1122_3344_5566_7788_u64.to_le_bytes();
    let at = bytes.windows(8).position(|window| window == wanted).expect("marker loads its immediate");
    code + at as u64
}
