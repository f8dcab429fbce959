//! A plan as users look for it in the log.

use core::fmt;

use crate::plan::{ForDomains, Plan, Sequence, SpecCtrl, Thunk};

/// A list of words, or another word if there are none.
fn list(f: &mut fmt::Formatter<'_>, words: &[(bool, &str)], none: &str) -> fmt::Result {
    let mut any = false;
    for (_, word) in words.iter().filter(|(there, _)| *there) {
        write!(f, " {word}")?;
        any = true;
    }
    if any { Ok(()) } else { write!(f, " {none}") }
}

fn enabled(on: bool) -> &'static str {
    if on { "enabled" } else { "disabled" }
}

fn both(f: &mut fmt::Formatter<'_>, what: ForDomains) -> fmt::Result {
    write!(f, "Dom0 {}, DomU {}", enabled(what.dom0), enabled(what.domu))
}

/// Several lines: the settings, what PV guests are guarded by, page-table isolation, L1TF. The names are Xen's.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thunk = match self.thunk {
            Thunk::Jump => "JMP",
            Thunk::Fence => "LFENCE",
            Thunk::Retpoline => "RETPOLINE",
        };
        write!(f, "  Settings: BTI-Thunk: {thunk}")?;
        match self.history_at_entry {
            Sequence::None => {}
            Sequence::Short => f.write_str(", BHB-Seq: SHORT")?,
            Sequence::Long => f.write_str(", BHB-Seq: LONG")?,
        }
        f.write_str(", SPEC_CTRL:")?;
        let value = self.spec_ctrl.unwrap_or_default().hypervisor;
        let bits = [
            (SpecCtrl::IBRS, "IBRS+"),
            (SpecCtrl::STIBP, "STIBP+"),
            (SpecCtrl::SSBD, "SSBD+"),
            (SpecCtrl::PSFD, "PSFD+"),
            (SpecCtrl::BHI_DIS_S, "BHI_DIS_S+"),
        ];
        list(f, &bits.map(|(bit, name)| (value & bit != 0, name)), "No")?;
        f.write_str(", Other:")?;
        let other = [
            (self.barrier_at_switch, "IBPB-ctxt"),
            (self.random_lock == Some(true), "SRB_LOCK+"),
            (self.random_lock == Some(false), "SRB_LOCK-"),
            (self.divider_at_exit, "DIV"),
            (self.hide_avx, "NO-AVX"),
        ];
        list(f, &other, "None")?;
        if let Some(safe) = self.l1tf_safe {
            write!(f, "\n  L1TF: believed vulnerable, Safe address {safe:x}")?;
        }
        f.write_str("\n  Support for HVM VMs: None, there are none\n  Support for PV VMs:")?;
        let guards = [
            (self.spec_ctrl.is_some(), "MSR_SPEC_CTRL"),
            (self.returns_at_entry, "RSB"),
            (self.eager_fpu, "EAGER_FPU"),
            (self.verw_at_exit, "VERW"),
            (self.barrier_at_entry, "IBPB-entry"),
            (self.history_at_entry != Sequence::None, "BHB-entry"),
        ];
        list(f, &guards, "None")?;
        f.write_str("\n  XPTI (64-bit PV only): ")?;
        both(f, self.xpti)?;
        f.write_str(" (without PCID)\n  PV L1TF shadowing: ")?;
        both(f, self.l1tf_shadowing)
    }
}
