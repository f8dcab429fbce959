//! One hypercall in progress.

use crate::reply::Reply;
use crate::told::Told;
use domain::State;
use frames::Owner;
use guest_memory::{Fault, GuestMemory};
use ids::{DomId, DomainSlot, VcpuSlot};
use pv_cpu::{Context, Reg, set_register};
use pv_mmu::{MmuError, Subject};
use vault::{Apply, Journal, Tx};
use xen_abi::Errno;

/// Tells the time to those who ask.
pub trait Clock {
    /// System time: ns since boot, never going back, not even over a microreboot.
    fn now(&self) -> u64;
}

/// Knows what the CPUs are doing.
pub trait Cpus {
    /// Whether a CPU holds registers of a vCPU. One of a domain that may not run is let go of soon.
    fn hold(&self, vcpu: VcpuSlot) -> bool;
    /// Notes an event of this CPU in its trace buffer, without its time if `timed` is false. Ask
    /// [`trace_buffers::Region::is_on`] before.
    fn trace(&self, event: u32, timed: bool, words: &[u32]);
}

/// A hypercall of the current vCPU.
pub struct Call<'a, M: 'static, A> {
    /// All state.
    pub state: &'static State,
    /// Memory.
    pub memory: &'static M,
    /// This CPU's journal.
    pub j: &'a mut Journal<A>,
    /// The caller's domain.
    pub domain: DomainSlot,
    /// The calling vCPU.
    pub vcpu: VcpuSlot,
    /// Its context.
    pub context: &'static Context,
    /// The arguments, copied once.
    pub args: [u64; 5],
    /// The time.
    pub clock: &'a dyn Clock,
    /// The CPUs.
    pub cpus: &'a dyn Cpus,
    /// Where the result goes.
    pub reply: Reply,
}

impl<M: 'static, A> core::fmt::Debug for Call<'_, M, A> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Call({:?}, {:?}, {:x?})", self.domain, self.vcpu, self.args)
    }
}

/// What comes of a hypercall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The result, not yet given to the guest. Nothing was changed that a repetition would change again.
    Value(i64),
    /// The guest's registers (or its multicall entry) have the result: committed.
    Replied,
    /// Registers were committed that make the guest run the hypercall again for the rest.
    Again,
    /// As `Replied`, and the vCPU gives up the CPU.
    Yield,
    /// As `Replied`, and the vCPU waits (its durable state says for what).
    Block,
    /// As `Replied`, and the domain has ended ([`shut_down`](crate::shut_down)): Dom0's end is the machine's.
    Shutdown,
    /// The domain is to be crashed.
    Crash(Crash),
}

/// Why a domain is crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// `iret` with a frame that cannot be.
    BadIret,
    /// The kernel stack cannot be written.
    BadKernelStack,
    /// It asked for it (`SHUTDOWN_crash`).
    Asked,
    /// An exception without a handler: its vector.
    Unhandled(u8),
    /// The hypervisor failed on its behalf too often.
    TooManyFailures,
    /// A CPU had to be taken over that nothing is known of: its registers are lost.
    RegistersLost,
}

/// Result of a handler.
pub(crate) type CallResult = Result<Outcome, Errno>;

impl<'a, M: GuestMemory + 'static, A: Apply> Call<'a, M, A> {
    /// Elements of this call that earlier transactions committed.
    pub fn done(&self) -> u64 {
        self.reply.inner_progress(self.j.log().head().progress())
    }

    /// System time, ns.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Notes events.
    #[inline(always)]
    pub(crate) fn told(&self) -> Told<'a> {
        Told { state: self.state, cpus: self.cpus }
    }

    /// Publishes the result as part of a transaction and ends the call with it.
    #[inline]
    pub fn finish(&self, tx: &mut Tx<'_>, value: i64) {
        self.reply.publish(tx, value);
    }

    /// One transaction that does `change` and replies 0.
    ///
    /// # Errors
    /// What `change` says; then nothing has changed.
    pub fn reply_after(&mut self, change: impl FnOnce(&mut Tx<'static>) -> Result<(), Errno>) -> CallResult {
        let reply = self.reply;
        self.j.transaction(|tx| {
            change(tx)?;
            reply.publish(tx, 0);
            Ok(Outcome::Replied)
        })
    }

    /// Makes the guest run the hypercall again, with these registers changed. Inside a multicall the
    /// entry's arguments are changed instead, and the multicall itself is what is run again.
    pub fn again(&mut self, changed: &[(Reg, u64)]) -> Outcome {
        self.again_with(changed, |_| {})
    }

    /// As [`again`](Self::again); `also` publishes, in the same transaction, what else the repetition goes
    /// by (a progress count in guest memory).
    pub fn again_with(&mut self, changed: &[(Reg, u64)], also: impl FnOnce(&mut Tx<'static>)) -> Outcome {
        let (reply, context) = (self.reply, self.context);
        self.j.change(|tx| {
            also(tx);
            match reply {
                Reply::Register(registers) => {
                    // It may have had a result already, by a run of this entry that a crash undid.
                    registers.set(Reg::Rax, registers.error_code.get().into());
                    for (register, value) in changed {
                        set_register(tx, *register, *value);
                    }
                    let rip = context.registers.get(Reg::Rip);
                    // The instruction that made the hypercall is two bytes long.
                    set_register(tx, Reg::Rip, rip.wrapping_sub(2));
                    tx.last();
                }
                Reply::Entry { .. } => reply.publish_arguments(tx, changed),
            }
        });
        Outcome::Again
    }

    /// Turns `ERESTART`, which no guest sees, into a repetition of the hypercall.
    pub(crate) fn restartable(&mut self, result: CallResult) -> CallResult {
        match result {
            Err(Errno::ERESTART) => Ok(self.again(&[])),
            result => result,
        }
    }

    /// Whether the caller is Dom0.
    pub fn is_privileged(&self) -> bool {
        self.state.domains.domain(self.domain).privileged.get()
    }

    /// Refuses callers other than Dom0.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn privileged(&self) -> Result<(), Errno> {
        if self.is_privileged() { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// What was decoded of a control interface, which is Dom0's alone.
    ///
    /// # Errors
    /// `EPERM`; a version that is not known is refused before. What decoding says.
    pub(crate) fn privileged_request<R>(&self, decoded: Result<R, Errno>) -> Result<R, Errno> {
        if !matches!(decoded, Err(Errno::EACCES)) {
            self.privileged()?;
        }
        decoded
    }

    /// On whose behalf page tables change: the caller's tables, its own frames or `foreign`'s.
    ///
    /// # Errors
    /// `ESRCH`: no such domain; `EPERM`: not the caller's to name.
    #[inline(always)]
    pub fn subject(&self, foreign: u16) -> Result<Subject, Errno> {
        if foreign == xen_abi::xen::DOMID_SELF {
            let own = Owner::domain(self.domain);
            return Ok(Subject { tables: own, leaves: own, io: self.is_privileged() });
        }
        self.subject_named(foreign)
    }

    #[inline(never)]
    fn subject_named(&self, foreign: u16) -> Result<Subject, Errno> {
        let own = Owner::domain(self.domain);
        let io = self.is_privileged();
        if DomId(foreign) == self.state.domains.domain(self.domain).id.get() {
            return Ok(Subject { tables: own, leaves: own, io });
        }
        if !io {
            return Err(Errno::EPERM);
        }
        if foreign == xen_abi::xen::DOMID_IO {
            return Ok(Subject { tables: own, leaves: Owner::IO, io });
        }
        if foreign == xen_abi::xen::DOMID_XEN {
            return Ok(Subject { tables: own, leaves: Owner::SHOWN, io });
        }
        let slot = self.state.domains.by_id(DomId(foreign)).ok_or(Errno::ESRCH)?;
        Ok(Subject { tables: own, leaves: Owner::domain(slot), io })
    }

    /// The slot a domain number means to this caller: itself, or any if it is privileged.
    ///
    /// # Errors
    /// `ESRCH`, `EPERM`.
    pub fn domain_slot(&self, id: u16) -> Result<DomainSlot, Errno> {
        if id == xen_abi::xen::DOMID_SELF || DomId(id) == self.state.domains.domain(self.domain).id.get() {
            return Ok(self.domain);
        }
        self.privileged()?;
        self.state.domains.by_id(DomId(id)).ok_or(Errno::ESRCH)
    }
}

/// The errno of a fault on a guest's buffer.
pub(crate) fn fault(_: Fault) -> Errno {
    Errno::EFAULT
}

/// The errno of a refused operation on deadlines or runstates.
pub(crate) fn timer_errno(e: timers::Error) -> Errno {
    match e {
        timers::Error::NoSuchVcpu => Errno::ENOENT,
        timers::Error::Invalid => Errno::EINVAL,
        timers::Error::Past => Errno::ETIME,
        timers::Error::Exists => Errno::EEXIST,
    }
}

/// As [`mmu_errno`], for callers that run again when preempted: `ERESTART`.
pub(crate) fn mmu_restart(e: MmuError) -> Errno {
    if e == MmuError::Preempted { Errno::ERESTART } else { mmu_errno(e) }
}

/// The errno of a refused page-table operation; preemption is not one.
pub(crate) fn mmu_errno(e: MmuError) -> Errno {
    match e {
        MmuError::Invalid => Errno::EINVAL,
        MmuError::Busy => Errno::EBUSY,
        MmuError::NotPermitted => Errno::EPERM,
        MmuError::Preempted => Errno::EAGAIN,
    }
}
