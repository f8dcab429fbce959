//! An entry of the guest as data: what it wrote before, its registers, the vector.

use crate::world::World;
use guest_memory::GuestMemory as _;
use ids::{CpuId, Maddr, Mfn, VcpuSlot};
use pv_cpu::Reg;
use system::own_vector;

/// A write of the guest's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Through its kernel's page tables; lost where they do not allow it.
    Virtual(u64, Vec<u8>),
    /// A word of a frame that it may write by some mapping.
    Word(Maddr, u64),
    /// A byte of such a frame.
    Byte(Maddr, u8),
    /// Such a frame is cleared.
    Clear(Mfn),
}

/// An entry.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// The CPU it comes on.
    pub cpu: u32,
    /// The vCPU that makes it.
    pub vcpu: Option<VcpuSlot>,
    /// The CPU sleeps: this interrupt wakes it, and the rest but `advance` means nothing.
    pub idle: Option<u8>,
    /// What it is, for figures.
    pub family: &'static str,
    /// Vector and error code (number of a hypercall).
    pub vector: u32,
    /// Error code or number.
    pub error: u32,
    /// Registers.
    pub registers: Vec<(Reg, u64)>,
    /// Writes before it.
    pub writes: Vec<Write>,
    /// CR2, if it is a page fault.
    pub fault_address: Option<u64>,
    /// ns that passed before it.
    pub advance: u64,
    /// The vCPU's extended state by now.
    pub fpu: u64,
}

impl Entry {
    /// The value a register has.
    pub fn register(&self, wanted: Reg) -> Option<u64> {
        self.registers.iter().rev().find(|(register, _)| *register == wanted).map(|(_, value)| *value)
    }

    /// Makes the machine what the entry finds.
    pub fn prepare(&self, world: &World) {
        let machine = world.machine;
        machine.now.set(machine.now.get() + self.advance);
        machine.devices.borrow_mut().kicked[self.cpu as usize] = false;
        let interrupt = self.idle.or_else(|| u8::try_from(self.vector).ok().filter(|vector| *vector >= 32));
        let now = machine.now.get();
        if interrupt == Some(own_vector::TIMER) {
            // One shot.
            machine.here(|cpu| cpu.timer = if cpu.timer <= now { u64::MAX } else { cpu.timer });
        }
        if let Some(vector) = interrupt.filter(|vector| !matches!(*vector, 0x80 | own_vector::SPURIOUS)) {
            machine.here(|cpu| cpu.in_service.push(vector));
        }
        let Some(vcpu) = world.system.schedule.loaded(CpuId(self.cpu)) else { return };
        if self.idle.is_some() {
            return;
        }
        let context = world.system.state.contexts.context(vcpu);
        for write in &self.writes {
            match write {
                Write::Virtual(va, bytes) => {
                    for (offset, byte) in (0..).zip(bytes) {
                        if let Some(at) = place(world, vcpu, va.wrapping_add(offset)) {
                            machine.memory.put_part(at, 1, (*byte).into());
                        }
                    }
                }
                Write::Word(at, value) => machine.memory.put(*at, *value),
                Write::Clear(mfn) => {
                    (0..512).for_each(|index| machine.memory.put(Maddr(mfn.0 * 4096 + index * 8), 0));
                }
                Write::Byte(at, value) => {
                    if machine.load8(*at) != *value {
                        machine.memory.put_part(*at, 1, (*value).into());
                    }
                }
            }
        }
        for (register, value) in &self.registers {
            context.registers.set(*register, *value);
        }
        context.registers.vector.set(self.vector);
        context.registers.error_code.set(self.error);
        machine.here(|cpu| {
            cpu.fault_address = self.fault_address.unwrap_or(cpu.fault_address);
            cpu.fpu = self.fpu;
        });
    }

    /// What stands by now where its vCPU has put arguments; `None`: no writable memory.
    pub(crate) fn arguments(&self, world: &World) -> Vec<Option<u8>> {
        let Some(vcpu) = self.vcpu else { return Vec::new() };
        let ranges = self.writes.iter().filter_map(|write| match write {
            Write::Virtual(va, bytes) => Some((*va, bytes.len() as u64)),
            _ => None,
        });
        let bytes = ranges.flat_map(|(va, len)| (0..len).map(move |offset| va.wrapping_add(offset)));
        bytes.map(|va| place(world, vcpu, va).map(|at| world.machine.load8(at))).collect()
    }
}

/// Where a vCPU's kernel writes.
fn place(world: &World, vcpu: VcpuSlot, va: u64) -> Option<Maddr> {
    let root = world.system.state.contexts.context(vcpu).root_kernel.get();
    world.machine.memory.translate(root, va, true)
}
