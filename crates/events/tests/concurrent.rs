//! Senders on two CPUs, one guest vCPU that consumes at the same time, and a third CPU that moves events
//! between queues: no event is lost, whatever the interleaving.

mod world;

use events::{Derived, Events, Region};
use guest_memory::{FakeMemory, GuestMemory};
use ids::{DomainSlot, Maddr, VcpuSlot};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;
use world::{Answer, Memory, Op, World};

const D: DomainSlot = DomainSlot(1);
const PORTS: u32 = 6;
const ROUNDS: u64 = 500_000;

/// The words of one vCPU's guest, and what it has seen.
struct Guest<'m> {
    mem: &'m FakeMemory,
    control: u64,
    array: u64,
    info: Maddr,
    heads: [u32; 16],
}

fn change(mem: &FakeMemory, at: Maddr, f: impl Fn(u32) -> u32) -> u32 {
    loop {
        let old = mem.load32(at);
        if mem.exchange32(at, old, f(old)).is_ok() {
            return old;
        }
    }
}

impl Guest<'_> {
    fn consume(&mut self, mut seen: impl FnMut(u32)) {
        if self.mem.load8(self.info) == 0 {
            return;
        }
        self.mem.store8(self.info, 0);
        let shared_ready = Maddr(self.control);
        let mut ready = change(self.mem, shared_ready, |_| 0);
        while ready != 0 {
            let queue = ready.trailing_zeros() as usize;
            let mut port = self.heads[queue];
            if port == 0 {
                port = self.mem.load32(Maddr(self.control + 8 + 4 * queue as u64));
            }
            let at = Maddr(self.array + 4 * u64::from(port));
            let word = change(self.mem, at, |word| word & !(1 << 29) & !0x1ffff);
            if word & 0x1ffff == 0 {
                ready &= !(1 << queue);
            }
            if word >> 30 == 0b10 {
                change(self.mem, at, |word| word & !(1 << 31));
                seen(port);
            }
            self.heads[queue] = word & 0x1ffff;
            ready |= change(self.mem, shared_ready, |_| 0);
        }
    }
}

fn send(region: Region, derived: &Derived, mem: &Memory, sent: &[AtomicU64], mut seed: u64) {
    let events = Events::new(region, derived, mem);
    for _ in 0..ROUNDS {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let port = 1 + (seed >> 33) as u32 % PORTS;
        sent[port as usize].fetch_add(1, Ordering::SeqCst);
        events.raise(D, port);
    }
}

/// Another CPU raises a port at one step of the switch to the FIFO ABI. Whether there was such a step.
fn raised_in_the_switch(at: u64) -> bool {
    let mut w = World::new();
    assert_eq!(w.run(Op::AllocUnbound(1, 0)), Answer::Value(1));
    let (region, derived, mem) = (w.region, w.derived, w.mem);
    let (go, start) = channel::<()>();
    let (finish, finished) = channel::<()>();
    let met = std::thread::scope(|scope| {
        let other = scope.spawn(move || {
            let met = start.recv().is_ok();
            if met {
                Events::new(region, derived, mem).raise(D, 1);
            }
            // The first may have gone on.
            let _ = finish.send(());
            met
        });
        let (mut go, mut steps) = (Some(go), 0);
        vault::step::arm(move || {
            steps += 1;
            if steps == at
                && let Some(go) = go.take()
            {
                go.send(()).expect("the other waits");
                // It may wait for a lock that is held here.
                let _ = finished.recv_timeout(Duration::from_millis(20));
            }
        });
        assert_eq!(w.run(Op::InitControl(1, 0)), Answer::Value(0));
        vault::step::disarm();
        other.join().expect("the other CPU")
    });
    assert_eq!(w.run(Op::ExpandArray(1)), Answer::Value(0));
    let seen = w.run(Op::Consume(1, 0));
    assert_eq!(seen, Answer::Consumed(met.then_some(1).into_iter().collect()), "raised at step {at}");
    met
}

#[test]
fn the_switch_to_queues_loses_no_event() {
    let steps = (1..).take_while(|at| raised_in_the_switch(*at)).count();
    assert!(steps > 10, "{steps}");
}

#[test]
fn no_interleaving_loses_an_event() {
    let mut w = World::new();
    for op in [Op::InitControl(1, 0), Op::InitControl(1, 1), Op::ExpandArray(1)] {
        assert_eq!(w.run(op), Answer::Value(0));
    }
    for port in 1..=PORTS {
        assert_eq!(w.run(Op::AllocUnbound(1, 0)), Answer::Value(port));
    }
    let (region, derived, mem) = (w.region, w.derived, w.mem);
    let counts = || (0..=PORTS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
    // What was sent, and how much of it was there when the guest looked.
    let (sent, noticed) = (counts(), counts());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let senders = [1, 2].map(|seed| {
            let sent = &sent;
            scope.spawn(move || send(region, derived, mem, sent, seed))
        });
        for vcpu in 0..2u32 {
            let (sent, noticed, stop) = (&sent, &noticed, &stop);
            let info = Events::new(region, derived, mem).vcpu_info(VcpuSlot(2 + vcpu)).unwrap();
            let control = World::frame(1, 1).maddr().0 + 128 * u64::from(vcpu);
            let array = World::frame(1, 2).maddr().0;
            let mut guest = Guest { mem: &mem.0, control, array, info, heads: [0; 16] };
            scope.spawn(move || {
                loop {
                    let last = stop.load(Ordering::SeqCst);
                    guest.consume(|port| {
                        let port = port as usize;
                        noticed[port].fetch_max(sent[port].load(Ordering::SeqCst), Ordering::SeqCst);
                    });
                    if last {
                        return;
                    }
                }
            });
        }
        // This CPU moves ports between vCPUs and priorities.
        let mut turn = 0;
        while senders.iter().any(|sender| !sender.is_finished()) {
            turn += 1;
            w.run(Op::BindVcpu(1, 1 + turn % 3, turn / 3 % 2));
            w.run(Op::SetPriority(1, 1 + turn % 4, turn % 5));
            w.run(Op::Unmask(1, 1 + turn % PORTS));
        }
        stop.store(true, Ordering::SeqCst);
    });
    for port in 1..=PORTS as usize {
        let (sent, noticed) = (sent[port].load(Ordering::SeqCst), noticed[port].load(Ordering::SeqCst));
        assert_eq!(noticed, sent, "port {port}: the last event was not noticed");
    }
}
