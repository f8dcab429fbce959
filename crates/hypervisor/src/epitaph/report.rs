//! The report of failures in the log: each once, in their order, also if the next one comes before the first is told.

use core::fmt;

use super::{Epitaph, Failures, KEPT, Shown, failures};
use crate::console::{self, log};
use crate::sealed::sealed;
use crate::stop;

/// A report that a failure cuts is begun anew once. Not again: it may be what fails.
const MOST_REPORTS: u32 = 2;

/// Puts into the log what is not there yet: the last failure, and those whose recovery or report the next one cut.
///
/// By the CPU that led, when the others run already: a slow port is no part of the outage.
pub(crate) fn report() {
    failures().report(&|line| log!("{line}"));
}

/// The same when there will be no more life, and another CPU may hold the log.
pub(crate) fn last_words() {
    failures().report(&|line| console::print_unlocked(format_args!("{line}\n")));
}

impl Failures {
    fn report(&self, line: &dyn Fn(fmt::Arguments<'_>)) {
        let (last, first) = (self.generation.get(), self.reported.get() + 1);
        let kept = first.max((last + 1).saturating_sub(KEPT));
        if kept > first {
            line(format_args!("Failures {first} to {} came too fast to be kept", kept - 1));
        }
        for number in kept..=last {
            let epitaph = self.of(number);
            let begun = epitaph.reports.get();
            epitaph.reports.set(begun + 1);
            if begun < MOST_REPORTS {
                epitaph.report(line);
            }
            self.reported.set(number);
        }
    }
}

impl Epitaph {
    fn report(&self, line: &dyn Fn(fmt::Arguments<'_>)) {
        let (number, cpu, ticks) = (self.number.get(), self.cpu.get(), self.ticks.get());
        if ticks == 0 {
            line(format_args!("Failure {number} on CPU {cpu}, whose recovery did not come to its end"));
        } else {
            let us = ticks * 1000 / sealed().facts.timing.tsc_khz.max(1);
            line(format_args!(
                "Recovered from failure {number} on CPU {cpu}: {}, {ticks} TSC ticks, {us} us, {} NMIs so far",
                Shown(self, Epitaph::outcome),
                stop::nmis()
            ));
        }
        line(format_args!("{}", Shown(self, Epitaph::cause)));
        self.details(line);
    }
}
