//! The durable records and the ways to them.

use crate::Error;
use crate::layout::{ARRAY_FRAMES, CHUNKS_PER_DOMAIN, PORTS_PER_CHUNK, QUEUES, VIRQS};
use crate::port::{PortWord, Traced};
use ids::{DomainSlot, VcpuSlot};
use vault::{Arena, Durable, record};

/// How a domain's events reach it.
pub(crate) const TWO_LEVEL: u8 = 0;
/// By the FIFO ABI.
pub(crate) const FIFO: u8 = 1;
/// Two-level again, while the frames of the FIFO ABI are being given back.
pub(crate) const RETIRING: u8 = 2;

record! {
    /// A domain's event channels. Lock: `Derived::domain`. Rebuild: the hint of the lowest free port.
    pub struct DomainEvents {
        /// Port numbers it may use, 0 excluded from allocation; 0 marks a slot without event channels.
        pub(crate) max_ports: Durable<u32>,
        /// Slot of its vCPU 0.
        pub(crate) first_vcpu: Durable<u32>,
        /// vCPU numbers it may use.
        pub(crate) max_vcpus: Durable<u32>,
        /// How far a reset or teardown has come.
        pub(crate) cursor: Durable<u32>,
        /// Machine address of shared_info.
        pub(crate) shared_info: Durable<u64>,
        /// Its identifier.
        pub(crate) domid: Durable<u16>,
        /// One of `TWO_LEVEL`, `FIFO`, `RETIRING`.
        pub(crate) abi: Durable<u8>,
        /// A teardown has begun.
        pub(crate) dying: Durable<bool>,
        /// Frames in `array`.
        pub(crate) frames: Durable<u32>,
        /// The pool's chunks that hold its ports, each plus one; 0 none.
        pub(crate) chunks: [Durable<u16>; CHUNKS_PER_DOMAIN],
        /// Frames of the FIFO event array. Each is held by a typed and a general reference.
        pub(crate) array: [Durable<u64>; ARRAY_FRAMES],
    }
}

record! {
    /// A vCPU's side of event delivery. Lock: `Derived::domain` of its domain. Rebuild: nothing.
    pub struct VcpuEvents {
        /// Machine address of its vcpu_info; 0 while it has none.
        pub(crate) info: Durable<u64>,
        /// Machine address of its FIFO control block; 0 none. Its frame is held as those of `array` are.
        pub(crate) control: Durable<u64>,
        /// The domain.
        pub(crate) domain: Durable<u16>,
        /// It exists.
        pub(crate) live: Durable<bool>,
        /// `info` lies in a frame the guest named, held as those of `array` are.
        pub(crate) registered: Durable<bool>,
        /// The port of each VIRQ; 0 none.
        pub(crate) virq: [Durable<u32>; VIRQS],
        /// Per FIFO queue: the tail, and the port being linked behind it. Repair: `repair_fifo`.
        pub(crate) queue: [Traced; QUEUES],
    }
}

record! {
    /// A port. Lock: the domain's (`word`); `link` is written by the outbox only. Rebuild: nothing.
    pub struct PortRecord {
        /// Its binding.
        pub(crate) word: Durable<PortWord>,
        /// The FIFO queue it was last linked into, and whether it waits for its word. Repair: `repair_fifo`.
        pub(crate) link: Traced,
    }
}

record! {
    /// 64 ports of one domain. Lock: the pool's (`owner`, `next`), the domain's (`port`). Rebuild: nothing.
    pub struct Chunk {
        /// The domain's slot plus one; 0 in the pool.
        pub(crate) owner: Durable<u32>,
        /// The next chunk of the pool's list, plus one.
        pub(crate) next: Durable<u32>,
        /// The ports.
        pub(crate) port: [PortRecord; PORTS_PER_CHUNK as usize],
    }
}

record! {
    /// What is not a domain's own. Lock: `Derived::pool`. Rebuild: nothing.
    pub struct Shared {
        /// First chunk of the list of returned ones, plus one.
        pub(crate) free: Durable<u32>,
        /// Chunks from here on were never used.
        pub(crate) fresh: Durable<u32>,
        /// Per global VIRQ: the slot of the domain that handles it (Dom0 unless the toolstack says else).
        pub(crate) handler: [Durable<u16>; VIRQS],
    }
}

/// Sizes of the region, fixed for the life of the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Domain slots.
    pub domains: usize,
    /// vCPU slots.
    pub vcpus: usize,
    /// Chunks of 64 ports; at most 65534.
    pub chunks: usize,
}

/// The durable state of all event channels.
#[derive(Clone, Copy)]
pub struct Region {
    pub(crate) domains: &'static [DomainEvents],
    pub(crate) vcpus: &'static [VcpuEvents],
    pub(crate) chunks: &'static [Chunk],
    pub(crate) shared: &'static Shared,
}

impl core::fmt::Debug for Region {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Region({}, {}, {})", self.domains.len(), self.vcpus.len(), self.chunks.len())
    }
}

impl Region {
    /// Carves the region out; `None` when the arena is too small or there are too many chunks.
    pub fn carve(arena: &mut Arena, counts: Counts) -> Option<Self> {
        if counts.chunks > usize::from(u16::MAX) - 1 || counts.domains > usize::from(u16::MAX) {
            return None;
        }
        Some(Self {
            shared: arena.carve::<Shared>(1)?.first()?,
            domains: arena.carve(counts.domains)?,
            vcpus: arena.carve(counts.vcpus)?,
            chunks: arena.carve(counts.chunks)?,
        })
    }

    /// A domain that has event channels.
    pub(crate) fn domain(&self, slot: DomainSlot) -> Result<&'static DomainEvents, Error> {
        let domain = self.domains.get(usize::from(slot.0)).ok_or(Error::NoSuchDomain)?;
        if domain.max_ports.get() == 0 { Err(Error::NoSuchDomain) } else { Ok(domain) }
    }

    /// A domain's vCPU by its number.
    pub(crate) fn vcpu(
        &self,
        domain: &DomainEvents,
        id: u32,
    ) -> Result<(VcpuSlot, &'static VcpuEvents), Error> {
        if id >= domain.max_vcpus.get() {
            return Err(Error::NoSuchVcpu);
        }
        let slot = domain.first_vcpu.get().checked_add(id).ok_or(Error::NoSuchVcpu)?;
        self.vcpu_at(VcpuSlot(slot)).map(|vcpu| (VcpuSlot(slot), vcpu))
    }

    /// A vCPU by its slot.
    pub(crate) fn vcpu_at(&self, slot: VcpuSlot) -> Result<&'static VcpuEvents, Error> {
        let vcpu = self.vcpus.get(slot.0 as usize).ok_or(Error::NoSuchVcpu)?;
        if vcpu.live.get() { Ok(vcpu) } else { Err(Error::NoSuchVcpu) }
    }

    /// A port whose chunk exists (`port_is_valid` of the ABI's words).
    pub(crate) fn port(&self, domain: &DomainEvents, port: u32) -> Result<&'static PortRecord, Error> {
        if port >= domain.max_ports.get() {
            return Err(Error::Invalid);
        }
        let chunk = domain.chunks.get((port / PORTS_PER_CHUNK) as usize).ok_or(Error::Invalid)?.get();
        let chunk = usize::from(chunk).checked_sub(1).ok_or(Error::Invalid)?;
        let chunk = self.chunks.get(chunk).ok_or(Error::Invalid)?;
        Ok(&chunk.port[(port % PORTS_PER_CHUNK) as usize])
    }
}
