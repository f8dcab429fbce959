//! Invariants of the durable records, checked from the records alone and by code of their own.

use crate::layout::{ARRAY_FRAMES, CHUNKS_PER_DOMAIN, MAX_PORTS, QUEUES, VIRQS};
use crate::port::{PortWord, State};
use crate::region::{DomainEvents, FIFO, RETIRING, Region};
use ids::{Maddr, Mfn};

/// A broken invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A slot without event channels has something left in it.
    DeadDomain(usize),
    /// A domain's sizes or modes are out of range.
    Domain(usize),
    /// A chunk is held twice, by nobody, or by another than its owner.
    Chunk(usize),
    /// The pool's list is broken.
    Pool(usize),
    /// A port of a domain slot is bound to what does not lead back to it.
    Port(usize, u32),
    /// A vCPU's record contradicts its domain's or a port's.
    Vcpu(usize),
    /// A queue's link was not completed.
    Queue(usize),
}

/// Checks every record of the region, with all outboxes empty. Bounded by its size.
///
/// # Errors
/// The first violation found.
pub fn audit(region: &Region) -> Result<(), Violation> {
    pool(region)?;
    for (slot, domain) in region.domains.iter().enumerate() {
        if domain.max_ports.get() == 0 {
            dead(domain).then_some(()).ok_or(Violation::DeadDomain(slot))?;
        } else {
            live(region, slot, domain)?;
        }
    }
    for slot in 0..region.vcpus.len() {
        vcpu(region, slot)?;
    }
    Ok(())
}

/// The frames that event channels hold, each by a typed and a general reference: event arrays, control blocks,
/// registered vcpu_infos. A frame held for several reasons is named for each.
pub fn held_frames(region: &Region, mut each: impl FnMut(Mfn)) {
    for domain in region.domains {
        domain.array.iter().filter(|frame| frame.get() != 0).for_each(|frame| each(Mfn(frame.get())));
    }
    for vcpu in region.vcpus {
        let info = if vcpu.registered.get() { vcpu.info.get() } else { 0 };
        let held = [vcpu.control.get(), info].into_iter().filter(|at| *at != 0);
        held.for_each(|at| each(Maddr(at).mfn()));
    }
}

fn dead(d: &DomainEvents) -> bool {
    let numbers = [d.first_vcpu.get(), d.max_vcpus.get(), d.cursor.get(), d.frames.get()];
    numbers == [0; 4] && d.abi.get() == 0 && !d.dying.get() && d.chunks.iter().all(|c| c.get() == 0)
}

fn live(region: &Region, slot: usize, d: &DomainEvents) -> Result<(), Violation> {
    let end = u64::from(d.first_vcpu.get()) + u64::from(d.max_vcpus.get());
    let fifo = matches!(d.abi.get(), FIFO | RETIRING);
    let sane = d.max_ports.get() <= MAX_PORTS
        && end <= region.vcpus.len() as u64
        && d.abi.get() <= RETIRING
        && d.frames.get() as usize <= ARRAY_FRAMES
        && (fifo || d.frames.get() == 0)
        && d.array.iter().enumerate().all(|(i, frame)| (i < d.frames.get() as usize) == (frame.get() != 0));
    if !sane {
        return Err(Violation::Domain(slot));
    }
    for index in 0..CHUNKS_PER_DOMAIN {
        let Some(chunk) = usize::from(d.chunks[index].get()).checked_sub(1) else { continue };
        let owner = region.chunks.get(chunk).ok_or(Violation::Chunk(chunk))?.owner.get();
        let twice = d.chunks[..index].iter().any(|other| other.get() == d.chunks[index].get());
        if owner as usize != slot + 1 || twice {
            return Err(Violation::Chunk(chunk));
        }
        for (i, record) in region.chunks[chunk].port.iter().enumerate() {
            let port = (index * 64 + i) as u32;
            if !port_is_sound(region, slot, d, port, record.word.get()) {
                return Err(Violation::Port(slot, port));
            }
        }
    }
    Ok(())
}

fn word_of(region: &Region, slot: usize, port: u32) -> Option<PortWord> {
    let entry = region.domains.get(slot)?.chunks.get(port as usize / 64)?.get();
    let chunk = region.chunks.get(usize::from(entry).checked_sub(1)?)?;
    Some(chunk.port[port as usize % 64].word.get())
}

fn port_is_sound(region: &Region, slot: usize, d: &DomainEvents, port: u32, word: PortWord) -> bool {
    if word.state() == State::Free {
        return word.0 == 0;
    }
    let vcpu = d.first_vcpu.get() as usize + usize::from(word.vcpu());
    let vcpu_lives = u32::from(word.vcpu()) < d.max_vcpus.get() && region.vcpus[vcpu].live.get();
    // A domain may hold unbound or interdomain ports before its first vCPU exists.
    let in_range = port != 0 && port < d.max_ports.get() && (vcpu_lives || word.vcpu() == 0);
    in_range
        && match word.state() {
            State::Interdomain => {
                let back = word_of(region, usize::from(word.domain()), word.peer());
                back.is_some_and(|back| {
                    back.state() == State::Interdomain
                        && back.peer() == port
                        && usize::from(back.domain()) == slot
                })
            }
            State::Virq => {
                let virq = word.peer() as usize;
                let own = matches!(virq, 0 | 1 | 7 | 13);
                let holder = d.first_vcpu.get() as usize + if own { usize::from(word.vcpu()) } else { 0 };
                virq < VIRQS && region.vcpus[holder].virq[virq].get() == port
            }
            State::Reserved => false,
            _ => true,
        }
}

fn vcpu(region: &Region, slot: usize) -> Result<(), Violation> {
    let v = &region.vcpus[slot];
    let wrong = Err(Violation::Vcpu(slot));
    if !v.live.get() {
        let empty = v.info.get() == 0 && v.control.get() == 0 && !v.registered.get();
        return if empty && v.virq.iter().all(|port| port.get() == 0) { Ok(()) } else { wrong };
    }
    let Some(d) = region.domains.get(usize::from(v.domain.get())) else { return wrong };
    let first = d.first_vcpu.get() as usize;
    let member = (first..first + d.max_vcpus.get() as usize).contains(&slot);
    let control = v.control.get();
    let placed =
        v.info.get().is_multiple_of(8) && control.is_multiple_of(8) && (control == 0 || d.abi.get() != 0);
    if d.max_ports.get() == 0 || !member || !placed {
        return wrong;
    }
    for (virq, port) in v.virq.iter().enumerate().filter(|(_, port)| port.get() != 0) {
        let word = word_of(region, usize::from(v.domain.get()), port.get());
        if !word.is_some_and(|w| w.state() == State::Virq && w.peer() as usize == virq) {
            return wrong;
        }
    }
    let complete = (0..QUEUES).all(|queue| v.queue[queue].get() >> 17 == 0);
    if complete { Ok(()) } else { Err(Violation::Queue(slot)) }
}

/// Every chunk ever used is either owned and in its owner's table, or once in the list.
fn pool(region: &Region) -> Result<(), Violation> {
    let fresh = region.shared.fresh.get() as usize;
    if fresh > region.chunks.len() {
        return Err(Violation::Pool(fresh));
    }
    let mut listed = 0;
    let mut next = region.shared.free.get() as usize;
    while next != 0 {
        listed += 1;
        if next > fresh || listed > fresh || region.chunks[next - 1].owner.get() != 0 {
            return Err(Violation::Pool(next));
        }
        next = region.chunks[next - 1].next.get() as usize;
    }
    let mut owned = 0;
    for (number, chunk) in region.chunks.iter().enumerate() {
        let Some(owner) = (chunk.owner.get() as usize).checked_sub(1) else {
            let clean = chunk.port.iter().all(|port| port.word.get().0 == 0);
            clean.then_some(()).ok_or(Violation::Chunk(number))?;
            continue;
        };
        owned += 1;
        let table = region.domains.get(owner).map(|d| d.chunks.as_slice()).unwrap_or_default();
        if number >= fresh || !table.iter().any(|entry| usize::from(entry.get()) == number + 1) {
            return Err(Violation::Chunk(number));
        }
    }
    if owned + listed == fresh { Ok(()) } else { Err(Violation::Pool(fresh)) }
}
