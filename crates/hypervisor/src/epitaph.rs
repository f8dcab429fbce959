//! Epitaphs: why and where the hypervisor failed, written by the life that fails. The next one puts it into the log
//! (`report`), and Dom0 can ask for the last (`console_io`, `CONSOLEIO_EPITAPH`).
//!
//! The last few are kept, for a failure may come before the one before it is in the log.
#![expect(unsafe_code, reason = "a record at a fixed address; follows frame pointers")]

use crate::guest::hardware::this_cpu;
use crate::guest::host::HostFrame;
use crate::recovery::Cause;
use crate::{cells, trace};
use core::fmt::{self, Write};
use ids::CpuId;
use machine::{clock, percpu, stack};
use vault::{GuestOwned, record};

mod report;

pub(crate) use report::{last_words, report};

/// Entries of the guest that are shown.
const ENTRIES: usize = 8;
/// Failures whose epitaphs are kept.
const KEPT: u32 = 4;

record! {
    /// The failures since boot: written by the failing life, read by the next.
    ///
    /// State class: kept aside. Lock: the leader of the recovery. Rebuild: nothing.
    pub(crate) struct Failures {
        /// How many there were; the number of the last.
        pub(crate) generation: GuestOwned<u32>,
        /// Failures that came one right after the other, in no guest's entry.
        pub(crate) in_a_row: GuestOwned<u32>,
        /// Failures of the recovery under way.
        pub(crate) in_recovery: GuestOwned<u32>,
        /// The number of the last whose report is in the log, and of all before it.
        reported: GuestOwned<u32>,
        /// The last ones: each at its number, modulo their count.
        epitaphs: [Epitaph; KEPT as usize],
    }
}

record! {
    /// Why and where the hypervisor failed.
    ///
    /// State class: kept aside. Lock: the leader of the recovery. Rebuild: nothing.
    pub(crate) struct Epitaph {
        /// A [`Cause`]; 0: the failure came to no note.
        cause: GuestOwned<u32>,
        /// Vector of an exception.
        vector: GuestOwned<u32>,
        /// The failure's number.
        number: GuestOwned<u32>,
        /// How often its report was begun.
        reports: GuestOwned<u32>,
        /// The CPU that failed.
        cpu: GuestOwned<u32>,
        /// Where: instruction pointer, flags, stack pointer.
        rip: GuestOwned<u64>,
        rflags: GuestOwned<u64>,
        rsp: GuestOwned<u64>,
        /// TSC at the failure.
        pub(crate) at: GuestOwned<u64>,
        /// TSC ticks that the recovery took; 0: it did not come to its end.
        pub(crate) ticks: GuestOwned<u64>,
        /// What it did: entries in progress, writes undone, outboxes finished, effects in them.
        pub(crate) repairs: [GuestOwned<u64>; 4],
        /// The general registers, in the order of a [`HostFrame`].
        general: [GuestOwned<u64>; 15],
        /// The panic's message.
        message: [GuestOwned<u8>; 192],
        /// Return addresses, innermost first.
        trace: [GuestOwned<u64>; 24],
        /// What the CPU had handled: vector, code and address of each entry, the newest first.
        entries: [GuestOwned<u64>; 16],
    }
}

const _: () = assert!(size_of::<Failures>() as u64 <= cells::STOP_RECORD - cells::EPITAPH);

/// The failures: in CPU 0's per-CPU data, which no image copy holds.
pub(crate) fn failures() -> &'static Failures {
    let at = percpu::block(CpuId(0)) + cells::EPITAPH;
    let failures: *const Failures = core::ptr::with_exposed_provenance(at as usize);
    // SAFETY: mapped for good, zeroed by boot, atomics only, used as nothing else.
    unsafe { &*failures }
}

/// The last failure's; before the first an empty one.
pub(crate) fn epitaph() -> &'static Epitaph {
    failures().of(failures().generation.get())
}

impl Failures {
    /// The place of a failure's epitaph.
    fn of(&self, number: u32) -> &Epitaph {
        &self.epitaphs[(number % KEPT) as usize]
    }

    /// Counts a failure of this CPU; its epitaph, of which everything is still to be noted.
    pub(crate) fn next(&self) -> &Epitaph {
        let number = self.generation.get().wrapping_add(1);
        let epitaph = self.of(number);
        epitaph.cause.set(0);
        epitaph.number.set(number);
        epitaph.reports.set(0);
        epitaph.cpu.set(this_cpu().0);
        epitaph.ticks.set(0);
        epitaph.repairs.iter().for_each(|word| word.set(0));
        self.generation.set(number);
        epitaph
    }
}

impl Epitaph {
    /// Notes a failure of this CPU.
    pub(crate) fn note(&self, cause: Cause, frame: Option<&HostFrame>, message: Option<fmt::Arguments<'_>>) {
        self.note_message(message);
        let registers = frame.map_or([0; 3], |f| [f.rip, f.rflags, f.rsp]);
        for (word, value) in [&self.rip, &self.rflags, &self.rsp].into_iter().zip(registers) {
            word.set(value);
        }
        for (index, word) in self.general.iter().enumerate() {
            word.set(frame.map_or(0, |f| f.general[index]));
        }
        self.vector.set(frame.map_or(0, |f| f.vector));
        self.note_trace(frame);
        for word in &self.entries {
            word.set(0);
        }
        for (slot, entry) in self.entries.chunks(2).zip(trace::ring(this_cpu()).last(ENTRIES)) {
            let [what, place] = entry.words();
            slot[0].set(what);
            slot[1].set(place);
        }
        // Last: the rest is there.
        self.cause.set(cause as u32);
    }

    /// Keeps a panic's message for the next life.
    fn note_message(&self, message: Option<fmt::Arguments<'_>>) {
        struct Out<'e>(&'e Epitaph, usize);
        impl Write for Out<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for byte in text.bytes() {
                    if let Some(slot) = self.0.message.get(self.1) {
                        slot.set(byte);
                    }
                    self.1 += 1;
                }
                Ok(())
            }
        }
        for slot in &self.message {
            slot.set(0);
        }
        if let Some(message) = message {
            // The writer never fails.
            let _ = Write::write_fmt(&mut Out(self, 0), message);
        }
    }

    /// Follows the frame pointers of this stack.
    fn note_trace(&self, frame: Option<&HostFrame>) {
        for slot in &self.trace {
            slot.set(0);
        }
        let mut at = frame.map_or_else(stack::frame_pointer, |f| f.general[4]);
        let top = percpu::block(this_cpu()) + percpu::STACK_TOP;
        for slot in &self.trace {
            if !at.is_multiple_of(8) || at < top - percpu::STACK_SIZE || at + 16 > top {
                return;
            }
            let words: *const [u64; 2] = core::ptr::with_exposed_provenance(at as usize);
            // SAFETY: two aligned words within this CPU's mapped stack.
            let [next, back] = unsafe { words.read_volatile() };
            slot.set(back);
            at = next;
        }
    }

    /// How long it is since the failure, in TSC ticks.
    pub(crate) fn age(&self) -> u64 {
        clock::tsc().wrapping_sub(self.at.get())
    }

    /// What happened, in one line.
    fn cause(&self, f: &mut dyn Write) -> fmt::Result {
        let mut message = [0; 192];
        for (byte, slot) in message.iter_mut().zip(&self.message) {
            *byte = slot.get();
        }
        let end = message.iter().position(|b| *b == 0).unwrap_or(message.len());
        let message = core::str::from_utf8(&message[..end]).unwrap_or("?");
        let (rip, rsp, rflags) = (self.rip.get(), self.rsp.get(), self.rflags.get());
        match self.cause.get() {
            0 => write!(f, "failed once more while its cause was noted"),
            1 => write!(f, "panic: {message}"),
            3 if end > 0 => write!(f, "hang: {message}"),
            3 => write!(f, "hang at {rip:016x}, rsp {rsp:016x}"),
            _ => {
                write!(f, "exception {} at {rip:016x}, rsp {rsp:016x}, rflags {rflags:x}", self.vector.get())
            }
        }
    }

    /// What the recovery did.
    fn outcome(&self, f: &mut dyn Write) -> fmt::Result {
        let [entries, undone, outboxes, effects] = self.repairs.each_ref().map(GuestOwned::get);
        if entries == 0 {
            return write!(f, "nothing was in progress");
        }
        write!(
            f,
            "of {entries} entries {undone} writes rolled back, {outboxes} outboxes rolled forward ({effects} effects)"
        )
    }

    /// The rest: registers, return addresses and what the CPU had handled, a line each time `line` is called.
    fn details(&self, mut line: impl FnMut(fmt::Arguments<'_>)) {
        const NAMES: [&str; 15] = [
            "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", " r9", " r8", "rax", "rcx", "rdx", "rsi",
            "rdi",
        ];
        if self.rip.get() != 0 {
            for (names, values) in NAMES.chunks(3).zip(self.general.chunks(3)) {
                if let ([a, b, c], [x, y, z]) = (names, values) {
                    line(format_args!("  {a} {:016x} {b} {:016x} {c} {:016x}", x.get(), y.get(), z.get()));
                }
            }
        }
        for slot in self.trace.iter().take_while(|slot| slot.get() != 0) {
            line(format_args!("  {:016x}", slot.get()));
        }
        for words in self.entries.chunks(2).filter(|words| words[1].get() != 0) {
            line(format_args!("  handled {}", trace::Entry::of_words([words[0].get(), words[1].get()])));
        }
    }
}

/// Shows a part of an epitaph wherever it can be displayed.
struct Shown<'e>(&'e Epitaph, fn(&Epitaph, &mut dyn Write) -> fmt::Result);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.1)(self.0, f)
    }
}

/// The last as text, cut off where `out` ends; its length. Empty: nothing has failed since boot.
pub(crate) fn text(out: &mut [u8]) -> usize {
    let epitaph = epitaph();
    let mut page = Page { out, length: 0 };
    if epitaph.number.get() == 0 {
        return 0;
    }
    // A text that is too long is cut off.
    let _ = writeln!(
        page,
        "failure {} on CPU {}, TSC {}: {}\nrecovered in {} TSC ticks: {}",
        epitaph.number.get(),
        epitaph.cpu.get(),
        epitaph.at.get(),
        Shown(epitaph, Epitaph::cause),
        epitaph.ticks.get(),
        Shown(epitaph, Epitaph::outcome)
    );
    epitaph.details(|line| {
        let _ = writeln!(page, "{line}");
    });
    page.length
}

struct Page<'o> {
    out: &'o mut [u8],
    length: usize,
}

impl Write for Page<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.out[self.length..];
        let taken = text.len().min(room.len());
        room[..taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.length += taken;
        if taken == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}
