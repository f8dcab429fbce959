//! What a campaign of failures came to.

use std::collections::{BTreeMap, BTreeSet};

use crate::survive::agent::When;
use crate::survive::tail::Repair;

/// One failure and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panic {
    /// What was asked.
    pub(crate) when: When,
    /// The CPU.
    pub(crate) cpu: u64,
    /// The instruction before which it failed.
    pub(crate) address: u64,
    /// The image's symbol there.
    pub(crate) symbol: String,
    /// The function of the source, which may be inlined in the symbol's.
    pub(crate) function: String,
    /// Its log's head then.
    pub(crate) head: u64,
    /// Other CPUs in the hypervisor.
    pub(crate) others: u64,
    /// What the recovery did, if there was one.
    pub(crate) repair: Option<Repair>,
    /// Instructions of the hypervisor, on all CPUs, until the CPU that failed ran a guest again or idled.
    pub(crate) outage: u64,
    /// What was lost.
    pub(crate) lost: Option<String>,
}

/// From so many on a run is judged.
pub(crate) const JUDGED: usize = 100;
/// Distinct functions that have to be hit.
const FUNCTIONS: usize = 60;

/// Sums over all failures of a run.
#[derive(Debug)]
pub(crate) struct Figures<'p>(pub(crate) &'p [Panic]);

impl Figures<'_> {
    fn count(&self, is: impl Fn(&Panic) -> bool) -> usize {
        self.0.iter().filter(|panic| is(panic)).count()
    }

    fn did(&self, what: impl Fn(&Repair) -> bool) -> usize {
        self.count(|panic| panic.repair.as_ref().is_some_and(&what))
    }

    /// Failures of which something was lost.
    pub(crate) fn lost(&self) -> usize {
        self.count(|panic| panic.lost.is_some())
    }

    /// How often each symbol was hit, the most frequent first.
    pub(crate) fn functions(&self) -> Vec<(&str, usize)> {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for panic in self.0 {
            *times.entry(&panic.symbol).or_default() += 1;
        }
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        times
    }

    /// What a valid run has enough of: each with how many there are and how many there must be.
    fn demands(&self) -> [(&'static str, usize, usize); 5] {
        let all = self.0.len();
        let symbols: BTreeSet<&str> = self.0.iter().map(|panic| panic.symbol.as_str()).collect();
        [
            ("hit with a log open", self.count(|panic| panic.head & 3 != 0), all.div_ceil(2)),
            ("rolled back", self.did(|repair| repair.undone > 0), all.div_ceil(5)),
            ("rolled forward", self.did(|repair| repair.finished > 0), all.div_ceil(10)),
            ("hit with another CPU in the hypervisor", self.count(|panic| panic.others > 0), all.div_ceil(5)),
            ("distinct functions hit", symbols.len(), FUNCTIONS),
        ]
    }

    /// The table before the last line.
    pub(crate) fn table(&self) -> String {
        let functions = self.functions();
        let mut text: String =
            functions.iter().map(|(name, times)| format!("{times:6} in {name}\n")).collect();
        let nothing = self.did(|repair| repair.entries == 0);
        let begun = self.did(|repair| repair.entries > 0 && repair.undone == 0 && repair.finished == 0);
        text += &format!(
            "{nothing:6} found nothing in progress\n{begun:6} found entries that had written nothing\n"
        );
        for when in When::ALL {
            let what = match when {
                When::Any => "at a distance in all instructions of the hypervisor",
                When::Undo => "at a distance in those while writes could be undone",
                When::Outbox => "at a distance in those while an outbox was emptied",
                When::Both => "at a distance in those while all other CPUs were in the hypervisor",
                When::Fresh => "in functions that were not hit before, at any of their next executions",
            };
            text += &format!("{:6} {what}\n", self.count(|panic| panic.when == when));
        }
        let inlined: BTreeSet<&str> = self.0.iter().map(|panic| panic.function.as_str()).collect();
        text += &format!("{:6} distinct functions hit, inlined ones by themselves\n", inlined.len());
        for (what, found, wanted) in self.demands() {
            text += &format!("{found:6} {what} (a valid run has {wanted})\n");
        }
        text
    }

    /// Why the run says less than it should; `None`: it is valid, or too short to be judged.
    pub(crate) fn invalid(&self) -> Option<String> {
        if self.0.len() < JUDGED {
            return None;
        }
        let short = self.demands().into_iter().filter(|(_, found, wanted)| found < wanted);
        let short: Vec<String> =
            short.map(|(what, found, wanted)| format!("{found} of {wanted} {what}")).collect();
        (!short.is_empty()).then(|| format!("invalid: {}", short.join(", ")))
    }

    /// The last line.
    pub(crate) fn line(&self) -> String {
        let recovered = self.count(|panic| panic.repair.is_some() && panic.lost.is_none());
        let longest = self.0.iter().map(|panic| panic.outage).max().unwrap_or(0);
        let (all, lost) = (self.0.len(), self.lost());
        format!("panics={all} recovered={recovered} lost={lost} max_outage_instructions={longest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panics(count: usize) -> Vec<Panic> {
        let one = |index: usize| Panic {
            when: When::Any,
            cpu: 0,
            address: 0,
            symbol: format!("f{}", index % 70),
            function: String::new(),
            head: u64::from(index.is_multiple_of(2)),
            others: u64::from(index.is_multiple_of(4)),
            repair: Some(Repair {
                entries: 1,
                undone: u64::from(index.is_multiple_of(3)),
                finished: u64::from(!index.is_multiple_of(3)),
            }),
            outage: index as u64,
            lost: None,
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn the_last_line_and_its_judgement() {
        let mut all = panics(100);
        assert_eq!(Figures(&all).line(), "panics=100 recovered=100 lost=0 max_outage_instructions=99");
        assert_eq!(Figures(&all).invalid(), None);
        all[0].lost = Some("x".into());
        all[0].head = 0;
        assert_eq!(Figures(&all).lost(), 1);
        assert_eq!(Figures(&all).invalid().unwrap(), "invalid: 49 of 50 hit with a log open");
        assert_eq!(Figures(&all[..10]).invalid(), None);
    }
}
