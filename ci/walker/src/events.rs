//! Event channels: every binding leads back to where it came from (port words: `events/src/port.rs`).

use crate::Report;
use crate::machine::{Column, Machine};

const PORTS: usize = 64;
/// VIRQs of each vCPU by itself (public/xen.h: TIMER, DEBUG, XENOPROF, XENPMU); the others are the domain's.
const OWN_VIRQS: [u64; 4] = [0, 1, 7, 13];

const UNBOUND: u64 = 2;
const INTERDOMAIN: u64 = 3;
const PIRQ: u64 = 4;
const VIRQ: u64 = 5;
const IPI: u64 = 6;

/// A port's word.
#[derive(Debug, Clone, Copy)]
struct Port {
    state: u64,
    vcpu: u64,
    peer: u64,
    domain: u64,
}

impl Port {
    fn decode(word: u64) -> Port {
        Port { state: word & 7, vcpu: word >> 8 & 0xffff, peer: word >> 24 & 0xff_ffff, domain: word >> 48 }
    }
}

/// The columns in question.
struct Ports<'r> {
    /// Chunk numbers plus one, by domain.
    chunks: Column<'r>,
    /// By chunk: word and link of each port.
    port: Column<'r>,
    domains: usize,
}

impl Ports<'_> {
    fn word(&self, slot: usize, port: u64) -> Option<u64> {
        let index = usize::try_from(port).ok()?;
        let chunk = self.chunks.at(slot, index / PORTS).checked_sub(1)? as usize;
        Some(self.port.at(chunk, index % PORTS * 2))
    }

    fn get(&self, slot: usize, port: u64) -> Option<Port> {
        self.word(slot, port).map(Port::decode)
    }
}

/// Checks every port and every vCPU's side.
pub(crate) fn check(machine: &Machine<'_>, report: &mut Report) -> Result<(), String> {
    let domains = machine.records("events::DomainEvents")?;
    let chunks = machine.records("events::Chunk")?;
    let vcpus = machine.records("events::VcpuEvents")?;
    let pirqs = machine.records("irqs::IrqRecord")?;
    let (irq_port, irq_pirq, irq_domain) =
        (pirqs.column("port", 4)?, pirqs.column("pirq", 4)?, pirqs.column("domain", 4)?);
    let ports = Ports {
        chunks: domains.column("chunks", 2)?,
        port: chunks.column("port", 8)?,
        domains: domains.count,
    };
    if ports.port.len != PORTS * 2 {
        return Err("a chunk has another shape".into());
    }
    let owner = chunks.column("owner", 4)?;
    let (max_ports, first, most) =
        (domains.column("max_ports", 4)?, domains.column("first_vcpu", 4)?, domains.column("max_vcpus", 4)?);
    let (virq, live, of) = (vcpus.column("virq", 4)?, vcpus.column("live", 1)?, vcpus.column("domain", 2)?);
    let bound_irq = |slot: usize, pirq: u64, port: u64| {
        (0..pirqs.count).any(|irq| {
            irq_port.at(irq, 0) == port
                && irq_pirq.at(irq, 0) == pirq
                && irq_domain.at(irq, 0) == slot as u64 + 1
        })
    };
    let mut used = 0;
    for slot in 0..ports.domains {
        for (index, chunk) in ports.chunks.all(slot).enumerate().filter(|(_, chunk)| *chunk != 0) {
            used += 1;
            if owner.at(chunk as usize - 1, 0) != slot as u64 + 1 {
                report.wrong(format!(
                    "events: chunk {chunk} of slot {slot} has owner {}",
                    owner.at(chunk as usize - 1, 0)
                ));
            }
            for number in (index * PORTS) as u64..((index + 1) * PORTS) as u64 {
                let word = ports.word(slot, number).unwrap_or(0);
                let port = Port::decode(word);
                if port.state == 0 {
                    if word != 0 {
                        report.wrong(format!("events: free port {number} of slot {slot} holds {word:#x}"));
                    }
                    continue;
                }
                report.ports += 1;
                let vcpu = (first.at(slot, 0) + port.vcpu) as usize;
                let placed = number != 0
                    && number < max_ports.at(slot, 0)
                    && port.vcpu < most.at(slot, 0)
                    && (live.at(vcpu, 0) != 0 || port.vcpu == 0);
                let bound = match port.state {
                    UNBOUND | IPI => true,
                    INTERDOMAIN => ports.get(port.domain as usize, port.peer).is_some_and(|back| {
                        back.state == INTERDOMAIN && back.peer == number && back.domain == slot as u64
                    }),
                    VIRQ => {
                        let own = OWN_VIRQS.contains(&port.peer);
                        let holder = if own { vcpu } else { first.at(slot, 0) as usize };
                        virq.at(holder, port.peer as usize) == number
                    }
                    PIRQ => bound_irq(slot, port.peer, number),
                    _ => false,
                };
                if !placed || !bound {
                    report.wrong(format!("events: port {number} of slot {slot}: {port:?}"));
                }
            }
        }
    }
    let owned = (0..chunks.count).filter(|chunk| owner.at(*chunk, 0) != 0).count();
    if owned != used {
        report.wrong(format!("events: {owned} chunks have an owner, {used} are in use"));
    }
    for vcpu in 0..vcpus.count {
        for (number, port) in virq.all(vcpu).enumerate().filter(|(_, port)| *port != 0) {
            let back = ports.get(of.at(vcpu, 0) as usize, port);
            let right = back.is_some_and(|back| back.state == VIRQ && back.peer == number as u64);
            if live.at(vcpu, 0) == 0 || !right {
                report
                    .wrong(format!("events: VIRQ {number} of vCPU slot {vcpu} is at port {port}: {back:?}"));
            }
        }
    }
    Ok(())
}
