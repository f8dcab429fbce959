//! `spec-ctrl=` and `pv-l1tf=`: what to do about side channels of speculative execution.

use crate::options::PageTableIsolation;
use crate::value::{Expected, boolean, list, named_boolean};

/// A choice for each kind of guest; `None` goes by the CPU model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ByGuest {
    /// PV guests.
    pub pv: Option<bool>,
    /// HVM guests.
    pub hvm: Option<bool>,
}

/// `bti-thunk=`: how the hypervisor's indirect branches are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thunk {
    /// `retpoline`
    Retpoline,
    /// `lfence`
    Fence,
    /// `jmp`
    Jump,
}

/// `bhb-seq=`: how the branch history is cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// `none`
    None,
    /// `short`
    Short,
    /// `tsx`: by aborting a transaction.
    Transaction,
    /// `long`
    Long,
}

/// What was asked for; `None` goes by the CPU model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mitigations {
    /// `spec-ctrl=no`: nothing by default, page-table isolation included.
    pub nothing: bool,
    /// `msr-sc`: SPEC_CTRL at entries.
    pub registers: ByGuest,
    /// `rsb`: filling the return stack.
    pub returns: ByGuest,
    /// `verw`, once `md-clear`: clearing buffers.
    pub verw: ByGuest,
    /// `ibpb-entry`
    pub barrier_at_entry: ByGuest,
    /// `bhb-entry`
    pub history_at_entry: ByGuest,
    /// `bti-thunk`
    pub thunk: Option<Thunk>,
    /// `bhb-seq`
    pub sequence: Option<Sequence>,
    /// `ibrs`
    pub ibrs: Option<bool>,
    /// `stibp`
    pub stibp: Option<bool>,
    /// `ibpb`
    pub barrier_at_switch: Option<bool>,
    /// `ssbd`
    pub ssbd: Option<bool>,
    /// `psfd`
    pub psfd: Option<bool>,
    /// `bhi-dis-s`
    pub bhi_dis_s: Option<bool>,
    /// `eager-fpu`
    pub eager_fpu: Option<bool>,
    /// `l1d-flush`
    pub l1d_flush: Option<bool>,
    /// `branch-harden`
    pub branch_harden: Option<bool>,
    /// `lock-harden`
    pub lock_harden: Option<bool>,
    /// `srb-lock`
    pub random_lock: Option<bool>,
    /// `unpriv-mmio`
    pub unprivileged_mmio: Option<bool>,
    /// `gds-mit`
    pub gathers: Option<bool>,
    /// `div-scrub`
    pub divider: Option<bool>,
    /// `bp-spec-reduce`
    pub speculation_reduced: Option<bool>,
    /// `ibpb-alt`
    pub barrier_alternative: Option<bool>,
    /// `pv-l1tf=`
    pub l1tf_shadowing: PageTableIsolation,
}

const SPEC_CTRL: Expected = "a list of no, xen=no, {pv,hvm}=<boolean>, \
     {msr-sc,rsb,verw,ibpb-entry,bhb-entry}=<boolean>|{pv,hvm}=<boolean>, bti-thunk=retpoline|lfence|jmp, \
     bhb-seq=none|short|tsx|long, {ibrs,stibp,ibpb,ssbd,psfd,bhi-dis-s,eager-fpu,l1d-flush,branch-harden,lock-harden,\
     srb-lock,unpriv-mmio,gds-mit,div-scrub,bp-spec-reduce,ibpb-alt}=<boolean>";

impl Mitigations {
    /// What it becomes by a value of `spec-ctrl=`.
    pub(crate) fn changed_by(mut self, value: &[u8]) -> Result<Self, Expected> {
        for item in list(value) {
            self.take(item).ok_or(SPEC_CTRL)?;
        }
        Ok(self)
    }

    fn take(&mut self, item: &[u8]) -> Option<()> {
        if boolean(item) == Some(false) {
            self.nothing = true;
            self.forbid_own();
            (self.eager_fpu, self.random_lock, self.gathers) = (Some(false), Some(false), Some(false));
            return Some(());
        }
        if named_boolean(b"xen", item) == Some(false) {
            self.forbid_own();
            return Some(());
        }
        for (name, of) in [(b"pv" as &[u8], pv as fn(&mut ByGuest) -> &mut Option<bool>), (b"hvm", hvm)] {
            if let Some(on) = named_boolean(name, item) {
                self.by_guest().into_iter().for_each(|choice| *of(choice) = Some(on));
                return Some(());
            }
        }
        self.take_word(item).or_else(|| self.take_boolean(item)).or_else(|| self.take_by_guest(item))
    }

    /// None of what the hypervisor does for itself.
    fn forbid_own(&mut self) {
        for choice in self.by_guest() {
            *choice = ByGuest { pv: Some(false), hvm: Some(false) };
        }
        (self.thunk, self.sequence) = (Some(Thunk::Jump), Some(Sequence::None));
        for (_, slot) in self.booleans().into_iter().take(OWN) {
            *slot = Some(false);
        }
    }

    fn by_guest(&mut self) -> [&mut ByGuest; 5] {
        [
            &mut self.registers,
            &mut self.returns,
            &mut self.verw,
            &mut self.barrier_at_entry,
            &mut self.history_at_entry,
        ]
    }

    fn take_word(&mut self, item: &[u8]) -> Option<()> {
        match item {
            b"bti-thunk=retpoline" => self.thunk = Some(Thunk::Retpoline),
            b"bti-thunk=lfence" => self.thunk = Some(Thunk::Fence),
            b"bti-thunk=jmp" => self.thunk = Some(Thunk::Jump),
            b"bhb-seq=none" => self.sequence = Some(Sequence::None),
            b"bhb-seq=short" => self.sequence = Some(Sequence::Short),
            b"bhb-seq=tsx" => self.sequence = Some(Sequence::Transaction),
            b"bhb-seq=long" => self.sequence = Some(Sequence::Long),
            _ => return None,
        }
        Some(())
    }

    /// The plain booleans; the first [`OWN`] are what the hypervisor does for itself.
    fn booleans(&mut self) -> [(&'static [u8], &mut Option<bool>); 16] {
        [
            (b"ibrs", &mut self.ibrs),
            (b"stibp", &mut self.stibp),
            (b"ibpb", &mut self.barrier_at_switch),
            (b"ssbd", &mut self.ssbd),
            (b"psfd", &mut self.psfd),
            (b"bhi-dis-s", &mut self.bhi_dis_s),
            (b"l1d-flush", &mut self.l1d_flush),
            (b"branch-harden", &mut self.branch_harden),
            (b"lock-harden", &mut self.lock_harden),
            (b"div-scrub", &mut self.divider),
            (b"bp-spec-reduce", &mut self.speculation_reduced),
            (b"unpriv-mmio", &mut self.unprivileged_mmio),
            (b"eager-fpu", &mut self.eager_fpu),
            (b"srb-lock", &mut self.random_lock),
            (b"gds-mit", &mut self.gathers),
            (b"ibpb-alt", &mut self.barrier_alternative),
        ]
    }

    fn take_boolean(&mut self, item: &[u8]) -> Option<()> {
        self.booleans()
            .into_iter()
            .find_map(|(name, slot)| named_boolean(name, item).map(|on| *slot = Some(on)))
    }

    fn take_by_guest(&mut self, item: &[u8]) -> Option<()> {
        const NAMES: [(&[u8], usize); 6] = [
            (b"msr-sc", 0),
            (b"rsb", 1),
            (b"verw", 2),
            (b"md-clear", 2),
            (b"ibpb-entry", 3),
            (b"bhb-entry", 4),
        ];
        NAMES.into_iter().find_map(|(name, index)| {
            let choice = self.by_guest().into_iter().nth(index)?;
            if let Some(on) = named_boolean(name, item) {
                *choice = ByGuest { pv: Some(on), hvm: Some(on) };
                return Some(());
            }
            let of = item.strip_prefix(name)?.strip_prefix(b"=")?;
            if let Some(on) = named_boolean(b"pv", of) {
                choice.pv = Some(on);
            } else {
                choice.hvm = Some(named_boolean(b"hvm", of)?);
            }
            Some(())
        })
    }
}

/// Plain booleans that are the hypervisor's own.
const OWN: usize = 12;

fn pv(choice: &mut ByGuest) -> &mut Option<bool> {
    &mut choice.pv
}

fn hvm(choice: &mut ByGuest) -> &mut Option<bool> {
    &mut choice.hvm
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> Option<Mitigations> {
        Mitigations::default().changed_by(value.as_bytes()).ok()
    }

    #[test]
    fn no_is_all_off_and_what_follows_counts() {
        let off = parsed("no,bhb-entry").unwrap();
        assert!(off.nothing);
        assert_eq!(
            (off.history_at_entry.pv, off.returns.pv, off.verw.hvm),
            (Some(true), Some(false), Some(false))
        );
        assert_eq!((off.thunk, off.eager_fpu, off.ibrs), (Some(Thunk::Jump), Some(false), Some(false)));
        let own = parsed("xen=no").unwrap();
        assert!(!own.nothing);
        assert_eq!((own.barrier_at_switch, own.eager_fpu), (Some(false), None));
    }

    #[test]
    fn guests_can_be_told_apart() {
        let some = parsed("rsb=no-hvm,verw=pv=0,no-ibpb-entry,md-clear=hvm").unwrap();
        assert_eq!(some.returns, ByGuest { pv: None, hvm: Some(false) });
        assert_eq!(some.verw, ByGuest { pv: Some(false), hvm: Some(true) });
        assert_eq!(some.barrier_at_entry, ByGuest { pv: Some(false), hvm: Some(false) });
        let pv = parsed("pv=no,bhb-entry=pv").unwrap();
        assert_eq!((pv.history_at_entry.pv, pv.returns.pv, pv.returns.hvm), (Some(true), Some(false), None));
    }

    #[test]
    fn words_and_booleans() {
        let some = parsed("bti-thunk=lfence,bhb-seq=long,gds-mit=0,div-scrub").unwrap();
        assert_eq!((some.thunk, some.sequence), (Some(Thunk::Fence), Some(Sequence::Long)));
        assert_eq!((some.gathers, some.divider), (Some(false), Some(true)));
        for wrong in ["yes", "xen", "bti-thunk=fast", "colour=red", "rsb=maybe", "ibrs=pv"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
