//! What Dom0 writes to device memory that it may only read: memory-mapped configuration space, and pages with MSI-X
//! tables. A store is carried out as far as it is allowed; anything else remains a page fault.

use crate::System;
use crate::applier::Applier;
use crate::config_space::Register;
use crate::faults::publish;
use crate::platform::Platform;
use emulate::{Width, ptwr};
use ids::{FRAME_SIZE, Gva, Maddr, Mfn, VcpuSlot};
use irqs::Met;
use pv_cpu::Context;
use vault::Journal;

/// What a frame of device memory is to a write.
enum Place {
    Configuration(Register),
    /// A page that an MSI-X table makes read-only.
    Guarded,
}

impl<P: Platform> System<P> {
    /// Carries out a kernel's write to a read-only page of device memory. False: it is for the guest to handle. As with
    /// ports, a device gets a write again that a crash cuts.
    #[cold]
    #[inline(never)]
    pub(crate) fn write_to_device(
        &'static self,
        j: &mut Journal<Applier<P>>,
        vcpu: VcpuSlot,
        context: &'static Context,
        address: Gva,
        mfn: Mfn,
    ) -> bool {
        if !self.own_subject(vcpu).io || !self.state.mmu(self.platform).is_io(mfn) {
            return false;
        }
        let at = Maddr(mfn.maddr().0 + address.0 % FRAME_SIZE);
        let Some(place) = self.place(at) else { return false };
        let mut bytes = [0; emulate::MAX_INSTRUCTION_LENGTH];
        let length = self.fetch(context, &mut bytes);
        let registers = self.registers(context, &bytes[..length]);
        let Ok(store) = ptwr::decode_store(&bytes[..length], &registers, address) else { return false };
        let passed = match place {
            // No register has more.
            Place::Configuration(_) if store.width == Width::Qword => return false,
            Place::Configuration(register) => {
                self.filter_config(register, store.width.bytes() as u32, store.value as u32).map(u64::from)
            }
            Place::Guarded => match self.state.irqs().met(at, store.width.bytes()) {
                Some(Met::Messages) => None,
                Some(Met::Registers) | None => Some(store.value),
            },
        };
        if let Some(value) = passed {
            self.platform.write_device(at, store.width.bytes() as u32, value);
        }
        j.change(|tx| {
            publish(tx, context, &store.registers);
            tx.last();
        });
        true
    }

    fn place(&self, at: Maddr) -> Option<Place> {
        let spaces = &self.state.facts.acpi.config_spaces;
        let register = spaces.iter().find_map(|space| {
            let (bus, devfn, offset) = space.register(at)?;
            Some(Register { segment: space.segment, bus, devfn, offset })
        });
        let guarded = || self.state.io.is_guarded(at.mfn()).then_some(Place::Guarded);
        register.map(Place::Configuration).or_else(guarded)
    }
}
