//! What the toolstack asks the scheduler: shares, affinity, CPU pools.

use super::{Guest, HyperCall};
use crate::world::World;
use xen_abi::hypercall;

/// Of both interfaces.
const VERSION: u64 = 0x15 << 32;

impl Guest {
    /// `domctl` or `sysctl` on what the scheduler keeps.
    pub(super) fn scheduler_call(&mut self, world: &World) -> HyperCall {
        // Only where it is not promised anyhow who runs where.
        let free = world.size.cpus == 1 || world.size.vcpus > world.size.cpus;
        match self.r.below(10) {
            0..=2 if free => self.affinity(world),
            3..=6 if free => self.pool(),
            7 => self.rate(),
            _ => self.share(),
        }
    }

    pub(super) fn domctl(&mut self, command: u64, domain: u64, member: &[u64]) -> HyperCall {
        let mut words = vec![command | VERSION, domain];
        words.extend(member);
        words.resize(18, 0);
        let at = self.args.words(&mut self.r, &words);
        HyperCall::new(hypercall::DOMCTL, [at, 0, 0, 0, 0])
    }

    fn sysctl(&mut self, command: u64, member: &[u64]) -> HyperCall {
        let mut words = vec![command | VERSION];
        words.extend(member);
        words.resize(17, 0);
        let at = self.args.words(&mut self.r, &words);
        HyperCall::new(hypercall::SYSCTL, [at, 0, 0, 0, 0])
    }

    fn affinity(&mut self, world: &World) -> HyperCall {
        let maps = [0, 1].map(|_| {
            let map = self.r.pick(&[1, 2, 3, 3, 0xff, 0xff, 0, 4]);
            // As long as the longest that is asked for: an answer over its own request is no answer.
            self.args.words(&mut self.r, &[map, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        });
        let vcpu = self.r.below(u64::from(world.size.vcpus) + 1);
        let flags = self.r.pick(&[1, 1, 2, 3, 3, 5, 4, 0]);
        let command = self.r.pick(&[9, 9, 9, 25]);
        let bits = self.r.pick(&[8, 64, 1, 600]);
        self.domctl(command, 0, &[vcpu | flags << 32, maps[0], bits, maps[1], bits])
    }

    /// No caps: budgets are full again after a failure.
    fn share(&mut self) -> HyperCall {
        let share = self.r.pick(&[0, 1, 256, 700, 65535, 256 | 40_000 << 16]);
        let scheduler = self.r.pick(&[6, 6, 6, 5]);
        let put = self.r.pick(&[0, 0, 1, 2]);
        self.domctl(16, 0, &[scheduler | put << 32, share])
    }

    fn rate(&mut self) -> HyperCall {
        let pool = self.r.below(3);
        let us = self.r.pick(&[0, 99, 100, 1000, 5000]);
        let put = self.r.below(2);
        self.sysctl(19, &[pool | 6 << 32, put, us])
    }

    fn pool(&mut self) -> HyperCall {
        let any = u64::from(u32::MAX);
        let op = self.r.pick(&[1, 2, 3, 4, 4, 5, 5, 7]);
        let id = self.r.pick(&[0, 0, 1, 2, 7, any]);
        let cpu = self.r.pick(&[0, 1, 1, any]);
        let map = self.args.words(&mut self.r, &[0]);
        self.sysctl(18, &[op | id << 32, 6, cpu, map, 8])
    }
}
