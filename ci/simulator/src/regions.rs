//! What the words of the vault are: records and fields, as they were carved.

use ids::VcpuSlot;
use std::ops::Range;
use timers::Runstate;
use vault::{Arena, Carved, Ground};

/// The regions of a vault.
#[derive(Debug, Clone)]
pub(crate) struct Regions {
    carved: Vec<Carved>,
    /// Address of the first word.
    base: usize,
}

impl Regions {
    /// Of what was carved from `arena`, which lies over `ground`.
    pub(crate) fn new(ground: Ground, arena: &Arena) -> Self {
        Self { carved: arena.carved().copied().collect(), base: ground.words().as_ptr() as usize }
    }

    /// Names a word: record, its index, field.
    pub(crate) fn describe(&self, word: usize) -> String {
        let at = self.base + word * 8;
        let inside =
            |region: &&Carved| (region.start..region.start + region.stride * region.count).contains(&at);
        let Some(region) = self.carved.iter().find(inside) else { return format!("word {word}") };
        let (index, offset) = ((at - region.start) / region.stride, (at - region.start) % region.stride);
        let touched = |field: &&vault::Field| field.offset < offset + 8 && offset < field.offset + field.size;
        let fields: Vec<String> = region
            .fields
            .iter()
            .filter(touched)
            .map(|field| match offset.saturating_sub(field.offset) {
                0 => field.name.to_string(),
                inner => format!("{}+{inner}", field.name),
            })
            .collect();
        format!("{} {index:#x} {}", region.name, fields.join(", "))
    }

    /// The words that a field of a record touches.
    fn words(&self, record: &str, index: usize, field: &str) -> Range<usize> {
        let named = |region: &&Carved| region.name == record;
        let Some(region) = self.carved.iter().find(named) else { return 0..0 };
        let Some(field) = region.fields.iter().find(|f| f.name == field) else { return 0..0 };
        let at = region.start - self.base + index * region.stride + field.offset;
        at / 8..(at + field.size).div_ceil(8)
    }

    /// The words of a vCPU's runstate that change when it goes from a state to itself: since when, and how long.
    pub(crate) fn runstate_times(&self, vcpu: VcpuSlot) -> [Range<usize>; 2] {
        ["entered", "spent"].map(|field| self.words("timers::VcpuTimer", vcpu.0 as usize, field))
    }

    /// A vCPU's runstate in a picture of the vault.
    pub(crate) fn runstate(&self, vault: &[u64], vcpu: VcpuSlot) -> Runstate {
        let state = self.words("timers::VcpuTimer", vcpu.0 as usize, "state").start;
        let [entered, spent] = self.runstate_times(vcpu);
        let mut times = [0; 4];
        times.copy_from_slice(&vault[spent]);
        Runstate { state: vault[state] as u32, entered: vault[entered.start], spent: times }
    }
}
