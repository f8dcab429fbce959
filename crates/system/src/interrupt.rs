//! Interrupts of the machine.

use crate::System;
use crate::applier::Applier;
use crate::platform::Platform;
use irqs::Action;
use vault::{Journal, Log, Phase};

/// Vectors the hypervisor uses itself; devices have 0x30 to 0xdf.
pub mod own_vector {
    /// This CPU's timer.
    pub const TIMER: u8 = 0xf0;
    /// Another CPU wants this one to look around.
    pub const KICK: u8 = 0xf1;
    /// The hypervisor's console received something.
    pub const CONSOLE: u8 = 0xf2;
    /// The machine raised an NMI, which Dom0 is to be told of.
    pub const NMI: u8 = 0xf3;
    /// Spurious interrupts of the local APIC.
    pub const SPURIOUS: u8 = 0xff;
}

impl<P: Platform> System<P> {
    /// Handles an interrupt, from a guest (the entry's log is open) or from the idle loop (it is closed: the
    /// interrupt is an entry of its own). The log is closed afterwards, the end of interrupt sent. What follows
    /// from a timer or a kick is done by `leave`.
    ///
    /// Stopped before the commit, a guest's interrupt is dispatched again; stopped anywhere before the end of
    /// interrupt, it is found in service and goes to [`recover_interrupts`](Self::recover_interrupts). An event
    /// may come twice of it, never not at all.
    pub fn interrupt(&'static self, vector: u8) {
        match vector {
            own_vector::SPURIOUS => return,
            own_vector::TIMER => self.schedule.fired(self.platform.cpu()),
            own_vector::KICK => {}
            own_vector::CONSOLE => self.console_input(),
            own_vector::NMI => {
                let mut journal = self.interrupt_journal();
                self.tell_nmi(&mut journal, true);
                journal.log().end();
            }
            device => self.device_interrupt(device),
        }
        self.platform.end_of_interrupt();
    }

    /// Gives Dom0 what was typed. The port forgets what is read from it: a crash here loses it.
    fn console_input(&'static self) {
        let mut typed = [0; 32];
        let count = self.platform.console_receive(&mut typed);
        let mut journal = self.interrupt_journal();
        journal.change(|tx| {
            if count > 0 && self.state.console_input.put(tx, &typed[..count]) > 0 {
                let events = self.state.events(self.platform);
                if let Some(event) = events.global_virq_event(xen_abi::xen::VIRQ_CONSOLE) {
                    tx.publish(event);
                }
            }
            tx.last();
        });
        journal.log().end();
    }

    fn device_interrupt(&'static self, vector: u8) {
        let mut journal = self.interrupt_journal();
        self.raise(&mut journal, vector, true);
        journal.log().end();
    }

    /// Takes interrupts that were in service on this CPU when it was stopped as received: posts their events
    /// and ends each. The order is the local APIC's, highest vector first. Called on every CPU after
    /// [`repair`](Self::repair) of all and [`restore_routes`](Self::restore_routes); an entry in progress keeps
    /// its progress.
    pub fn recover_interrupts(&'static self, in_service: impl Iterator<Item = u8>) {
        for vector in in_service {
            let alone = self.own_log().head().phase() == Phase::Idle;
            let mut journal = self.interrupt_journal();
            if vector < own_vector::TIMER {
                self.raise(&mut journal, vector, false);
            } else if vector == own_vector::TIMER {
                self.schedule.fired(self.platform.cpu());
            } else if vector == own_vector::NMI {
                self.tell_nmi(&mut journal, false);
            }
            if alone {
                journal.log().end();
            }
            self.platform.end_of_interrupt();
        }
    }

    /// Vectors of the devices' interrupts that may come: any of them may have been in service on a CPU whose local
    /// APIC has forgotten it.
    pub fn device_vectors(&'static self) -> impl Iterator<Item = u8> {
        let irqs = self.state.irqs();
        let routes = (0..self.state.irqs.len()).filter_map(move |irq| irqs.route(irq));
        routes.filter(|route| route.vector != 0 && !route.masked).map(|route| route.vector)
    }

    /// Programs every pin, and every message in use, from the durable records: by the leader of recovery, with
    /// every outbox empty.
    pub fn restore_routes(&'static self) {
        let irqs = self.state.irqs();
        for irq in 0..self.state.irqs.len() {
            if irqs.device(irq).is_none() || irqs.route(irq).is_some() {
                self.platform.program_route(irq);
            }
        }
    }

    /// The journal, open, of the entry that an interrupt is or came in; it is beside any if the log was closed.
    fn interrupt_journal(&'static self) -> Journal<Applier<P>> {
        let loaded = self.schedule.loaded(self.platform.cpu());
        match (loaded, self.own_log().head().phase()) {
            (Some(vcpu), Phase::Undo | Phase::Outbox) => self.journal(self.state.contexts.context(vcpu)),
            _ => {
                self.own_log().begin();
                self.journal_beside()
            }
        }
    }

    fn own_log(&self) -> &'static Log {
        &self.state.logs[self.platform.cpu().0 as usize]
    }

    /// The event of a device's interrupt, in one transaction; `last`: it ends the entry. A level-triggered pin
    /// is masked when this returns, so that its end of interrupt does not bring it back.
    fn raise(&'static self, journal: &mut Journal<Applier<P>>, vector: u8, last: bool) {
        let irqs = self.state.irqs();
        let began = if self.state.traces.is_on() { self.platform.tsc() } else { 0 };
        let action = journal.change(|tx| {
            if last {
                tx.last();
            }
            irqs.on_interrupt(tx, vector)
        });
        if self.state.traces.is_on() {
            self.note_interrupt(action, vector, began);
        }
        if action == Action::Spurious {
            self.platform.log(format_args!("nobody's interrupt, vector {vector:#x}"));
        }
    }
}
