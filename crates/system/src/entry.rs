//! From an entry's reason to its handler.

use crate::System;
use crate::applier::Applier;
use crate::platform::Platform;
use hypercalls::{Call, Crash, Outcome, Reply};
use ids::VcpuSlot;
use pv_cpu::{Context, Reg, event_callback, fault, trap_bounce, vector};
use vault::{Journal, Tx};
use xen_abi::arch::FLAT_RING3_CS32;
use xen_abi::callback::{
    CALLBACKTYPE_FAILSAFE, CALLBACKTYPE_SYSCALL, CALLBACKTYPE_SYSCALL32, CALLBACKTYPE_SYSENTER,
};

impl<P: Platform> System<P> {
    /// The journal of the CPU this runs on, for an entry of the vCPU whose context it is.
    #[inline(always)]
    pub(crate) fn journal(&'static self, context: &'static Context) -> Journal<Applier<P>> {
        self.journal_of(self.platform.cpu(), context, false)
    }

    /// The journal of this CPU for work beside any entry, without a bound on its transactions.
    pub fn journal_beside(&'static self) -> Journal<Applier<P>> {
        let log = &self.state.logs[self.platform.cpu().0 as usize];
        // No effect of such work is about the context of whoever the CPU holds.
        let context = self.state.contexts.context(VcpuSlot(0));
        Journal::beside(log, Applier::new(self, context, false), u32::MAX)
    }

    /// Carries out `change` in a transaction beside any entry; the log is closed before and afterwards.
    pub(crate) fn beside<O>(&'static self, change: impl FnOnce(&mut Tx<'static>) -> O) -> O {
        let mut journal = self.journal_beside();
        journal.log().begin();
        let done = journal.change(change);
        journal.log().end();
        done
    }

    /// The journal of a CPU; `again` while recovery finishes what was committed before a crash.
    #[inline(always)]
    pub(crate) fn journal_of(
        &'static self,
        cpu: ids::CpuId,
        context: &'static Context,
        again: bool,
    ) -> Journal<Applier<P>> {
        let log = &self.state.logs[cpu.0 as usize];
        Journal::new(log, Applier::new(self, context, again), self.platform.budget())
    }

    /// Handles the entry that the registers in `context`, which this CPU holds, describe. The answer is whose
    /// registers to go on with.
    #[inline]
    pub fn serve(&'static self, context: &'static Context) -> &'static Context {
        self.enter(self.state.contexts.slot_of(context), context);
        if self.goes_on(context) { context } else { self.state.contexts.context(self.leave()) }
    }

    /// Handles the entry that a vCPU's registers describe. Afterwards the log is closed and the registers
    /// are those the guest goes on with (events apart).
    #[inline]
    pub fn enter(&'static self, vcpu: VcpuSlot, context: &'static Context) {
        match self.enter_swiftly(vcpu, context) {
            Some(done) => self.end_if_crashed(vcpu, done),
            None => self.enter_logged(vcpu, context),
        }
    }

    /// Handles an entry that may change durable words.
    fn enter_logged(&'static self, vcpu: VcpuSlot, context: &'static Context) {
        let mut journal = self.journal(context);
        self.begin(&journal);
        if context.registers.vector.get() == vector::SYSCALL {
            // What is not swift of them is a hypercall.
            let done = self.hypercall(&mut journal, vcpu, context);
            self.end_if_crashed(vcpu, done);
        } else {
            self.dispatch(&mut journal, vcpu);
        }
        // In this order: a closed log with a vector in the frame is an entry that was not begun.
        context.registers.vector.set(vector::NONE);
        journal.log().end();
        if self.state.domains.has_dead() {
            self.remove_dead();
        }
    }

    /// Opens the log for the entry that the registers describe.
    #[inline]
    pub(crate) fn begin(&self, journal: &Journal<Applier<P>>) {
        let context = journal.apply.context;
        if context.registers.vector.get() == vector::PAGE_FAULT {
            self.keep_fault_address(context);
        }
        context.copy_fault.set(0);
        journal.log().begin();
    }

    /// Puts the address of a page fault into the context: the processor's register may change before a crash
    /// makes the entry run again.
    #[inline(always)]
    pub(crate) fn keep_fault_address(&self, context: &Context) {
        context.fault_address.set(self.platform.fault_address());
        context.registers.vector.set(vector::KEPT_PAGE_FAULT);
    }

    /// Dispatches an open entry: once by [`enter`](Self::enter), again after a crash undid its last step.
    pub(crate) fn dispatch(&'static self, j: &mut Journal<Applier<P>>, vcpu: VcpuSlot) {
        let context = j.apply.context;
        let done = match context.registers.vector.get() {
            vector::SYSCALL => self.system_call(j, vcpu, context),
            vector::SYSENTER => self.sysenter(vcpu, context),
            vector::KEPT_PAGE_FAULT => self.page_fault(j, vcpu, context),
            vector::TRANSFER => {
                self.complete_transfer(context);
                Ok(())
            }
            number @ 0..32 => self.exception(j, vcpu, context, number as u8),
            vector::BAD_RETURN => self.bad_return(vcpu, context),
            0x80 => self.reflect(vcpu, context, 0x80, 0),
            number @ 32..256 => {
                self.interrupt(number as u8);
                Ok(())
            }
            _ => Ok(()),
        };
        self.end_if_crashed(vcpu, done);
    }

    #[inline(always)]
    fn end_if_crashed(&'static self, vcpu: VcpuSlot, done: Result<(), Crash>) {
        if let Err(why) = done {
            self.crash_domain(vcpu, why);
        }
    }

    fn system_call(
        &'static self,
        j: &mut Journal<Applier<P>>,
        vcpu: VcpuSlot,
        context: &'static Context,
    ) -> Result<(), Crash> {
        // As at its first run, if this is another.
        self.enter_swiftly(vcpu, context).unwrap_or_else(|| self.hypercall(j, vcpu, context))
    }

    /// A system call of a user program: its kernel's callback gets it.
    #[inline(always)]
    pub(crate) fn user_system_call(
        &'static self,
        vcpu: VcpuSlot,
        context: &'static Context,
    ) -> Result<(), Crash> {
        let kind = if context.registers.get(Reg::Cs) == u64::from(FLAT_RING3_CS32) {
            CALLBACKTYPE_SYSCALL32
        } else {
            CALLBACKTYPE_SYSCALL
        };
        match event_callback(context, &context.callbacks[usize::from(kind)], false) {
            Some(to) => self.bounce_to(vcpu, context, &to),
            None => self.reflect(vcpu, context, 6, 0),
        }
    }

    /// `sysenter` of a user program: its kernel's callback gets it, or as on a processor without an entry point the
    /// handler of general protection faults. A kernel that does it has no stack any more, and its domain ends.
    #[inline(never)]
    pub(crate) fn sysenter(&'static self, vcpu: VcpuSlot, context: &'static Context) -> Result<(), Crash> {
        let callback = &context.callbacks[usize::from(CALLBACKTYPE_SYSENTER)];
        match event_callback(context, callback, false) {
            Some(to) => self.bounce_to(vcpu, context, &to),
            None => self.reflect(vcpu, context, vector::PROTECTION as u8, 0),
        }
    }

    #[inline(never)]
    fn hypercall(
        &'static self,
        j: &mut Journal<Applier<P>>,
        vcpu: VcpuSlot,
        context: &'static Context,
    ) -> Result<(), Crash> {
        self.platform.dispatching();
        let mut call = Call {
            state: self.state,
            memory: self.platform,
            j,
            domain: self.state.domains.vcpu(vcpu).domain.get(),
            vcpu,
            context,
            args: context.registers.arguments(),
            clock: self.platform,
            cpus: self,
            reply: Reply::Register(&context.registers),
        };
        let number = u64::from(context.registers.error_code.get());
        self.told().hypercall(number, &call.args, false);
        let outcome = hypercalls::dispatch(&mut call, number);
        if cfg!(feature = "trace-entries") {
            let name = xen_abi::hypercall::name(number).unwrap_or("?");
            let [a, b, c, ..] = call.args;
            let rip = context.registers.get(Reg::Rip);
            self.platform.log(format_args!("{name} {a:x} {b:x} {c:x} from {rip:x}: {outcome:x?}"));
        }
        match outcome {
            // A repetition overwrites the same register with the same result.
            Outcome::Value(value) => context.registers.set(Reg::Rax, value as u64),
            Outcome::Replied | Outcome::Again | Outcome::Block => {}
            Outcome::Yield => self.end_turn(),
            Outcome::Shutdown => self.end_machine(),
            Outcome::Crash(why) => return Err(why),
        }
        // A result that could not be copied out is an error number, not a crash.
        if context.copy_fault.get() & fault::RESULT != 0 {
            context.registers.set(Reg::Rax, xen_abi::Errno::EFAULT.to_result() as u64);
        }
        Ok(())
    }

    /// The selectors that the guest returned to cannot be loaded: its failsafe callback hears of it, with the
    /// frame as it stands.
    fn bad_return(&'static self, vcpu: VcpuSlot, context: &'static Context) -> Result<(), Crash> {
        let callback = &context.callbacks[usize::from(CALLBACKTYPE_FAILSAFE)];
        let mut to = event_callback(context, callback, false).ok_or(Crash::BadIret)?;
        to.segments = Some(self.platform.selectors());
        self.bounce_to(vcpu, context, &to)
    }

    /// Gives an exception to the guest's own handler.
    pub(crate) fn reflect(
        &'static self,
        vcpu: VcpuSlot,
        context: &'static Context,
        vector: u8,
        error: u32,
    ) -> Result<(), Crash> {
        if self.state.traces.is_on() {
            self.note_trap(context, vector, error);
        }
        let to = trap_bounce(context, vector, error).ok_or(Crash::Unhandled(vector))?;
        if cfg!(feature = "trace-entries") {
            let (rip, address) = (context.registers.get(Reg::Rip), self.platform.fault_address());
            self.platform.log(format_args!("trap {vector} error {error:x} at {rip:x}, cr2 {address:x}"));
        }
        self.bounce_to(vcpu, context, &to)
    }
}
