//! What a run with a crash and one without must have in common: everything, but for bits that are set and
//! lines that are printed at least once.

use crate::machine::{Cpu, Machine};
use crate::memory::Changed;
use crate::steps::Cut;
use crate::world::{DOMAINS, Saved, World};
use domains::VcpuState;
use ids::{DomainSlot, Maddr, Mfn, VcpuSlot};
use pv_cpu::{Mode, Reg, vector};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::atomic::Ordering;
use system::{INFO_CR2, System};

/// How a run ended and what it left.
#[derive(Debug)]
pub struct Outcome {
    /// The vCPU that goes on, or why there is none.
    pub result: Result<VcpuSlot, Cut>,
    /// Everything but memory.
    pub picture: Saved,
    /// Memory, as changed since the base.
    pub memory: Changed,
    /// It was or may have been run in pieces.
    pub restarted: bool,
    /// RIP of the vCPU once a hypercall is complete and nothing came after it.
    pub complete_at: u64,
    /// It comes from a composition that has shown clocks and runstates before, and does not do so again.
    pub lived: bool,
    /// Several entries came to it at the same time: which of them freed what first is not promised.
    pub met: bool,
    /// A vCPU [polls](World::polls) for what is not written down.
    pub polls: bool,
}

/// Differences listed in a report, at most.
const SHOWN: usize = 12;
/// Accessed and dirty in a page-table entry.
const ACCESSED_DIRTY: u64 = 0x60;
/// `vcpu_time_info.version` within `vcpu_info`.
const TIME_VERSION: u64 = 32;
/// `wc_version` within shared_info.
const WALL_VERSION: u64 = 0xc00;

impl World {
    /// What a run left.
    pub fn outcome(&self, result: Result<VcpuSlot, Cut>, restarted: bool, complete_at: u64) -> Outcome {
        let memory = self.machine.memory.changed();
        let (picture, polls) = (self.picture(), self.polls());
        Outcome { result, picture, memory, restarted, complete_at, lived: false, met: false, polls }
    }

    /// Where clocks and runstates are shown: what a start writes anew, whatever the guest has made of it.
    fn shown_again(&self) -> Vec<Range<u64>> {
        let state = self.system.state;
        let mut found = Vec::new();
        for vcpu in (0..self.size.vcpus).map(VcpuSlot) {
            let info = state.events(self.machine).vcpu_info(vcpu);
            found.extend(info.map(|info| info.0 + TIME_VERSION..info.0 + 2 * TIME_VERSION));
            let root = state.contexts.context(vcpu).root_kernel.get();
            let bytes = state
                .timers()
                .area(vcpu)
                .into_iter()
                .flat_map(|at| (0..48).map(move |byte| at.0.wrapping_add(byte)));
            let places = bytes.filter_map(|va| self.machine.memory.translate(root, va, false));
            found.extend(places.map(|at| at.0 & !7..(at.0 & !7) + 8));
        }
        found
    }

    /// Words below the vCPUs' kernel stacks: a frame for one of them may have been begun there by a life that failed,
    /// before another was chosen.
    fn unused_frames(&self) -> Vec<Range<u64>> {
        /// Bytes of the largest.
        const FRAME: u64 = 96;
        let mut found = Vec::new();
        for vcpu in (0..self.size.vcpus).map(VcpuSlot) {
            let context = self.system.state.contexts.context(vcpu);
            let kernel = context.mode() == Mode::Kernel;
            let top = if kernel { context.registers.get(Reg::Rsp) } else { context.kernel_sp.get() } & !15;
            let words = (top.wrapping_sub(FRAME)..top).step_by(8);
            let root = context.root_kernel.get();
            let places = words.filter_map(|va| self.machine.memory.translate(root, va, true));
            found.extend(places.map(|at| at.0..at.0 + 8));
        }
        found
    }

    /// Compares what is there, after a run that ended with `result`, with an outcome.
    ///
    /// # Errors
    /// A list of differences.
    pub fn compare(&self, result: Result<VcpuSlot, Cut>, wanted: &Outcome) -> Result<(), String> {
        let mut found = String::new();
        if result != wanted.result {
            let _ = writeln!(found, "ended {result:?}, without a crash {:?}", wanted.result);
        }
        if matches!(result, Err(Cut::Off(_))) {
            return if found.is_empty() { Ok(()) } else { Err(found) };
        }
        if wanted.restarted {
            // Where it was cut is not promised, nor what of the lazy work was done by then.
            return self.compare_results(result, wanted);
        }
        self.compare_vault(wanted, &mut found);
        self.compare_memory(wanted, &mut found);
        self.compare_machine(wanted, &mut found);
        if found.is_empty() { Ok(()) } else { Err(found) }
    }

    /// Whether another vCPU was chosen to run than without a crash, where there is a choice; with several CPUs
    /// also whether an idle one found somebody to take over, or did not yet.
    pub fn schedule_differs(&self, result: Result<VcpuSlot, Cut>, wanted: &Outcome) -> bool {
        let choice = self.size.vcpus > self.size.cpus;
        choice
            && match (result, wanted.result) {
                (Ok(here), Ok(there)) => here != there,
                (Ok(_), Err(Cut::Asleep)) | (Err(Cut::Asleep), Ok(_)) => self.size.cpus > 1,
                _ => false,
            }
    }

    /// Whether a vCPU goes on that would wait in a poll without the crash, which a start has [ended](Self::polls).
    pub fn ended_poll(&self, result: Result<VcpuSlot, Cut>, wanted: &Outcome) -> bool {
        wanted.polls && !self.polls() && result.is_ok() && wanted.result == Err(Cut::Asleep)
    }

    /// The vCPUs that wait for a time.
    pub fn armed(&self) -> Vec<VcpuSlot> {
        let timers = self.system.state.timers();
        let waits = |slot: &VcpuSlot| timers.deadlines(*slot).is_ok_and(|at| at != [0; 3]);
        (0..self.size.vcpus).map(VcpuSlot).filter(waits).collect()
    }

    /// Whether a vCPU polls for no port that is written down (for several, or none): a start ends that, for events may have
    /// come that it knows nothing of, and the guest looks for itself.
    pub fn polls(&self) -> bool {
        let all = (0..self.size.vcpus).map(|slot| self.system.state.domains.vcpu(VcpuSlot(slot)));
        all.into_iter().any(|vcpu| vcpu.state() == VcpuState::Polling && vcpu.poll_port.get() == 0)
    }

    /// Whether one of them has another home than in the composition `other`: which CPU fires what is due, and so when
    /// it does, is not promised.
    pub fn moved(&self, armed: &[VcpuSlot], other: &System<Machine>) -> bool {
        armed.iter().any(|slot| self.system.schedule.home(*slot) != other.schedule.home(*slot))
    }

    fn compare_vault(&self, wanted: &Outcome, found: &mut String) {
        let logs = self.range_of(self.system.state.logs);
        let words = self.ground.words().iter().zip(&wanted.picture.vault).enumerate();
        let lists = if wanted.met { self.lists() } else { Vec::new() };
        let same = self.same_runstates(wanted);
        let differ = words.filter(|(index, (here, there))| {
            here.load(Ordering::Relaxed) != **there
                && !lists.iter().any(|range| range.contains(index))
                && !logs.contains(index)
                && !self.is_in_cpu(*index, wanted.lived)
                && !same.iter().any(|range| range.contains(index))
                && !self.is_memory(*index, here.load(Ordering::Relaxed), **there)
        });
        for (index, (here, there)) in differ.take(SHOWN) {
            let here = here.load(Ordering::Relaxed);
            let _ = writeln!(
                found,
                "vault {}: {here:#x}, without a crash {there:#x}",
                self.regions.describe(index)
            );
        }
    }

    /// Whether a word is the usage of a frame that nobody uses, and nothing but its kind differs. That says what a
    /// processor may still take the frame for, and a repetition may have tried to use it as something once more.
    fn is_memory(&self, index: usize, here: u64, there: u64) -> bool {
        /// In [`frames::Usage`].
        const KIND: u64 = 7 << 46;
        let frames = self.system.state.frames;
        let usage_at = |mfn| self.range_of(std::slice::from_ref(frames.frame(mfn)?)).start.into();
        let Some(first) = usage_at(Mfn(0)) else { return false };
        let mfn = Mfn((index.saturating_sub(first) / (size_of::<frames::Frame>() / 8)) as u64);
        let unused = frames
            .frame(mfn)
            .map(|frame| frame.usage())
            .is_some_and(|usage| usage.typed() == 0 && !usage.is_validated() && !usage.is_in_work());
        usage_at(mfn) == Some(index) && unused && (here ^ there) & !KIND == 0
    }

    /// Times of runstates that come to the same: where there is a choice, a life that failed may have given another
    /// vCPU the CPU for a moment, and it went from its state to the next and back.
    fn same_runstates(&self, wanted: &Outcome) -> Vec<Range<usize>> {
        let (here, now) = (self.vault_words(), self.machine.now.get());
        let same = |vcpu: &VcpuSlot| {
            let [here, there] =
                [&here, &wanted.picture.vault].map(|vault| self.regions.runstate(vault, *vcpu).until(now));
            here.state == there.state && here.spent == there.spent && here.entered.max(there.entered) == now
        };
        let vcpus = if self.size.vcpus > self.size.cpus { self.size.vcpus } else { 0 };
        (0..vcpus).map(VcpuSlot).filter(same).flat_map(|vcpu| self.regions.runstate_times(vcpu)).collect()
    }

    /// The links and heads of the lists of frames, whose order nobody promises: the audit follows them.
    fn lists(&self) -> Vec<Range<usize>> {
        let frames = self.system.state.frames;
        let links = (0..frames.len()).filter_map(|mfn| frames.frame(Mfn(mfn))).map(|frame| {
            let start = self.range_of(std::slice::from_ref(frame)).start;
            start + 1..start + 2
        });
        let heads = std::iter::once(self.range_of(std::slice::from_ref(frames.heap())));
        let owned =
            (0..DOMAINS).map(|slot| self.range_of(std::slice::from_ref(frames.list(DomainSlot(slot)))));
        links.chain(heads).chain(owned).collect()
    }

    /// Whether a word of the vault belongs to what a context holds only while its vCPU is not loaded.
    fn is_in_cpu(&self, index: usize, lived: bool) -> bool {
        let prepared = (0..self.size.vcpus).map(VcpuSlot).any(|vcpu| {
            let context = self.system.state.contexts.context(vcpu);
            let transfer = self.range_of(std::slice::from_ref(&context.transfer));
            // Without the vector it means nothing.
            let unused = transfer.contains(&index) && context.registers.vector.get() != vector::TRANSFER;
            unused || self.range_of(std::slice::from_ref(&context.info)).contains(&index)
        });
        if prepared && (lived || self.size.vcpus > self.size.cpus) {
            return true;
        }
        self.loaded().into_iter().flatten().any(|vcpu| {
            let context = self.system.state.contexts.context(vcpu);
            let range = |slice: Range<usize>| slice.contains(&index);
            range(self.range_of(std::slice::from_ref(&context.fs_base)))
                || range(self.range_of(&context.gs_base))
                || range(self.range_of(&context.selectors))
        })
    }

    /// Compares what a hypercall that ran in pieces promises: the vCPU's state but for argument registers.
    pub(crate) fn compare_results(
        &self,
        result: Result<VcpuSlot, Cut>,
        wanted: &Outcome,
    ) -> Result<(), String> {
        if result != wanted.result {
            return Err(format!("ended {result:?}, without a crash {:?}", wanted.result));
        }
        let Ok(vcpu) = result else { return Ok(()) };
        let registers = &self.system.state.contexts.context(vcpu).registers;
        let first = self.range_of(std::slice::from_ref(registers)).start;
        // r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi, vector, rip cs rflags rsp ss.
        if registers.get(Reg::Rip) != wanted.complete_at {
            // An event came between two pieces, or did not: where is not promised either.
            return Ok(());
        }
        let kept = (first..first + 21).filter(|index| !(first + 12..first + 15).contains(index));
        for index in kept {
            let here = self.ground.words()[index].load(Ordering::Relaxed);
            let there = wanted.picture.vault[index];
            if here != there {
                return Err(format!(
                    "{}: {here:#x}, without a crash {there:#x}",
                    self.regions.describe(index)
                ));
            }
        }
        Ok(())
    }

    /// Words of the vault that a slice takes.
    fn range_of<T>(&self, slice: &[T]) -> Range<usize> {
        let start = (slice.as_ptr() as usize - self.ground.words().as_ptr() as usize) / 8;
        start..start + size_of_val(slice) / 8
    }

    fn compare_memory(&self, wanted: &Outcome, found: &mut String) {
        let events = self.system.state.events(self.machine);
        let loaded = self.loaded();
        let clock = |v| Some((events.vcpu_info(v)?.0 + TIME_VERSION, loaded.contains(&Some(v))));
        let clocks: Vec<(u64, bool)> = (0..self.size.vcpus).map(VcpuSlot).filter_map(clock).collect();
        // A life that failed may have prepared another vCPU.
        let another = self.size.vcpus > self.size.cpus;
        let mut shown = if wanted.lived || another { self.shown_again() } else { Vec::new() };
        if another || wanted.met {
            shown.extend(self.unused_frames());
        }
        if wanted.met {
            // A vCPU that was to tell its kernel of a fault may find none when it is dispatched again.
            let fault = |v| events.vcpu_info(v).map(|info| info.0 + INFO_CR2..info.0 + INFO_CR2 + 8);
            shown.extend((0..self.size.vcpus).map(VcpuSlot).filter_map(fault));
        }
        let shared = self.system.state.domains.domains.iter().map(|domain| domain.shared_info.get().maddr());
        let walls: Vec<u64> = shared.map(|shared| shared.0 + WALL_VERSION).collect();
        let mut count = 0;
        self.machine.memory.differences(&wanted.memory, |at, here, there| {
            // A clock may be written once more: its version is even then as before, or it is written anew before
            // its vCPU runs.
            let clock = clocks.iter().find(|(clock, _)| *clock == at.0);
            let clock = clock.is_some_and(|(_, runs)| {
                here >> 32 == there >> 32 && (!runs || here & 1 == 0 && there & 1 == 0)
            });
            // So may the wall clock.
            let clock = clock
                || walls.contains(&at.0) && here >> 32 == there >> 32 && here & 1 == 0 && there & 1 == 0;
            // Accessed and dirty bits are the processor's.
            let marks = (here ^ there) & !ACCESSED_DIRTY == 0 && self.is_table(at);
            let clock = clock || shown.iter().any(|range| range.contains(&at.0));
            if !clock && !marks && count < SHOWN {
                count += 1;
                let _ =
                    writeln!(found, "memory {at}: {here:#x}, without a crash {there:#x}{}", self.whose(at));
            }
        });
    }

    fn is_table(&self, at: Maddr) -> bool {
        self.system.state.frames.frame(at.mfn()).is_some_and(|f| f.usage().kind().level().is_some())
    }

    fn whose(&self, at: Maddr) -> String {
        self.system.state.frames.frame(at.mfn()).map_or(String::new(), |f| format!(" ({:?})", f.usage()))
    }

    fn compare_machine(&self, wanted: &Outcome, found: &mut String) {
        let (cpus, there) = (self.machine.cpus.borrow(), &wanted.picture.cpus);
        // Where vCPUs wait for their turns, the timer also ends turns, which are derived.
        let turns = self.size.vcpus > self.size.cpus;
        for (cpu, (here, there)) in cpus.iter().zip(there).enumerate() {
            let timer = if turns { here.timer } else { there.timer };
            if *here != (Cpu { timer, ..there.clone() }) {
                let _ = writeln!(found, "CPU {cpu}: {here:x?}\n  without a crash {there:x?}");
            }
        }
        let (here, there) = (self.machine.devices.borrow(), &wanted.picture.devices);
        if let Some(mfn) = here.m2p.iter().zip(&there.m2p).position(|(a, b)| a != b) {
            let _ = writeln!(
                found,
                "M2P of {mfn:#x}: {:#x}, without a crash {:#x}",
                here.m2p[mfn], there.m2p[mfn]
            );
        }
        let loaded = self.loaded();
        let saved = (0..self.size.vcpus).filter(|vcpu| !loaded.contains(&Some(VcpuSlot(*vcpu))));
        if saved.map(|vcpu| vcpu as usize).any(|vcpu| here.fpu_areas[vcpu] != there.fpu_areas[vcpu]) {
            let _ = writeln!(
                found,
                "extended state {:x?}, without a crash {:x?}",
                here.fpu_areas, there.fpu_areas
            );
        }
        // An idle CPU is called by those who know that it is idle, which a start does not.
        let called = wanted.lived && turns;
        if !called && here.kicked.iter().zip(&there.kicked).any(|(a, b)| *b && !*a) {
            let _ = writeln!(found, "a kick is lost");
        }
        if !is_within(&there.console, &here.console) {
            let _ = writeln!(found, "console output is lost");
        }
        if self.loaded() != wanted.picture.loaded {
            let _ =
                writeln!(found, "loaded {:?}, without a crash {:?}", self.loaded(), wanted.picture.loaded);
        }
    }
}

/// Whether all of `part` is in `whole`, in order.
fn is_within(part: &[u8], whole: &[u8]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|byte| rest.any(|other| other == byte))
}
