//! Hypercalls on the guest's memory.

use super::{Guest, HyperCall};
use crate::world::World;
use xen_abi::hypercall;
use xen_abi::xen::DOMID_SELF;

const INCREASE: u64 = 0;
const DECREASE: u64 = 1;
const POPULATE: u64 = 6;
const EXCHANGE: u64 = 11;

impl Guest {
    /// `xen_memory_reservation` as words.
    fn reservation(&mut self, list: u64, count: u64, order: u64) -> [u64; 4] {
        let flags = self.r.pick(&[0, 0, 0, 0, 32, 20, 64]);
        let whom = if self.r.chance(97) { DOMID_SELF.into() } else { self.r.pick(&[0, 1]) };
        [list, count, order | flags << 32, whom]
    }

    pub(super) fn memory_op(&mut self, world: &World) -> HyperCall {
        let (op, at) = match self.r.below(10) {
            0..=3 => {
                let order = self.r.pick(&[0, 0, 0, 0, 1, 3, 6]);
                let list = self.frame_list(world, order);
                let at = self.args.words(&mut self.r, &list);
                let reservation = self.reservation(at, list.len() as u64, order);
                (DECREASE, self.args.words(&mut self.r, &reservation))
            }
            4..=6 => {
                let count = 1 + self.r.below(10);
                let order = self.r.pick(&[0, 0, 0, 0, 1, 1, 2, 4, 6, 7]);
                let numbers: Vec<u64> = (0..count).map(|_| self.r.below(2000)).collect();
                let list = self.args.words(&mut self.r, &numbers);
                let op = self.r.pick(&[POPULATE, POPULATE, INCREASE]);
                let list = if op == INCREASE && self.r.chance(30) { 0 } else { list };
                let reservation = self.reservation(list, count, order);
                (op, self.args.words(&mut self.r, &reservation))
            }
            7 | 8 => (EXCHANGE, self.exchange(world)),
            _ => {
                let op = self.r.pick(&[2, 3, 4, 5, 9, 10, 12, 14, 17, 18, 23, 24, 26, 27, 40]);
                let list = self.args.room(&mut self.r, 64);
                let words =
                    if op == 5 || op == 10 { [2, list, 0, 0] } else { [DOMID_SELF.into(), 5, 0, list] };
                (op, self.args.words(&mut self.r, &words))
            }
        };
        HyperCall::new(hypercall::MEMORY_OP, [op, at, 0, 0, 0])
    }

    /// Extents to give back: mostly frames that nothing maps.
    fn frame_list(&mut self, world: &World, order: u64) -> Vec<u64> {
        let loose = self.view.frames(world, |u| u.typed() == 0 && u.refs() == 1 && !u.is_validated());
        let count = if order == 0 { 1 + self.r.below(10) } else { 1 + self.r.below(3) };
        let mut list = Vec::new();
        let mut at = self.r.below(loose.len().max(1) as u64) as usize;
        while list.len() < count as usize {
            let frame = match loose.get(at) {
                Some(frame) if self.r.chance(96) => *frame,
                _ => self.view.frame(world, &mut self.r),
            };
            list.push(frame & !((1 << order) - 1));
            at += 1 << order;
        }
        list
    }

    fn exchange(&mut self, world: &World) -> u64 {
        let (order_in, order_out) = self.r.pick(&[(0, 0), (0, 0), (0, 1), (0, 3), (1, 0), (2, 2), (7, 0)]);
        let pages = self.r.pick(&[1_u64, 2, 4, 8]) << order_out.max(order_in).min(3);
        let given = self.frame_list(world, order_in);
        let wanted = (pages >> order_in).max(1) as usize;
        let mut list: Vec<u64> = given.iter().copied().cycle().take(wanted).collect();
        let loose = self.view.frames(world, |u| u.typed() == 0 && u.refs() == 1 && !u.is_validated());
        if order_in == 0 && loose.len() >= wanted {
            let first = self.r.below((loose.len() - wanted + 1) as u64) as usize;
            list.copy_from_slice(&loose[first..first + wanted]);
        }
        let numbers: Vec<u64> = (0..(pages >> order_out).max(1)).map(|_| self.r.below(2000)).collect();
        let at_in = self.args.words(&mut self.r, &list);
        let at_out = self.args.words(&mut self.r, &numbers);
        let mut argument = self.reservation(at_in, list.len() as u64, order_in).to_vec();
        argument.extend(self.reservation(at_out, numbers.len() as u64, order_out));
        argument.push(if self.r.chance(95) { 0 } else { self.r.below(3) });
        self.args.words(&mut self.r, &argument)
    }
}
