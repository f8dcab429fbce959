//! What time costs: with twice the weight a vCPU pays half as much for it, so it gets twice as much.

/// Pays for one ns with a weight of 1. 128 bits of it last for ever.
const PRICE: u32 = 16;
/// ns that are charged at once at most: 18 minutes.
const MOST: u64 = 1 << 40;
/// Pay that is turned into time at most.
const MOST_PAY: u128 = 1 << 47;

/// What a vCPU of this weight pays for `ns`.
pub(crate) fn price(ns: u64, weight: u16) -> u128 {
    ((ns.min(MOST) << PRICE) / u64::from(weight.max(1))).into()
}

/// The ns that it gets for `pay`.
pub(crate) fn time_for(pay: u128, weight: u16) -> u64 {
    (pay.min(MOST_PAY) as u64 * u64::from(weight)) >> PRICE
}
