//! Processors learn translations, forget them, and wait for each other to do so.

use crate::machine::{Machine, this_cpu};
use crate::steps::{Cut, cut};
use crate::tlb::Tlb;
use domain::State;
use ids::Maddr;
use system::Flush;

/// A processor's part in flushes of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shootdown {
    /// It has to forget this.
    pub(crate) wanted: Option<Flush>,
    /// It is in the middle of an entry.
    pub(crate) busy: bool,
    /// It has asked others and not waited.
    pub(crate) asked: bool,
}

impl Machine {
    /// What this processor remembers.
    pub(crate) fn tlb<T>(&self, f: impl FnOnce(&mut Tlb) -> T) -> T {
        f(&mut self.tlbs.borrow_mut()[this_cpu() as usize])
    }

    /// The processor in a guest, which uses whatever it can.
    pub(crate) fn learn(&self, cpu: u32) {
        let root = self.cpus.borrow()[cpu as usize].root;
        self.tlbs.borrow_mut()[cpu as usize].learn_all(&self.memory, root);
    }

    /// This processor goes to a guest address.
    pub(crate) fn use_translation(&self, va: u64) {
        if let Some((at, entry)) = self.memory.leaf(self.root(), va) {
            self.tlb(|tlb| {
                tlb.learn_page(va, Maddr(entry).mfn().0 & 0xff_ffff_ffff, entry);
                tlb.learn_table(1, at.mfn().0);
            });
        }
    }

    /// All processors have forgotten everything.
    pub(crate) fn forget_all(&self) {
        self.tlbs.borrow_mut().iter_mut().for_each(|tlb| tlb.flush(Flush::All));
        self.shootdown.borrow_mut().fill(Shootdown::default());
    }

    /// This processor enters the hypervisor or leaves it; on its way out it flushes if that is wanted.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.shootdown.borrow_mut()[this_cpu() as usize].busy = busy;
        if !busy {
            self.serve_flush(this_cpu() as usize);
        }
    }

    pub(crate) fn serve_flush(&self, cpu: usize) {
        if let Some(what) = self.shootdown.borrow_mut()[cpu].wanted.take() {
            self.tlbs.borrow_mut()[cpu].flush(what);
        }
    }

    /// Ends the run if a processor remembers what it must not.
    pub(crate) fn watch(&self, state: &State) {
        let found = self.tlbs.borrow_mut().iter_mut().zip(0..).find_map(|(tlb, cpu)| {
            tlb.check(&state.frames, state.irqs.msix_tables).err().map(|what| format!("CPU {cpu}: {what}"))
        });
        if found.is_some() {
            *self.stale.borrow_mut() = found;
            cut(Cut::Stale);
        }
    }
}
