//! CPUID leaves in the order and number in which the toolstack exchanges them.
//!
//! Stock toolstacks link their own code for it and search the list by leaf and subleaf: it is ascending, has the first
//! cache (leaf 4) and level (leaf b) that there is not, and the two bounds of hypervisors' leaves.

use crate::cpuid::{EXTENDED, Leaf, MAX_BASIC_LEAF, MAX_EXTENDED_LEAF, NO_SUBLEAF};

/// Leaves a list has at most.
pub const MOST_LEAVES: u32 = 120;
/// First leaf of a hypervisor, and first of a second one.
pub const HYPERVISOR_LEAVES: [u32; 2] = [0x4000_0000, 0x4000_0100];

/// Subleaves of leaf 4, 7, b and d that lists have room for.
pub(crate) const SUBLEAVES: [(u32, u32); 4] = [(4, 6), (7, 3), (0xb, 2), (0xd, 63)];

/// Calls `each(leaf, subleaf or NO_SUBLEAF, value)` for every leaf that `get(leaf, subleaf)` has.
///
/// # Errors
/// What `each` says; then it is not called again.
pub fn each_leaf<E>(
    get: &impl Fn(u32, u32) -> Leaf,
    mut each: impl FnMut(u32, u32, Leaf) -> Result<(), E>,
) -> Result<(), E> {
    for leaf in 0..=get(0, 0).eax.min(MAX_BASIC_LEAF) {
        match SUBLEAVES.iter().find(|(number, _)| *number == leaf) {
            None => each(leaf, NO_SUBLEAF, get(leaf, 0))?,
            Some((_, room)) => {
                for subleaf in 0..subleaves(get, leaf).min(*room) {
                    each(leaf, subleaf, get(leaf, subleaf))?;
                }
            }
        }
    }
    for leaf in HYPERVISOR_LEAVES {
        each(leaf, NO_SUBLEAF, get(leaf, 0))?;
    }
    let last = get(EXTENDED, 0).eax & 0xffff;
    for number in 0..=last.min(MAX_EXTENDED_LEAF - EXTENDED) {
        each(EXTENDED | number, NO_SUBLEAF, get(EXTENDED | number, 0))?;
    }
    Ok(())
}

/// How many subleaves a list has of one of [`SUBLEAVES`].
fn subleaves(get: &impl Fn(u32, u32) -> Leaf, leaf: u32) -> u32 {
    /// The first one that has no type, which is listed too.
    fn untyped(present: impl Fn(u32) -> bool) -> u32 {
        (0..8).find(|subleaf| !present(*subleaf)).unwrap_or(8) + 1
    }
    match leaf {
        4 => untyped(|subleaf| get(4, subleaf).eax & 0x1f != 0),
        7 => get(7, 0).eax.saturating_add(1),
        0xb => untyped(|subleaf| get(0xb, subleaf).ecx & 0xff00 != 0),
        _ => {
            let (user, supervisor) = (get(0xd, 0), get(0xd, 1));
            let [low, high] = [user.eax | supervisor.ecx, user.edx | supervisor.edx].map(u64::from);
            // The first two are always there.
            (64 - (low | high << 32).leading_zeros()).max(2)
        }
    }
}
