//! A guest switches to the FIFO ABI and gives frames for it.

use crate::layout::{ARRAY_FRAMES, CONTROL_SIZE, PORTS_PER_CHUNK};
use crate::region::{DomainEvents, FIFO, TWO_LEVEL};
use crate::{Error, Events, deliver, fifo};
use guest_memory::GuestMemory;
use ids::{DomainSlot, FRAME_SIZE, Mfn};
use vault::Tx;

impl<'l, M: GuestMemory> Events<'l, M> {
    /// `EVTCHNOP_init_control`: the control block of vCPU `id` lies at `offset` in `frame`, which the caller
    /// has translated and taken a writable-typed and a general reference on (both are dropped by reset and
    /// teardown, as effects). The first one switches the domain to the FIFO ABI; events pending then are
    /// raised when their words come. Answer [`LINK_BITS`](crate::LINK_BITS) to the guest.
    ///
    /// # Errors
    /// `NoSuchVcpu`; `Invalid`: the offset is misaligned or crosses the frame, or the vCPU has a control
    /// block already; `Again`: a reset is under way; `NoSuchDomain`.
    pub fn init_control(
        &self,
        tx: &mut Tx<'l>,
        slot: DomainSlot,
        id: u32,
        frame: Mfn,
        offset: u32,
    ) -> Result<(), Error> {
        let domain = self.lock(tx, slot)?;
        let (_, vcpu) = self.region.vcpu(domain, id)?;
        if u64::from(offset) > FRAME_SIZE - CONTROL_SIZE
            || !offset.is_multiple_of(8)
            || vcpu.control.get() != 0
        {
            return Err(Error::Invalid);
        }
        if !matches!(domain.abi.get(), FIFO | TWO_LEVEL) {
            return Err(Error::Again);
        }
        // Not in use while the vCPU has no control block; what an undone attempt leaves is overwritten.
        for queue in &vcpu.queue {
            queue.put(0);
        }
        tx.publish_set(&vcpu.control, frame.maddr().0 + u64::from(offset));
        if domain.abi.get() == TWO_LEVEL {
            tx.publish_set(&domain.abi, FIFO);
            // Behind the switch: until there, others raise events by the two-level ABI.
            tx.publish(deliver::switched(slot));
        }
        tx.publish(deliver::rescan(slot));
        Ok(())
    }

    /// Notes what is pending by the two-level ABI, which the domain uses no more. The caller holds the delivery lock.
    pub(crate) fn keep_pending(&self, domain: &DomainEvents) {
        for port in 1..domain.max_ports.get() {
            match self.bound(domain, port) {
                Ok(record) if self.is_pending_two_level(domain, port) => fifo::wait(record),
                _ => {}
            }
        }
    }

    /// `EVTCHNOP_expand_array`: one more frame of event words, referenced as for
    /// [`init_control`](Self::init_control). Events that waited for their words are raised.
    ///
    /// # Errors
    /// `NotSupported` before init_control; `NoSpace`: the array is complete; `NoSuchDomain`.
    pub fn expand_array(&self, tx: &mut Tx<'l>, slot: DomainSlot, frame: Mfn) -> Result<(), Error> {
        let domain = self.lock(tx, slot)?;
        if domain.abi.get() != FIFO {
            return Err(Error::NotSupported);
        }
        let frames = domain.frames.get();
        let entry = domain.array.get(frames as usize).ok_or(Error::NoSpace)?;
        tx.publish_set(entry, frame.0);
        tx.publish_set(&domain.frames, frames + 1);
        tx.publish(deliver::rescan(slot));
        Ok(())
    }
}

const _: () = assert!(ARRAY_FRAMES as u32 * 1024 == 1 << crate::LINK_BITS && PORTS_PER_CHUNK == 64);
