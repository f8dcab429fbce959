//! Lists of hypercalls.

use super::{Guest, HyperCall};
use crate::world::World;
use xen_abi::hypercall;

impl Guest {
    pub(super) fn multicall(&mut self, world: &World) -> HyperCall {
        let count = if self.r.chance(3) { 33 } else { 1 + self.r.below(6) };
        let mut words = Vec::new();
        for _ in 0..count {
            let call = match self.r.below(20) {
                0 => HyperCall::new(hypercall::MULTICALL, [0; 5]),
                _ if count == 33 => HyperCall::new(hypercall::XEN_VERSION, [0; 5]),
                _ => self.any_call(world),
            };
            words.extend([call.number, 0x1111]);
            words.extend(call.args);
            words.push(0);
        }
        let at = self.args.words(&mut self.r, &words);
        HyperCall::new(hypercall::MULTICALL, [at, count, 0, 0, 0])
    }
}
