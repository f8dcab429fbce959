//! LZMA's range coder (the LZMA specification of the LZMA SDK) and what is coded with it: literals, lengths, distances.
//!
//! Its arithmetic wraps by definition, hence the `wrapping_` operations.

/// `1 << pb` at most.
pub(super) const POSITIONS: usize = 16;
/// Probabilities of a literal coder.
pub(super) const LITERAL_PROBS: usize = 0x300;
/// A probability of one half.
pub(super) const HALF: u16 = 1 << 10;
/// Bytes of the shortest match.
pub(super) const MIN_MATCH: usize = 2;

/// The probabilities of match lengths.
pub(super) struct Lengths {
    choice: [u16; 2],
    low: [[u16; 8]; POSITIONS],
    middle: [[u16; 8]; POSITIONS],
    high: [u16; 256],
}

impl Lengths {
    pub(super) const NEW: Self = Self {
        choice: [HALF; 2],
        low: [[HALF; 8]; POSITIONS],
        middle: [[HALF; 8]; POSITIONS],
        high: [HALF; 256],
    };
}

/// The range coder over one chunk.
pub(super) struct RangeCoder<'a> {
    rest: &'a [u8],
    range: u32,
    code: u32,
    /// Bytes wanted behind the end.
    is_short: bool,
}

impl<'a> RangeCoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let ([first, code @ ..], rest) = bytes.split_first_chunk::<5>()?;
        (*first == 0).then(|| Self {
            rest,
            range: u32::MAX,
            code: u32::from_be_bytes(*code),
            is_short: false,
        })
    }

    #[inline(always)]
    fn normalize(&mut self) {
        if self.range < 1 << 24 {
            self.range <<= 8;
            let byte = match self.rest {
                [byte, rest @ ..] => {
                    self.rest = rest;
                    *byte
                }
                [] => {
                    self.is_short = true;
                    0
                }
            };
            self.code = self.code << 8 | u32::from(byte);
        }
    }

    #[inline(always)]
    pub(super) fn bit(&mut self, prob: &mut u16) -> bool {
        self.normalize();
        let bound = (self.range >> 11).wrapping_mul(u32::from(*prob));
        if self.code < bound {
            self.range = bound;
            *prob = prob.wrapping_add((2048u16.wrapping_sub(*prob)) >> 5);
            false
        } else {
            self.range = self.range.wrapping_sub(bound);
            self.code = self.code.wrapping_sub(bound);
            *prob = prob.wrapping_sub(*prob >> 5);
            true
        }
    }

    /// A tree of `N` probabilities, `log2(N)` bits, the highest first.
    #[inline(always)]
    fn tree<const N: usize>(&mut self, probs: &mut [u16; N]) -> usize {
        let mut symbol = 1;
        while symbol < N {
            symbol = symbol << 1 | usize::from(self.bit(&mut probs[symbol]));
        }
        symbol - N
    }

    /// `count` bits, the lowest first, from a tree whose root's place is `base + 1`.
    #[inline(always)]
    fn reverse_tree(&mut self, probs: &mut [u16; 128], base: usize, count: u32) -> u32 {
        let (mut symbol, mut value) = (1usize, 0u32);
        for index in 0..count {
            let bit = self.bit(&mut probs[(base + symbol) & 127]);
            symbol = symbol << 1 | usize::from(bit);
            value |= u32::from(bit) << index;
        }
        value
    }

    #[inline(always)]
    pub(super) fn literal(&mut self, probs: &mut [u16; LITERAL_PROBS]) -> u8 {
        let mut symbol = 1;
        while symbol < 0x100 {
            symbol = symbol << 1 | usize::from(self.bit(&mut probs[symbol]));
        }
        symbol as u8
    }

    /// A literal after a match: as long as its bits equal those of the byte the last match would have given next, they
    /// have probabilities of their own.
    #[inline(always)]
    pub(super) fn matched_literal(&mut self, probs: &mut [u16; LITERAL_PROBS], matched: u8) -> u8 {
        let (mut symbol, mut matched, mut offset) = (1usize, usize::from(matched), 0x100usize);
        while symbol < 0x100 {
            matched <<= 1;
            let matched_bit = matched & offset;
            // At most 0x100 + 0x100 + 0xff.
            if self.bit(&mut probs[offset + matched_bit + symbol]) {
                symbol = symbol << 1 | 1;
                offset = matched_bit;
            } else {
                symbol <<= 1;
                offset ^= matched_bit;
            }
        }
        symbol as u8
    }

    #[inline(always)]
    pub(super) fn length(&mut self, lengths: &mut Lengths, position_state: usize) -> usize {
        let [choice, choice2] = &mut lengths.choice;
        if !self.bit(choice) {
            MIN_MATCH + self.tree(&mut lengths.low[position_state])
        } else if !self.bit(choice2) {
            MIN_MATCH + 8 + self.tree(&mut lengths.middle[position_state])
        } else {
            MIN_MATCH + 16 + self.tree(&mut lengths.high)
        }
    }

    #[inline(always)]
    pub(super) fn distance(
        &mut self,
        slots: &mut [u16; 64],
        special: &mut [u16; 128],
        align: &mut [u16; 16],
    ) -> u32 {
        let slot = self.tree(slots) as u32;
        if slot < 4 {
            return slot;
        }
        let bits = (slot >> 1) - 1;
        let base = (2 | slot & 1) << bits;
        if slot < 14 {
            return base | self.reverse_tree(special, (base - slot) as usize, bits);
        }
        let mut direct = 0u32;
        for _ in 4..bits {
            self.normalize();
            self.range >>= 1;
            let is_one = self.code >= self.range;
            self.code = self.code.wrapping_sub(if is_one { self.range } else { 0 });
            direct = direct << 1 | u32::from(is_one);
        }
        let (mut symbol, mut low) = (1usize, 0u32);
        for index in 0..4 {
            let bit = self.bit(&mut align[symbol & 15]);
            symbol = symbol << 1 | usize::from(bit);
            low |= u32::from(bit) << index;
        }
        base | direct << 4 | low
    }

    /// Whether the chunk ends here.
    pub(super) fn into_finished(mut self) -> bool {
        self.normalize();
        self.rest.is_empty() && self.code == 0 && !self.is_short
    }
}
