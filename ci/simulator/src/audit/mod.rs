//! An auditor that shares no code with the logic: it reads raw page tables and the records' getters, and
//! recomputes every count, every list and the safety property.

mod frames;
mod grants;
mod schedule;

use crate::world::{DOMAINS, World};
use domains::Life;

impl World {
    /// Checks every invariant, with no entry in progress.
    ///
    /// # Errors
    /// The first violation.
    pub fn audit(&self) -> Result<(), String> {
        let state = self.system.state;
        if let Some(log) = state.logs.iter().find(|log| log.head() != vault::Head::IDLE) {
            return Err(format!("a log is open: {log:?}"));
        }
        events::audit(&state.events).map_err(|e| format!("event channels: {e:?}"))?;
        irqs::audit(&state.irqs).map_err(|e| format!("interrupts: {e:?}"))?;
        timers::audit(&state.timers, Some(&state.timers_derived)).map_err(|e| format!("timers: {e:?}"))?;
        let is_live = |slot| state.domains.domain(slot).life() != Life::Free;
        sched::audit(&state.sched, is_live).map_err(|e| format!("shares and pools: {e:?}"))?;
        self.audit_schedule()?;
        self.audit_grants()?;
        ::audit::check_frames(state.frames, DOMAINS, &mut frames::Whole(self))
    }
}
