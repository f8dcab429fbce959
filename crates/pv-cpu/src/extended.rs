//! Memory for the extended state (x87, SSE, AVX) of vCPUs that no CPU holds: in the processor's own format, in whole.

use ids::VcpuSlot;
use vault::{Arena, GuestOwned, record};

record! {
    /// 64 bytes of a vCPU's area: the first ones of an area say what there is, the others are the extended state in the
    /// processor's own format, as many as this processor's has. State class: guest-owned.
    ///
    /// Lock: the CPU that holds the vCPU; who gives a vCPU its state while none does, that of its domain.
    /// Rebuild: nothing.
    pub struct ExtendedLine {
        /// Of the first ones of an area: word 0 is 1 if something was saved there.
        words: [GuestOwned<u64>; LINE_WORDS],
    }
}

/// 64-bit words of a line.
const LINE_WORDS: usize = 8;
/// Bytes of the state that XSAVE's header stands behind, and of that header (AMD64 manual volume 2, 11.5.2).
const LEGACY_BYTES: usize = 512;
const HEADER_BYTES: usize = 64;
/// Control words after a reset, in words 0 and 3 of the state: of x87, and of SSE (AMD64 manual volume 2, 11.4.4).
const X87_CONTROL: u64 = 0x37f;
const SSE_CONTROL: u64 = 0x1f80;

/// Which word has MXCSR (its lower half) and the mask of its bits (its upper half).
pub const MXCSR_WORD: usize = 3;
/// First word of XSAVE's header: the components that are not as after a reset.
pub const COMPONENTS_WORD: usize = LEGACY_BYTES / 8;
/// First word behind the header.
pub const HEADER_END_WORD: usize = (LEGACY_BYTES + HEADER_BYTES) / 8;

/// The areas of all vCPUs.
#[derive(Clone, Copy)]
pub struct Extended {
    lines: &'static [ExtendedLine],
    /// Lines of an area.
    each: usize,
}

impl core::fmt::Debug for Extended {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Extended({} lines, {} each)", self.lines.len(), self.each)
    }
}

/// Lines of an area, for a processor whose state has so many bytes.
const fn lines(state_bytes: u32) -> usize {
    let least = LEGACY_BYTES + HEADER_BYTES;
    let bytes = if state_bytes as usize > least { state_bytes as usize } else { least };
    1 + bytes.div_ceil(size_of::<ExtendedLine>())
}

impl Extended {
    /// Bytes of one vCPU's area.
    pub const fn bytes(state_bytes: u32) -> usize {
        lines(state_bytes) * size_of::<ExtendedLine>()
    }

    /// Carves one area per vCPU. `None` when the arena is too small.
    pub fn carve(arena: &mut Arena, vcpus: usize, state_bytes: u32) -> Option<Self> {
        let each = lines(state_bytes);
        Some(Self { lines: arena.carve(vcpus.checked_mul(each)?)?, each })
    }

    fn head(&self, vcpu: VcpuSlot) -> &'static GuestOwned<u64> {
        &self.lines[vcpu.0 as usize * self.each].words[0]
    }

    /// A vCPU's state: lines in a row, aligned as XSAVE wants them.
    pub fn state(&self, vcpu: VcpuSlot) -> &'static [ExtendedLine] {
        let from = vcpu.0 as usize * self.each;
        &self.lines[from + 1..from + self.each]
    }

    /// Whether something was saved of it. Otherwise it is as after a reset.
    pub fn is_saved(&self, vcpu: VcpuSlot) -> bool {
        self.head(vcpu).get() != 0
    }

    /// Something is saved of it.
    pub fn set_saved(&self, vcpu: VcpuSlot) {
        self.head(vcpu).set(1);
    }

    /// Forgets what was saved.
    pub fn forget(&self, vcpu: VcpuSlot) {
        self.head(vcpu).set(0);
    }

    /// Makes what the area holds loadable: nothing of whoever had it before, if nothing was saved.
    pub fn settle(&self, vcpu: VcpuSlot) {
        if self.is_saved(vcpu) {
            return;
        }
        let state = self.state(vcpu);
        for word in state.iter().flat_map(|line| &line.words) {
            word.set(0);
        }
        if let Some(first) = state.first() {
            first.words[0].set(X87_CONTROL);
            first.words[MXCSR_WORD].set(SSE_CONTROL);
        }
    }

    /// 64-bit words of a vCPU's state.
    pub fn words(&self) -> usize {
        (self.each - 1) * LINE_WORDS
    }

    /// One of them; 0 behind the end.
    pub fn word(&self, vcpu: VcpuSlot, index: usize) -> u64 {
        let line = self.state(vcpu).get(index / LINE_WORDS);
        line.map_or(0, |line| line.words[index % LINE_WORDS].get())
    }

    /// Changes one. What is loaded from the area must be loadable after each change.
    pub fn set_word(&self, vcpu: VcpuSlot, index: usize, value: u64) {
        if let Some(line) = self.state(vcpu).get(index / LINE_WORDS) {
            line.words[index % LINE_WORDS].set(value);
        }
    }
}
