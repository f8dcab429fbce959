//! Policies of processors, compared with what Debian's Xen 4.17 answers to the same requests: the program that made them
//! is ci/guest/cpu-policies.c, and its answers on two models of processor are in ci/guest/etc.

use crate::fixture::{ARGUMENT, LIST, LIST2, OTHER, OTHER_ID, World, quiet_crashes};
use cpu_policy::cpuid::{Leaf, NO_SUBLEAF};
use cpu_policy::{Controls, SystemPolicies};
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;
use xen_abi::arch::{CpuidLeaf, MsrEntry};
use xen_abi::domctl::{Domctl, DomctlCpuPolicy};
use xen_abi::sysctl::{Sysctl, SysctlCpuFeatureset, SysctlCpuPolicy};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

const SYSCTL: u64 = 35;
const DOMCTL: u64 = 36;
const WORDS: u64 = LIST + 0x1000;
const LEAVES: u32 = 120;
const MSRS: u32 = 2;
const NOBODY: u16 = 0x7ef0;
const GET: u32 = 82;
const SET: u32 = 83;

const AMD: &str = include_str!("../../../../ci/guest/etc/cpu-policies/AMD_EPYC_Milan_Processor");
const INTEL: &str = include_str!("../../../../ci/guest/etc/cpu-policies/Intel_Xeon_Processor__Skylake_");

thread_local! {
    /// Whether this test's machine has Intel's processor.
    static IS_INTEL: Cell<bool> = const { Cell::new(false) };
}

type Leaves = HashMap<(u32, u32), Leaf>;

/// The processor's leaves, which the answers begin with.
fn leaves_of(answers: &str) -> Leaves {
    let mut leaves = Leaves::new();
    for line in answers.lines().filter_map(|line| line.strip_prefix("policy 0 ")) {
        let number = |text: &str| u32::from_str_radix(text, 16).expect("a number");
        let Some((place, values)) = line.split_once(' ').filter(|(place, _)| place.contains('.')) else {
            continue;
        };
        let (leaf, subleaf) = place.split_once('.').expect("leaf and subleaf");
        let v: Vec<u32> = values.split(' ').map(number).collect();
        let value = Leaf { eax: v[0], ebx: v[1], ecx: v[2], edx: v[3] };
        leaves.insert((number(leaf), number(subleaf)), value);
    }
    leaves
}

fn answer(leaves: &Leaves, leaf: u32, subleaf: u32) -> Leaf {
    let found = leaves.get(&(leaf, NO_SUBLEAF)).or_else(|| leaves.get(&(leaf, subleaf)));
    found.copied().unwrap_or_default()
}

fn amd(leaf: u32, subleaf: u32) -> Leaf {
    static MEASURED: LazyLock<Leaves> = LazyLock::new(|| leaves_of(AMD));
    answer(&MEASURED, leaf, subleaf)
}

fn intel(leaf: u32, subleaf: u32) -> Leaf {
    static MEASURED: LazyLock<Leaves> = LazyLock::new(|| leaves_of(INTEL));
    answer(&MEASURED, leaf, subleaf)
}

/// The policies of this test's machine.
pub(crate) fn system() -> &'static SystemPolicies {
    static OF_AMD: LazyLock<SystemPolicies> = LazyLock::new(|| {
        SystemPolicies::new(amd, &Controls { prediction_barrier: true, ..Controls::default() })
    });
    // Its gathers leak, and returns may be predicted by targets (RSBA).
    static OF_INTEL: LazyLock<SystemPolicies> = LazyLock::new(|| {
        SystemPolicies::new(intel, &Controls { hide_avx: true, arch_capabilities: 4, ..Controls::default() })
    });
    if IS_INTEL.get() { &OF_INTEL } else { &OF_AMD }
}

/// Asks, and prints what the guest program prints.
struct Asker {
    world: World,
    text: String,
}

fn member<T: FromBytes>(u: &[u64; 16]) -> T {
    T::read_from_prefix(u.as_bytes()).expect("it fits").0
}

fn union(value: &(impl IntoBytes + Immutable)) -> [u64; 16] {
    let mut u = [0; 16];
    u.as_mut_bytes()[..size_of_val(value)].copy_from_slice(value.as_bytes());
    u
}

impl Asker {
    fn new(is_intel: bool) -> Self {
        IS_INTEL.set(is_intel);
        Self { world: World::new(), text: String::new() }
    }

    fn print(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn sysctl<T: FromBytes>(&self, cmd: u32, value: &(impl IntoBytes + Immutable)) -> (i64, T) {
        self.world.put(ARGUMENT, &Sysctl { cmd, interface_version: 0x15, u: union(value) });
        let result = self.world.call(SYSCTL, &[ARGUMENT]);
        (result, member(&self.world.get::<Sysctl>(ARGUMENT).u))
    }

    fn domctl(&self, cmd: u32, domain: u16, value: &DomctlCpuPolicy) -> (i64, DomctlCpuPolicy) {
        let op = Domctl { cmd, interface_version: 0x15, domain, _pad: [0; 3], u: union(value) };
        self.world.put(ARGUMENT, &op);
        let result = self.world.call(DOMCTL, &[ARGUMENT]);
        (result, member(&self.world.get::<Domctl>(ARGUMENT).u))
    }

    fn clear(&self) {
        [LIST, WORDS, LIST2].iter().for_each(|page| self.world.put(*page, &[0_u64; 512]));
    }

    fn feature_set(&mut self, index: u32, room: u32, buffer: bool) {
        self.clear();
        let asked =
            SysctlCpuFeatureset { index, nr_features: room, features: if buffer { WORDS } else { 0 } };
        let (result, told): (i64, SysctlCpuFeatureset) = self.sysctl(26, &asked);
        let mut line = format!("features {index} of {room}: {result}, {}:", told.nr_features);
        self.world.get::<[u32; 19]>(WORDS).iter().for_each(|word| write!(line, " {word:08x}").expect("room"));
        self.print(&line);
    }

    fn show(&mut self, name: &str, result: i64, [nr_leaves, nr_msrs]: [u32; 2]) {
        self.print(&format!("{name}: {result}, {nr_leaves} leaves, {nr_msrs} MSRs"));
        if result != 0 {
            return;
        }
        for CpuidLeaf { leaf, subleaf, a, b, c, d } in self.world.get::<[CpuidLeaf; LEAVES as usize]>(LIST) {
            if (leaf, subleaf) == (0, 0) {
                break;
            }
            self.print(&format!("{name} {leaf:08x}.{subleaf:08x} {a:08x} {b:08x} {c:08x} {d:08x}"));
        }
        for MsrEntry { idx, flags, val } in self.world.get::<[MsrEntry; MSRS as usize]>(LIST2) {
            if idx == 0 {
                break;
            }
            self.print(&format!("{name} msr {idx:x} {flags:x} {val:x}"));
        }
    }

    fn policy(&mut self, index: u32, [nr_leaves, nr_msrs]: [u32; 2], [leaves, msrs]: [bool; 2]) {
        self.clear();
        let (leaves, msrs) = (if leaves { LIST } else { 0 }, if msrs { LIST2 } else { 0 });
        let asked = SysctlCpuPolicy { index, nr_leaves, nr_msrs, _rsvd: 0, leaves, msrs };
        let (result, told): (i64, SysctlCpuPolicy) = self.sysctl(29, &asked);
        self.show(&format!("policy {index}"), result, [told.nr_leaves, told.nr_msrs]);
    }

    fn domain_policy(&mut self, domain: u16, [nr_leaves, nr_msrs]: [u32; 2], [leaves, msrs]: [bool; 2]) {
        self.clear();
        let (leaves, msrs) = (if leaves { LIST } else { 0 }, if msrs { LIST2 } else { 0 });
        let asked = DomctlCpuPolicy { nr_leaves, nr_msrs, leaves, msrs, ..DomctlCpuPolicy::new_zeroed() };
        let (result, told) = self.domctl(GET, domain, &asked);
        self.show("domain", result, [told.nr_leaves, told.nr_msrs]);
    }

    fn set_policy(&mut self, what: &str, domain: u16, nr_leaves: u32, nr_msrs: u32) {
        let [err_leaf, err_subleaf, err_msr] = [0x1234; 3];
        let asked = DomctlCpuPolicy {
            nr_leaves,
            nr_msrs,
            leaves: LIST,
            msrs: LIST2,
            err_leaf,
            err_subleaf,
            err_msr,
            _pad: 0,
        };
        let (result, told) = self.domctl(SET, domain, &asked);
        let (leaf, subleaf, msr) = (told.err_leaf, told.err_subleaf, told.err_msr);
        self.print(&format!("set {what}: {result}, {leaf:x}.{subleaf:x}, {msr:x}"));
    }

    fn set_leaf(&mut self, what: &str, leaf: u32, subleaf: u32, [a, b, c, d]: [u32; 4]) {
        self.world.put(LIST, &CpuidLeaf { leaf, subleaf, a, b, c, d });
        self.set_policy(what, OTHER_ID, 1, 0);
    }

    fn set_msr(&mut self, what: &str, idx: u32, flags: u32, val: u64) {
        self.world.put(LIST2, &MsrEntry { idx, flags, val });
        self.set_policy(what, OTHER_ID, 0, 1);
    }

    fn all_of(&mut self) {
        self.domain_policy(OTHER_ID, [LEAVES, MSRS], [true; 2]);
    }

    /// As `machine()` of the guest program.
    fn machine(&mut self) {
        let (levelling, caps): (i64, u32) = self.sysctl(25, &0_u32);
        assert_eq!(caps, 0);
        self.print(&format!("levelling: {levelling}"));
        for index in [0, 1, 2, 4, 6] {
            self.feature_set(index, 19, true);
        }
        for (index, room, buffer) in [(9, 0, false), (2, 3, true), (2, 100, true), (9, 3, true)] {
            self.feature_set(index, room, buffer);
        }
        for index in [0, 1, 2, 4, 6] {
            self.policy(index, [LEAVES, MSRS], [true; 2]);
        }
        for (index, room, buffers) in [
            (4, [0, 0], [false, false]),
            (4, [7, 0], [false, false]),
            (6, [0, 0], [false, false]),
            (4, [10, 2], [true, true]),
            (4, [LEAVES, 1], [true, true]),
            (4, [LEAVES, 0], [true, false]),
            (4, [0, 1], [false, true]),
            (4, [0, 2], [false, true]),
        ] {
            self.policy(index, room, buffers);
        }
        let wrong = SysctlCpuPolicy { index: 4, _rsvd: 1, ..SysctlCpuPolicy::new_zeroed() };
        let (result, _): (i64, SysctlCpuPolicy) = self.sysctl(29, &wrong);
        self.print(&format!("reserved: {result}"));
        let leaves = 0xffff_ffff_ff00_0000;
        let wrong = SysctlCpuPolicy { index: 4, nr_leaves: LEAVES, leaves, ..SysctlCpuPolicy::new_zeroed() };
        let (result, _): (i64, SysctlCpuPolicy) = self.sysctl(29, &wrong);
        self.print(&format!("no buffer: {result}"));
        self.domain_policy(0, [LEAVES, MSRS], [true; 2]);
        self.domain_policy(0, [0, 0], [false; 2]);
        self.domain_policy(0, [5, 0], [true, false]);
        self.domain_policy(0, [5, 1], [true; 2]);
        self.domain_policy(NOBODY, [LEAVES, MSRS], [true; 2]);
        self.set_policy("own", 0, 0, 0);
        self.set_policy("nobody's", NOBODY, 0, 0);
    }

    /// As `domain()` of the guest program, whose domain is made and destroyed besides.
    fn domain(&mut self) {
        const NO: u32 = NO_SUBLEAF;
        const ALL: [u32; 4] = [u32::MAX; 4];
        const AMD_S: [u32; 3] = [0x6874_7541, 0x444d_4163, 0x6974_6e65];
        let named = |last, [b, c, d]: [u32; 3]| [last, b, c, d];
        self.print("create: 0");
        self.all_of();
        for (leaf, subleaf) in [
            (0xe, NO),
            (1, 0),
            (4, 6),
            (7, 3),
            (0xb, 2),
            (0xd, 63),
            (0x4000_0000, 0),
            (0x4000_0001, NO),
            (0x8000_0001, 0),
            (0x8000_0022, NO),
        ] {
            self.set_leaf("odd leaf", leaf, subleaf, [0; 4]);
        }
        self.set_leaf("high basic leaf", 0, NO, named(0xe, AMD_S));
        self.set_leaf("high subleaf", 7, 0, [3, 0, 0, 0]);
        self.set_leaf("high extended leaf", 0x8000_0000, NO, [0x8000_0022, 0, 0, 0]);
        self.set_msr("faulting", 0xce, 0, 1 << 31);
        self.set_msr("more", 0xce, 0, 1);
        self.set_msr("long", 0xce, 0, 1 << 32);
        self.set_msr("flags", 0xce, 1, 0);
        self.set_msr("odd", 0xcf, 0, 0);
        self.set_msr("capabilities", 0x10a, 0, 1 << 40 | 1);
        self.set_policy("many leaves", OTHER_ID, 121, 0);
        self.set_policy("many registers", OTHER_ID, 0, 3);
        self.all_of();
        self.set_leaf("all of 1", 1, NO, ALL);
        self.set_leaf("all of 7", 7, 0, named(2, [u32::MAX; 3]));
        self.set_leaf("all of 7.1", 7, 1, ALL);
        self.set_leaf("all of 7.2", 7, 2, [0, 0, 0, u32::MAX]);
        self.set_leaf("all of 4.0", 4, 0, ALL);
        self.set_leaf("all of d.0", 0xd, 0, ALL);
        self.set_leaf("all of d.1", 0xd, 1, ALL);
        let basic = (2..0xd).filter(|leaf| ![4, 7, 0xb].contains(leaf));
        for leaf in basic.chain(0x8000_0001..0x8000_0022) {
            self.set_leaf("all of", leaf, NO, ALL);
        }
        self.all_of();
        self.set_leaf("limits", 0x4000_0000, NO, [0x4000_0005, 0, 0, 0]);
        self.set_leaf("physical address", 0x8000_0008, NO, [0x1010, 0, 0, 0]);
        self.set_leaf("few basic leaves", 0, NO, named(6, AMD_S));
        self.set_leaf("few extended leaves", 0x8000_0000, NO, [0x8000_0008, 0, 0, 0]);
        self.all_of();
        self.set_leaf("basic leaves again", 0, NO, named(0xd, AMD_S));
        self.set_leaf("no XSAVE", 1, NO, [0, 0, !(1 << 26), u32::MAX]);
        self.set_leaf("another's processor", 0, NO, named(0xd, [0x756e_6547, 0x6c65_746e, 0x4965_6e69]));
        self.all_of();
        self.set_leaf("odd extended leaf", 0x8000_0000, NO, [0x21, 0, 0, 0]);
        self.all_of();
        self.set_leaf("anything", 0x8000_0001, NO, [u32::MAX, 0, 0, 0]);
        self.all_of();
        self.print("destroy: 0");
    }
}

#[test]
fn every_answer_is_the_peer_s() {
    for (is_intel, answers) in [(false, AMD), (true, INTEL)] {
        let mut asker = Asker::new(is_intel);
        asker.print("=machine");
        asker.machine();
        asker.print("=domain");
        asker.domain();
        asker.print("=end");
        for (line, (ours, theirs)) in asker.text.lines().zip(answers.lines()).enumerate() {
            assert_eq!(ours, theirs, "line {}", line + 1);
        }
        assert_eq!(asker.text, answers);
    }
}

#[test]
fn there_are_no_hvm_guests() {
    let mut asker = Asker::new(false);
    for index in [3, 5] {
        asker.feature_set(index, 19, true);
        asker.policy(index, [LEAVES, MSRS], [true; 2]);
    }
    let refused: Vec<_> = asker.text.lines().filter(|line| line.contains(": -95, ")).collect();
    assert_eq!(refused.len(), 4, "{}", asker.text);
}

#[test]
fn buffers_that_are_not_there() {
    let asker = Asker::new(false);
    let nowhere = crate::fixture::NOWHERE;
    let asked = SysctlCpuFeatureset { index: 2, nr_features: 19, features: nowhere };
    assert_eq!(asker.sysctl::<u32>(26, &asked).0, -14);
    let asked = DomctlCpuPolicy { nr_leaves: 1, leaves: nowhere, ..DomctlCpuPolicy::new_zeroed() };
    let (result, told) = asker.domctl(SET, OTHER_ID, &asked);
    assert_eq!((result, told.err_leaf, told.err_msr), (-14, u32::MAX, u32::MAX));
    let asked = DomctlCpuPolicy { nr_msrs: 1, msrs: nowhere, ..DomctlCpuPolicy::new_zeroed() };
    assert_eq!(asker.domctl(SET, OTHER_ID, &asked).0, -14);
    assert_eq!(asker.domctl(GET, OTHER_ID, &asked).0, -14);
}

#[test]
fn a_domain_that_has_run_keeps_its_policy() {
    let mut asker = Asker::new(false);
    let policies = asker.world.state.policies;
    asker.world.change(|tx| policies.fix(tx, OTHER));
    asker.set_leaf("late", 1, NO_SUBLEAF, [0; 4]);
    assert_eq!(asker.text, "set late: -17, 1234.1234, 1234\n");
    asker.world.change(|tx| policies.reset(tx, OTHER));
    asker.set_leaf("for the next", 1, NO_SUBLEAF, [0; 4]);
    assert!(asker.text.ends_with("set for the next: 0, 1234.1234, 1234\n"));
    assert_eq!(policies.of(OTHER, false).leaf(1, 0).edx, 0);
    asker.world.change(|tx| policies.reset(tx, OTHER));
    assert_eq!(*policies.of(OTHER, false), *system().default());
}

#[test]
fn a_policy_is_changed_wholly_or_not_at_all() {
    quiet_crashes();
    let mut asker = Asker::new(false);
    for crash in 1.. {
        asker.world.reset();
        let before = *asker.world.state.policies.of(OTHER, false);
        let leaves = [
            CpuidLeaf { leaf: 1, subleaf: NO_SUBLEAF, a: 0x123, b: 7, c: u32::MAX, d: u32::MAX },
            CpuidLeaf { leaf: 7, subleaf: 0, a: 0, b: 1, c: 0, d: 0 },
            CpuidLeaf { leaf: 0x8000_0002, subleaf: NO_SUBLEAF, a: 1, b: 2, c: 3, d: 4 },
        ];
        asker.world.put(LIST, &leaves);
        let asked = DomctlCpuPolicy { nr_leaves: 3, leaves: LIST, ..DomctlCpuPolicy::new_zeroed() };
        let op =
            Domctl { cmd: SET, interface_version: 0x15, domain: OTHER_ID, _pad: [0; 3], u: union(&asked) };
        asker.world.put(ARGUMENT, &op);
        let (value, crashed) = asker.world.call_crashing(DOMCTL, &[ARGUMENT], crash);
        assert_eq!(value, 0);
        let after = *asker.world.state.policies.of(OTHER, false);
        assert_eq!((after.leaf(1, 0).eax, after.leaf(7, 0).ebx), (0x123, 1), "crash at step {crash}");
        assert_eq!(after.leaf(0x8000_0002, 0), Leaf { eax: 1, ebx: 2, ecx: 3, edx: 4 });
        assert_eq!(after.leaf(0x8000_0003, 0), before.leaf(0x8000_0003, 0));
        assert!(after.features().is_subset(system().max().features()));
        if !crashed {
            assert!(crash > 50, "only {crash} steps");
            break;
        }
    }
}
