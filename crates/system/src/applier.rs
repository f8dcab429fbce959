//! Applying effects: the outbox meets the machine.

use crate::platform::{Flush, Platform, Power};
use crate::{Base, System};
use hypercalls::{FORGET, LEVELS};
use ids::{DomainSlot, Gva, Maddr, Mfn, VcpuSlot};
use pv_cpu::{Context, Mode, Reg, fault, vector};
use pv_mmu::{AdBits, apply_pte, apply_put_entries, restore_pte};
use vault::{Apply, Effect, Log, Once, Puts, Word, flush, kind};
use xen_abi::Errno;
use xen_abi::arch::{SEGBASE_FS, SEGBASE_GS_KERNEL, SEGBASE_GS_USER};

/// Applies the effects of one entry of one vCPU.
pub struct Applier<P: 'static> {
    pub(crate) system: &'static System<P>,
    /// Of the vCPU whose entry it is.
    pub(crate) context: &'static Context,
    /// A crash came between the commit and now.
    pub(crate) again: bool,
    /// Other CPUs are asked to flush: that is waited for when the transaction is over.
    asked: bool,
    /// What effects in parts have done since somebody asked.
    work: u32,
}

impl<P> Applier<P> {
    pub(crate) const fn new(system: &'static System<P>, context: &'static Context, again: bool) -> Self {
        Self { system, context, again, asked: false, work: 0 }
    }
}

impl<P> core::fmt::Debug for Applier<P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Applier(again {})", self.again)
    }
}

/// Bytes copied out at a time.
const CHUNK: usize = 256;

impl<P: Platform> Apply for Applier<P> {
    #[inline(always)]
    fn apply_plain(&mut self, effect: Effect) -> bool {
        match effect.kind {
            kind::REGISTER => self.context.registers.set_index(effect.x, effect.b),
            // Nobody else changes it but the processor, whose bits are not kept.
            kind::PTE if !self.again && effect.x & 1 == 0 => {
                self.system.platform.store64(Maddr(effect.a), effect.b);
            }
            kind::RETIRE => {
                self.context.registers.set(Reg::Rip, effect.a);
                self.context.registers.set_index(effect.x, effect.b);
            }
            kind::PUT_GRANTED | kind::PUT_ENTRIES => return false,
            // In registers: the effects above need no place in memory then.
            _ => return self.apply_alone(effect.kind, effect.x, effect.a, effect.b),
        }
        true
    }

    #[inline(never)]
    fn apply(&mut self, effect: &Effect, once: &mut Once<'_, '_>) {
        let platform = self.system.platform;
        match effect.kind {
            kind::COPY_OUT => self.copy_out(effect, once),
            kind::VALID => self.system.state.frames.apply_valid(once, Mfn(effect.a), effect.x),
            kind::HAND_OVER => {
                self.system.state.frames.apply_hand_over(once, Mfn(effect.a), DomainSlot(effect.x as u16));
            }
            kind::CONSOLE if effect.a == FORGET => platform.forget_log(effect.b as u32),
            kind::CONSOLE if effect.a == LEVELS => self.system.follow_levels(),
            kind::CONSOLE => {
                let mut buffer = [0; CHUNK];
                each_chunk(effect.x, effect.b, |offset, len, _| {
                    once.read_bytes(offset, &mut buffer[..len]);
                    platform.console(&buffer[..len]);
                });
            }
            unknown => platform.log(format_args!("effect of unknown kind {unknown}: {effect:?}")),
        }
    }

    #[inline(always)]
    fn plain_put(&mut self, effect: Effect) -> Option<(&'static Word, u64, u64)> {
        let frames = &self.system.state.frames;
        if effect.kind != kind::PUT_GRANTED {
            return frames.plain_put(effect.kind, Mfn(effect.a));
        }
        self.clear_granted(&effect);
        frames.plain_put_granted(effect.b)
    }

    #[inline(never)]
    fn put_entries(&mut self, effect: &Effect, puts: &mut Puts<'_, '_>) {
        let (frames, memory) = (&self.system.state.frames, self.system.platform);
        apply_put_entries(frames, memory, self, effect, puts);
        self.work += puts.work();
    }

    #[inline(always)]
    fn put_typed(&mut self, mfn: u64, once: &mut Once<'_, '_>) {
        self.system.state.frames.apply_put_typed(once, Mfn(mfn));
    }

    #[inline(always)]
    fn put_ref(&mut self, mfn: u64, once: &mut Once<'_, '_>) {
        self.system.state.frames.apply_put_ref(once, Mfn(mfn));
    }

    #[inline(always)]
    fn put_granted(&mut self, effect: &Effect, once: &mut Once<'_, '_>) {
        self.clear_granted(effect);
        self.system.state.frames.apply_put_granted(once, effect.b);
    }

    fn undoing(&mut self) {
        self.system.state.frames.note_undone();
    }

    fn undone(&mut self, log: &Log, entries: usize) {
        self.system.collect(log, entries, self);
    }

    fn restore_entry(&mut self, maddr: u64, old: u64) {
        restore_pte(self.system.platform, maddr, old);
    }

    fn clear_marks(&mut self, maddr: u64, bits: u32) {
        self.system.platform.and_not32(Maddr(maddr), bits);
    }

    #[inline(always)]
    fn settled(&mut self) {
        if core::mem::take(&mut self.asked) {
            self.system.platform.await_flush(self.system.schedule.cpus());
        }
    }

    #[inline(always)]
    fn ended(&mut self) {
        let registers = &self.context.registers;
        if self.context.copy_fault.get() & fault::RESULT != 0 {
            registers.set(Reg::Rax, Errno::EFAULT.to_result() as u64);
        }
        // What remains to be done of an entry whose log closes is known by its vector.
        registers.vector.set(vector::NONE);
    }

    fn take_fault(&mut self) -> bool {
        self.context.copy_fault.get() & fault::RESULT != 0
    }

    fn take_work(&mut self) -> u32 {
        core::mem::take(&mut self.work)
    }
}

impl<P: Platform> Applier<P> {
    /// Applies an effect that refers to nothing in the log. False: it is none of these.
    #[inline(never)]
    fn apply_alone(&mut self, kind: u32, x: u32, a: u64, b: u64) -> bool {
        let (platform, effect) = (self.system.platform, Effect { kind, x, a, b });
        match kind {
            kind::COPY_WORD => self.copy_word(effect.x, effect.a, effect.b),
            kind::PTE => {
                let ad = if effect.x & 1 != 0 { AdBits::Preserve } else { AdBits::Replace };
                apply_pte(platform, Maddr(effect.a), effect.b, ad, self.again);
            }
            kind::GUEST_STORE => self.guest_store(&effect),
            kind::CONTEXT => self.system.synchronise(self.context, effect.x),
            kind::EVENT => {
                let system = self.system;
                system.state.events(platform).apply(&effect, |vcpu| system.alert(vcpu));
                system.wake_pollers(DomainSlot(effect.a as u16), effect.x);
            }
            kind::KICK => self.system.wake(VcpuSlot(effect.x)),
            kind::TIMER => self.system.deadline_changed(VcpuSlot(effect.x)),
            kind::FLUSH => self.flush(&effect),
            kind::M2P => platform.set_m2p(Mfn(effect.a), effect.b),
            kind::SEGMENT_BASE => self.segment_base(effect.x, effect.b),
            kind::VALID => return false,
            _ => return self.apply_rare(&effect),
        }
        true
    }
}

impl<P: Platform> System<P> {
    /// Prints messages, or does not, as parameters say: by an effect, and in every life.
    pub fn follow_levels(&self) {
        self.platform.set_log_levels(self.state.log_levels());
    }
}

impl<P: Platform> Applier<P> {
    fn flush(&mut self, effect: &Effect) {
        let (system, cpus) = (self.system, self.system.schedule.cpus());
        let what = if effect.a == flush::EVERYTHING { Flush::All } else { Flush::Page(Gva(effect.a)) };
        let gone = system.state.frames.gone();
        system.platform.flush(what);
        self.asked |= system.ask_others(effect, what);
        if cpus == 1 && what == Flush::All {
            system.state.frames.note_forgotten(gone);
        }
    }

    /// As [`apply_alone`](Self::apply_alone), of what is rare.
    fn apply_rare(&mut self, effect: &Effect) -> bool {
        let platform = self.system.platform;
        match effect.kind {
            kind::SCHEDULE => self.system.wake_all(effect.x),
            kind::POWER => platform.power(match effect.x {
                0 => Power::Sleep { pm1a: effect.a as u16, pm1b: effect.b as u16 },
                1 => Power::Off,
                _ => Power::Reset,
            }),
            kind::IRQ_ROUTE => platform.program_route(effect.x),
            kind::TRANSFER => {
                pv_cpu::commit(self.context);
                self.system.complete_transfer(self.context);
            }
            kind::TRACING => self.system.follow_traces(),
            kind::WALL_CLOCK => self.system.write_wall_clock(),
            _ => return false,
        }
        true
    }

    fn guest_store(&self, effect: &Effect) {
        let (memory, at) = (self.system.platform, Maddr(effect.a));
        match effect.x {
            1 => memory.store8(at, effect.b as u8),
            4 => memory.store32(at, effect.b as u32),
            _ => memory.store64(at, effect.b),
        }
    }

    /// Clears what says in the granter's memory that a grant is in use.
    #[inline(always)]
    fn clear_granted(&self, effect: &Effect) {
        if effect.x != 0 {
            self.system.platform.and_not32(Maddr(effect.a), effect.x);
        }
    }

    /// Apart, so that effects which need less find their registers free.
    #[inline(never)]
    fn copy_word(&self, width: u32, at: u64, value: u64) {
        let (word, len) = (value.to_le_bytes(), if width == 4 { 4 } else { 8 });
        let copied = self.system.platform.copy_out(Gva(at), &word[..len]);
        self.note_fault(copied.is_err());
    }

    fn copy_out(&mut self, effect: &Effect, once: &Once<'_, '_>) {
        let memory = self.system.platform;
        let mut buffer = [0; CHUNK];
        let mut faulted = false;
        each_chunk(effect.x, effect.b, |offset, len, done| {
            once.read_bytes(offset, &mut buffer[..len]);
            faulted |= memory.copy_out(Gva(effect.a.wrapping_add(done)), &buffer[..len]).is_err();
        });
        self.note_fault(faulted);
    }

    #[inline(always)]
    fn note_fault(&self, faulted: bool) {
        if faulted {
            self.context.copy_fault.set(self.context.copy_fault.get() | fault::RESULT);
        }
    }

    fn segment_base(&self, which: u32, value: u64) {
        let platform = self.system.platform;
        // Of the two GS bases the one of the present mode is active.
        let (user, kernel) = match self.context.mode() {
            Mode::Kernel => (Base::OtherGs, Base::Gs),
            Mode::User => (Base::Gs, Base::OtherGs),
        };
        match which {
            SEGBASE_FS => platform.set_base(Base::Fs, value),
            SEGBASE_GS_USER => platform.set_base(user, value),
            SEGBASE_GS_KERNEL => platform.set_base(kernel, value),
            _ => platform.load_user_gs(value as u16),
        }
    }
}

/// Goes over `len` bytes from `offset` of the outbox in pieces: offset, length, bytes before it.
fn each_chunk(offset: u32, len: u64, mut f: impl FnMut(usize, usize, u64)) {
    let mut done = 0;
    while done < len {
        let piece = (len - done).min(CHUNK as u64);
        f(offset as usize + done as usize, piece as usize, done);
        done += piece;
    }
}
