//! What is done on which CPU model, by default and by options.

use command_line::{Mitigations, PageTableIsolation, parse};
use mitigations::{ForDomains, Host, Plan, Sequence, SpecCtrl, Thunk, Vendor};

const SMEP: u32 = 1 << 7;
const AVX2: u32 = 1 << 5;
const BOTH: ForDomains = ForDomains { dom0: true, domu: true };
const NEITHER: ForDomains = ForDomains { dom0: false, domu: false };

fn by_default(host: &Host) -> Plan {
    Plan::decide(host, &Mitigations::default(), PageTableIsolation::default())
}

fn by(host: &Host, line: &str) -> Plan {
    let options = parse(line.as_bytes()).options;
    Plan::decide(host, &options.mitigations, options.xpti)
}

/// Family 6 of Intel's: extended model and model.
const fn intel(model: u32, stepping: u32) -> Host {
    let signature = (model & 0xf0) << 12 | 6 << 8 | (model & 0xf) << 4 | stepping;
    Host { vendor: Vendor::Intel, signature, leaf7_ebx: SMEP | AVX2, address_bits: 40, ..Host::UNKNOWN }
}

const fn amd(family: u32, model: u32) -> Host {
    let signature = (family - 0xf) << 20 | (model & 0xf0) << 12 | 0xf00 | (model & 0xf) << 4;
    Host { vendor: Vendor::Amd, signature, leaf7_ebx: SMEP | AVX2, address_bits: 40, ..Host::UNKNOWN }
}

// As QEMU's interpreter shows them: no SPEC_CTRL, no IA32_ARCH_CAPABILITIES. What Debian's Xen 4.17.7 says of each is
// beside it.
#[test]
fn skylake_server_of_qemu() {
    // BTI-Thunk: RETPOLINE, BHB-Seq: SHORT, SPEC_CTRL: No; PV VMs: EAGER_FPU BHB-entry; XPTI: Dom0 enabled, DomU
    // enabled; L1TF: Safe address 10000000000; shadowing: Dom0 disabled, DomU enabled.
    let plan = by_default(&intel(0x55, 4));
    assert_eq!(
        (plan.thunk, plan.history_at_entry, plan.spec_ctrl),
        (Thunk::Retpoline, Sequence::Short, None)
    );
    assert_eq!((plan.xpti, plan.eager_fpu, plan.l1tf_safe), (BOTH, true, Some(1 << 40)));
    assert_eq!(plan.l1tf_shadowing, ForDomains { dom0: false, domu: true });
    assert!(
        !plan.returns_at_entry && !plan.verw_at_exit && !plan.barrier_at_entry && !plan.barrier_at_switch
    );
    assert!(plan.hide_avx, "Xen hides AVX there: gathers leak");
}

#[test]
fn icelake_server_of_qemu() {
    // The same, but L1TF: Safe address c000000000.
    let plan = by_default(&intel(0x6a, 0));
    assert_eq!((plan.thunk, plan.history_at_entry, plan.xpti), (Thunk::Retpoline, Sequence::Short, BOTH));
    assert_eq!(plan.l1tf_safe, Some(0xc0_0000_0000));
}

#[test]
fn epyc_milan_of_qemu() {
    // BTI-Thunk: RETPOLINE, SPEC_CTRL: No; PV VMs: None; XPTI: disabled; L1TF shadowing: disabled.
    let plan = by_default(&amd(0x19, 1));
    assert_eq!(plan, Plan { thunk: Thunk::Retpoline, ..Plan::default() });
}

#[test]
fn skylake_with_microcode_uses_ibrs_and_verw() {
    let host = Host {
        leaf7_edx: 1 << 10 | 1 << 9 | 1 << 26 | 1 << 27 | 1 << 28 | 1 << 31,
        threads: true,
        ..intel(0x5e, 3)
    };
    let plan = by_default(&host);
    let hypervisor = SpecCtrl::IBRS | SpecCtrl::STIBP;
    assert_eq!(plan.spec_ctrl, Some(SpecCtrl { hypervisor, guest: SpecCtrl::STIBP }));
    assert_eq!(plan.thunk, Thunk::Jump);
    assert!(plan.verw_at_exit && plan.random_lock == Some(true) && plan.barrier_at_switch && plan.l1d_flush);
    assert!(!plan.barrier_at_entry && !plan.returns_at_entry);
}

#[test]
fn sapphire_rapids_says_what_it_does_not_have() {
    let host = Host {
        leaf7_edx: 1 << 10 | 1 << 26 | 1 << 27 | 1 << 31 | 1 << 29,
        leaf7_2_edx: 1 << 4,
        // RDCL_NO, IBRS_ALL, MDS_NO, TAA_NO, the fill buffers' three, GDS_NO.
        capabilities: 1 | 1 << 1 | 1 << 5 | 1 << 8 | 7 << 13 | 1 << 26,
        ..intel(0x8f, 6)
    };
    let plan = by_default(&host);
    assert_eq!((plan.xpti, plan.l1tf_safe, plan.verw_at_exit, plan.hide_avx), (NEITHER, None, false, false));
    let hypervisor = SpecCtrl::IBRS | SpecCtrl::BHI_DIS_S;
    assert_eq!(plan.spec_ctrl.unwrap().hypervisor, hypervisor);
    assert_eq!(plan.history_at_entry, Sequence::None, "the processor does it");
    assert_eq!(by(&host, "spec-ctrl=no-bhi-dis-s").history_at_entry, Sequence::Long);
}

#[test]
fn zen_1_and_2_put_a_barrier_at_entries() {
    // IBPB alone; and on the first the divider leaks.
    let zen1 = Host { extended8_ebx: 1 << 12, ..amd(0x17, 1) };
    let plan = by_default(&zen1);
    assert!(plan.barrier_at_entry && plan.returns_at_entry && plan.divider_at_exit && plan.barrier_at_switch);
    let zen2 = Host { extended8_ebx: 1 << 12 | 1 << 14 | 1 << 15 | 1 << 24, ..amd(0x17, 0x31) };
    let plan = by_default(&zen2);
    assert!(plan.barrier_at_entry && !plan.divider_at_exit && plan.spec_ctrl.is_none());
    assert_eq!((plan.xpti, plan.thunk), (NEITHER, Thunk::Retpoline));
}

#[test]
fn zen_3_follows_the_hints_of_the_hardware() {
    // IBPB, IBRS, STIBP, IBRS and STIBP to be left on, SSBD, PSFD, BTC_NO.
    let bits = [12, 14, 15, 16, 17, 24, 28, 29].into_iter().fold(0, |all, bit| all | 1 << bit);
    let plan = by_default(&Host { extended8_ebx: bits, ..amd(0x19, 1) });
    let values = plan.spec_ctrl.unwrap();
    assert_eq!(values.hypervisor, SpecCtrl::IBRS | SpecCtrl::STIBP);
    assert_eq!(values.guest, SpecCtrl::STIBP);
    assert!(plan.barrier_at_entry, "returns can be steered");
    let zen5 = Host { extended21_eax: 1 << 29, ..Host { extended8_ebx: bits | 1 << 30, ..amd(0x1a, 0) } };
    assert!(!by_default(&zen5).barrier_at_entry);
}

#[test]
fn atoms_and_strangers() {
    let goldmont = by_default(&intel(0x5c, 9));
    assert_eq!((goldmont.l1tf_safe, goldmont.history_at_entry), (None, Sequence::None));
    // In doubt a CPU is vulnerable.
    let stranger = by_default(&Host::UNKNOWN);
    assert_eq!((stranger.xpti, stranger.returns_at_entry), (BOTH, true));
}

#[test]
fn options_overrule_the_model() {
    let skylake = intel(0x55, 4);
    let off = by(&skylake, "spec-ctrl=no");
    assert_eq!((off.xpti, off.history_at_entry, off.thunk), (NEITHER, Sequence::None, Thunk::Jump));
    assert!(!off.hide_avx && !off.eager_fpu && !off.returns_at_entry);
    assert_eq!(by(&skylake, "spec-ctrl=no xpti").xpti, BOTH);
    assert_eq!(by(&skylake, "xpti=dom0=false").xpti, ForDomains { dom0: false, domu: true });
    let own = by(&skylake, "spec-ctrl=xen=no");
    assert_eq!((own.xpti, own.history_at_entry, own.hide_avx), (BOTH, Sequence::None, true));
    assert_eq!(by(&skylake, "spec-ctrl=bhb-entry=no").history_at_entry, Sequence::None);
    assert_eq!(by(&skylake, "spec-ctrl=bhb-entry=no-hvm").history_at_entry, Sequence::Short);
    let milan = amd(0x19, 1);
    let on =
        by(&milan, "xpti=1 spec-ctrl=rsb,bhb-entry,bhb-seq=long,verw,div-scrub,bti-thunk=lfence pv-l1tf");
    assert_eq!((on.xpti, on.history_at_entry, on.thunk), (BOTH, Sequence::Long, Thunk::Fence));
    assert!(on.returns_at_entry && on.verw_at_exit && on.divider_at_exit && on.l1tf_shadowing.dom0);
    // Registers that do not exist are not written, whatever is asked for.
    let asked = by(&milan, "spec-ctrl=msr-sc,ibrs,ssbd,ibpb,ibpb-entry");
    assert!(asked.spec_ctrl.is_none() && !asked.barrier_at_entry && !asked.barrier_at_switch);
}

#[test]
fn the_log_has_the_words_that_users_look_for() {
    let text = by_default(&intel(0x55, 4)).to_string();
    for line in [
        "Settings: BTI-Thunk: RETPOLINE, BHB-Seq: SHORT, SPEC_CTRL: No",
        "L1TF: believed vulnerable, Safe address 10000000000",
        "Support for PV VMs: EAGER_FPU BHB-entry\n",
        "XPTI (64-bit PV only): Dom0 enabled, DomU enabled (without PCID)",
        "PV L1TF shadowing: Dom0 disabled, DomU enabled",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(by_default(&amd(0x19, 1)).to_string().contains("Support for PV VMs: None\n"));
}
