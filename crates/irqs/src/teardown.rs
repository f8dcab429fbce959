//! A domain's interrupts end with it.

use crate::record::MAX_PIRQS;
use crate::{Error, Irqs};
use ids::{DomainSlot, Maddr};
use vault::{Effect, Tx, kind};

/// PIRQs unmapped in a step: each takes about twelve undo entries.
const PIRQS_PER_STEP: usize = 8;

impl<'l> Irqs<'l> {
    /// One step of a domain's end; repeat it, one transaction each, until it answers `true`. The event ports are
    /// closed by their owner, before or after.
    ///
    /// # Errors
    /// None that a domain can cause; a slot without PIRQs is done.
    pub fn teardown_step(&self, tx: &mut Tx<'l>, slot: DomainSlot) -> Result<bool, Error> {
        let Ok(domain) = self.region.domain(slot) else { return Ok(true) };
        self.lock_mapping(tx);
        let page = domain.eoi_page.get();
        if page != 0 {
            let mfn = Maddr(page).mfn().0;
            tx.set(&domain.eoi_page, 0);
            tx.set(&domain.auto_unmask, false);
            tx.publish(Effect { kind: kind::PUT_TYPED, x: 0, a: mfn, b: 0 });
            tx.publish(Effect { kind: kind::PUT_REF, x: 0, a: mfn, b: 0 });
            return Ok(false);
        }
        let mapped = (0..MAX_PIRQS).filter(|pirq| self.region.mapped(domain, *pirq).is_some());
        let mut any = false;
        let mut locked = None;
        for pirq in mapped.take(PIRQS_PER_STEP) {
            // Irq locks are taken in ascending order only: what comes out of order waits for its own step.
            let irq = self.region.mapped(domain, pirq);
            any = true;
            if irq < locked {
                break;
            }
            locked = irq;
            self.unmap_pirq(tx, slot, pirq)?;
        }
        if any {
            return Ok(false);
        }
        if let Some(table) = self.region.table(domain) {
            tx.set(&table.owner, 0);
        }
        tx.set(&domain.table, 0);
        tx.set(&domain.nr_pirqs, 0);
        Ok(true)
    }
}
