//! What a guest does by itself: masks its ports and handles its events, as Linux does.

use super::{Answer, VCPUS, World};
use guest_memory::GuestMemory as _;
use ids::{Maddr, VcpuSlot};
use std::collections::BTreeSet;

#[allow(dead_code, clippy::allow_attributes, reason = "each test binary uses some")]
impl World {
    pub(super) fn mask(&mut self, slot: u16, port: u32) -> Answer {
        if self.fifo(slot) && self.has_array(slot) {
            let at = Maddr(Self::frame(slot, 2).maddr().0 + 4 * u64::from(port % 1024));
            self.mem.0.store32(at, self.mem.0.load32(at) | 1 << 30);
        } else {
            let at = Maddr(Self::frame(slot, 0).maddr().0 + 2560 + u64::from(port / 64 * 8));
            self.mem.0.or64(at, 1 << (port % 64));
        }
        Answer::Value(0)
    }

    /// Whether the guest thinks it uses the FIFO ABI: its page says so.
    pub(super) fn fifo(&self, slot: u16) -> bool {
        self.mem.0.load64(Maddr(Self::frame(slot, 7).maddr().0)) & 1 != 0
    }

    fn has_array(&self, slot: u16) -> bool {
        self.mem.0.load64(Maddr(Self::frame(slot, 7).maddr().0)) & 2 != 0
    }

    /// The guest remembers what it has set up.
    pub(crate) fn note(&mut self, slot: u16, bits: u64) {
        self.mem.0.or64(Self::frame(slot, 7).maddr(), bits);
    }

    /// A vCPU handles its events if its upcall is pending, as Linux does.
    pub(super) fn consume(&mut self, slot: u16, vcpu: u32) -> BTreeSet<u32> {
        let mut seen = BTreeSet::new();
        let vcpu_slot = VcpuSlot(u32::from(slot) * VCPUS + vcpu);
        let Some(info) = self.events().vcpu_info(vcpu_slot) else { return seen };
        if self.mem.0.load8(info) == 0 {
            return seen;
        }
        self.mem.0.store8(info, 0);
        if self.fifo(slot) {
            self.consume_fifo(slot, vcpu, &mut seen)
        } else {
            self.consume_bits(slot, info, &mut seen)
        }
        seen
    }

    fn consume_bits(&self, slot: u16, info: Maddr, seen: &mut BTreeSet<u32>) {
        let shared = Self::frame(slot, 0).maddr().0;
        let selector = Maddr(info.0 + 8);
        let words = self.mem.0.load64(selector);
        self.mem.0.store64(selector, 0);
        for word in (0..64).filter(|word| words >> word & 1 != 0) {
            let at = Maddr(shared + 2048 + 8 * word);
            let active = self.mem.0.load64(at) & !self.mem.0.load64(Maddr(shared + 2560 + 8 * word));
            self.mem.0.and_not64(at, active);
            seen.extend((0..64).filter(|bit| active >> bit & 1 != 0).map(|bit| word as u32 * 64 + bit));
        }
    }

    fn consume_fifo(&mut self, slot: u16, vcpu: u32, seen: &mut BTreeSet<u32>) {
        let mem = &self.mem.0;
        let control = Self::frame(slot, 1).maddr().0 + 128 * u64::from(vcpu);
        let array = Self::frame(slot, 2).maddr().0;
        let guest = &mut self.guests[(u32::from(slot) * VCPUS + vcpu) as usize];
        let mut ready = mem.load32(Maddr(control));
        mem.store32(Maddr(control), 0);
        let mut turns = 0;
        while ready != 0 {
            turns += 1;
            assert!(turns < 5000, "a queue without end");
            let queue = ready.trailing_zeros() as usize;
            let mut head = guest.heads[queue];
            if head == 0 {
                head = mem.load32(Maddr(control + 8 + 4 * queue as u64));
            }
            let at = Maddr(array + 4 * u64::from(head));
            let word = mem.load32(at);
            let next = word & 0x1ffff;
            let mut left = word & !(1 << 29) & !0x1ffff;
            if next == 0 {
                ready &= !(1 << queue);
            }
            if left >> 30 == 0b10 {
                left &= !(1 << 31);
                seen.insert(head);
            }
            mem.store32(at, left);
            guest.heads[queue] = next;
            ready |= mem.load32(Maddr(control));
            mem.store32(Maddr(control), 0);
        }
    }
}
