//! LZMA2 (the LZMA specification of the LZMA SDK, and xz's lzma2 chunk format).
//!
//! Decodes straight into the output, which is the dictionary too: no other memory is needed, and nothing is
//! copied twice.

use super::range_coder::{HALF, LITERAL_PROBS, Lengths, MIN_MATCH, POSITIONS, RangeCoder};
use alloc::vec;
use alloc::vec::Vec;

const STATES: usize = 12;
/// Literal coders are chosen by `1 << (lc + lp)` contexts, of which LZMA2 allows 16.
const LITERAL_CONTEXTS: usize = 16;
/// States from this on follow a match.
const FIRST_MATCH_STATE: usize = 7;

/// What is wrong with the data.
pub(super) type Damage = &'static str;
const INVALID: Damage = "invalid data";
const EARLY: Damage = "ends too early";

/// Why decoding stopped before the end.
pub(super) enum Stop {
    Damaged(Damage),
    OutputFull,
}

impl From<Damage> for Stop {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

/// The state that lives from chunk to chunk.
pub(super) struct Decoder {
    /// On the heap: 24 KiB are much for a stack.
    literals: Vec<[u16; LITERAL_PROBS]>,
    is_match: [[u16; POSITIONS]; STATES],
    is_rep: [u16; STATES],
    is_rep_not_0: [u16; STATES],
    is_rep_not_1: [u16; STATES],
    is_rep_not_2: [u16; STATES],
    is_rep_0_long: [[u16; POSITIONS]; STATES],
    slots: [[u16; 64]; 4],
    special: [u16; 128],
    align: [u16; 16],
    match_lengths: Lengths,
    rep_lengths: Lengths,
    state: usize,
    reps: [u32; 4],
    literal_context_bits: u32,
    literal_position_mask: usize,
    position_mask: usize,
}

impl Decoder {
    const NEW: Self = Self {
        literals: Vec::new(),
        is_match: [[HALF; POSITIONS]; STATES],
        is_rep: [HALF; STATES],
        is_rep_not_0: [HALF; STATES],
        is_rep_not_1: [HALF; STATES],
        is_rep_not_2: [HALF; STATES],
        is_rep_0_long: [[HALF; POSITIONS]; STATES],
        slots: [[HALF; 64]; 4],
        special: [HALF; 128],
        align: [HALF; 16],
        match_lengths: Lengths::NEW,
        rep_lengths: Lengths::NEW,
        state: 0,
        reps: [0; 4],
        literal_context_bits: 0,
        literal_position_mask: 0,
        position_mask: 0,
    };

    pub(super) fn new() -> Self {
        Self { literals: vec![[HALF; LITERAL_PROBS]; LITERAL_CONTEXTS], ..Self::NEW }
    }

    /// Decodes the chunks at the start of `input` into `out`; returns how much of each was used.
    pub(super) fn run(&mut self, input: &[u8], out: &mut [u8]) -> Result<(usize, usize), Stop> {
        let mut rest = input;
        let (mut written, mut dictionary) = (0usize, None);
        let (mut has_properties, mut has_state) = (false, false);
        loop {
            let control = take_byte(&mut rest)?;
            if control == 0 {
                return Ok((input.len() - rest.len(), written));
            }
            if control == 1 || control >= 0xe0 {
                dictionary = Some(written);
                (has_properties, has_state) = (false, false);
            }
            let dictionary_start = dictionary.ok_or(INVALID)?;
            let size_high = if control >= 0x80 { usize::from(control & 0x1f) << 16 } else { 0 };
            let unpacked = size_high + usize::from(take_u16(&mut rest)?) + 1;
            if control < 0x80 {
                if control > 2 {
                    return Err(INVALID.into());
                }
                let bytes = take(&mut rest, unpacked)?;
                let target = out.get_mut(written..written + unpacked).ok_or(Stop::OutputFull)?;
                target.copy_from_slice(bytes);
                written += unpacked;
                continue;
            }
            let packed = usize::from(take_u16(&mut rest)?) + 1;
            if control >= 0xc0 {
                self.set_properties(take_byte(&mut rest)?)?;
                has_properties = true;
            }
            if control >= 0xa0 {
                self.reset();
                has_state = true;
            }
            if !has_properties || !has_state {
                return Err(INVALID.into());
            }
            let end = written + unpacked;
            if end > out.len() {
                return Err(Stop::OutputFull);
            }
            let bytes = take(&mut rest, packed)?;
            // The chunk sees its dictionary and what is behind the chunk (room for wide copies), nothing else.
            let window = out.get_mut(dictionary_start..).ok_or(INVALID)?;
            self.chunk(bytes, window, written - dictionary_start, end - dictionary_start).ok_or(INVALID)?;
            written = end;
        }
    }

    fn set_properties(&mut self, byte: u8) -> Result<(), Damage> {
        let (context, rest) = (u32::from(byte % 9), byte / 9);
        let (literal_position, position) = (rest % 5, rest / 5);
        if position > 4 || context + u32::from(literal_position) > 4 {
            return Err(INVALID);
        }
        self.literal_context_bits = context;
        self.literal_position_mask = (1 << literal_position) - 1;
        self.position_mask = (1 << position) - 1;
        Ok(())
    }

    fn reset(&mut self) {
        let (context, literal_position, position) =
            (self.literal_context_bits, self.literal_position_mask, self.position_mask);
        self.literals.as_flattened_mut().fill(HALF);
        self.is_match.as_flattened_mut().fill(HALF);
        self.is_rep.fill(HALF);
        self.is_rep_not_0.fill(HALF);
        self.is_rep_not_1.fill(HALF);
        self.is_rep_not_2.fill(HALF);
        self.is_rep_0_long.as_flattened_mut().fill(HALF);
        self.slots.as_flattened_mut().fill(HALF);
        self.special.fill(HALF);
        self.align.fill(HALF);
        self.match_lengths = Lengths::NEW;
        self.rep_lengths = Lengths::NEW;
        (self.state, self.reps) = (0, [0; 4]);
        (self.literal_context_bits, self.literal_position_mask, self.position_mask) =
            (context, literal_position, position);
    }

    /// Decodes one LZMA chunk: `out[position..end]`. `None` if it is damaged.
    fn chunk(&mut self, bytes: &[u8], out: &mut [u8], mut position: usize, end: usize) -> Option<()> {
        let mut coder = RangeCoder::new(bytes)?;
        let literals = self.literals.first_chunk_mut::<LITERAL_CONTEXTS>()?;
        let mut state = self.state;
        let [mut rep0, mut rep1, mut rep2, mut rep3] = self.reps;
        while position < end {
            let position_state = position & self.position_mask & (POSITIONS - 1);
            if !coder.bit(&mut self.is_match[state][position_state]) {
                let before = if position > 0 { out[position - 1] } else { 0 };
                let context = ((position & self.literal_position_mask) << self.literal_context_bits)
                    | (usize::from(before) >> (8 - self.literal_context_bits));
                let probs = &mut literals[context & (LITERAL_CONTEXTS - 1)];
                out[position] = if state < FIRST_MATCH_STATE {
                    coder.literal(probs)
                } else {
                    let matched = *out.get(position.checked_sub(rep0 as usize + 1)?)?;
                    coder.matched_literal(probs, matched)
                };
                position += 1;
                state = match state {
                    0..4 => 0,
                    4..10 => state - 3,
                    _ => state - 6,
                };
                continue;
            }
            let length;
            if !coder.bit(&mut self.is_rep[state]) {
                length = coder.length(&mut self.match_lengths, position_state);
                (rep3, rep2, rep1) = (rep2, rep1, rep0);
                let slots = &mut self.slots[(length - MIN_MATCH).min(3)];
                rep0 = coder.distance(slots, &mut self.special, &mut self.align);
                state = if state < FIRST_MATCH_STATE { 7 } else { 10 };
            } else {
                let mut is_short = false;
                if !coder.bit(&mut self.is_rep_not_0[state]) {
                    is_short = !coder.bit(&mut self.is_rep_0_long[state][position_state]);
                } else if !coder.bit(&mut self.is_rep_not_1[state]) {
                    (rep0, rep1) = (rep1, rep0);
                } else if !coder.bit(&mut self.is_rep_not_2[state]) {
                    (rep0, rep1, rep2) = (rep2, rep0, rep1);
                } else {
                    (rep0, rep1, rep2, rep3) = (rep3, rep0, rep1, rep2);
                }
                if is_short {
                    length = 1;
                    state = if state < FIRST_MATCH_STATE { 9 } else { 11 };
                } else {
                    length = coder.length(&mut self.rep_lengths, position_state);
                    state = if state < FIRST_MATCH_STATE { 8 } else { 11 };
                }
            }
            position = copy(out, position, rep0 as usize, length, end)?;
        }
        self.state = state;
        self.reps = [rep0, rep1, rep2, rep3];
        coder.into_finished().then_some(())
    }
}

/// Copies `length` bytes from `distance + 1` before `position` to it; returns the position behind them. `None` if the
/// source is not in the dictionary or the match passes `end`.
#[inline(always)]
fn copy(out: &mut [u8], position: usize, distance: usize, length: usize, end: usize) -> Option<usize> {
    const STEP: usize = 8;
    let mut from = position.checked_sub(distance + 1)?;
    let after = position + length;
    if after > end {
        return None;
    }
    let mut to = position;
    if distance + 1 >= STEP && after + STEP <= out.len() {
        // May write past the match: what it writes there comes later.
        while to < after {
            let word: [u8; STEP] = *out.get(from..from + STEP)?.first_chunk()?;
            *out.get_mut(to..to + STEP)?.first_chunk_mut()? = word;
            (from, to) = (from + STEP, to + STEP);
        }
    } else {
        while to < after {
            *out.get_mut(to)? = *out.get(from)?;
            (from, to) = (from + 1, to + 1);
        }
    }
    Some(after)
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], Damage> {
    let (taken, after) = rest.split_at_checked(len).ok_or(EARLY)?;
    *rest = after;
    Ok(taken)
}

fn take_byte(rest: &mut &[u8]) -> Result<u8, Damage> {
    take(rest, 1).map(|bytes| bytes[0])
}

fn take_u16(rest: &mut &[u8]) -> Result<u16, Damage> {
    take(rest, 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use super::{Decoder, Stop, copy};
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn run(input: &[u8], out: &mut [u8]) -> Option<(usize, usize)> {
        Decoder::new().run(input, out).ok()
    }

    #[test]
    fn stored_chunks_are_copied() {
        let mut out = [0; 8];
        assert_eq!(run(b"\x01\0\x02abc\x02\0\x01de\0more", &mut out), Some((12, 5)));
        assert_eq!(&out[..5], b"abcde");
        assert!(matches!(Decoder::new().run(b"\x01\0\x02abc\0", &mut out[..2]), Err(Stop::OutputFull)));
    }

    #[test]
    fn chunks_that_lack_what_they_need_are_refused() {
        let mut out = [0; 64];
        for input in [
            &b""[..],
            b"\x02\0\0a\0",                           // no dictionary yet
            b"\x03\0\0a\0",                           // no such chunk
            b"\x01\0\0",                              // cut
            b"\x01\0\0a\xa0\0\0\0\x05\0\0\0\0\0\0\0", // no properties
            b"\xe0\0\0\0\x05\xff\0\0\0\0\0\0\0",      // impossible properties
        ] {
            assert_eq!(run(input, &mut out), None, "{input:x?}");
        }
    }

    proptest! {
        #[test]
        fn copies_repeat_what_is_before(
            before in proptest::collection::vec(any::<u8>(), 1..40), distance in 0usize..50, length in 1usize..300, spare in 0usize..20
        ) {
            let position = before.len();
            let end = position + length;
            let mut out = before.clone();
            out.resize(end + spare, 0);
            let copied = copy(&mut out, position, distance, length, end);
            prop_assert_eq!(copied, (distance < position).then_some(end));
            if copied.is_some() {
                let mut expected: Vec<u8> = before;
                for index in 0..length {
                    expected.push(expected[position + index - distance - 1]);
                }
                prop_assert_eq!(&out[..end], &expected[..]);
            }
            prop_assert_eq!(copy(&mut out, position, distance, length, end - 1), None);
        }

        #[test]
        fn any_chunk_ends_or_fails(noise in proptest::collection::vec(any::<u8>(), 0..400), properties in 0u8..225) {
            let mut input = vec![0xe0, 0x0f, 0xff, 0, 0, properties, 0];
            input.extend(&noise);
            let packed = (noise.len() as u16).to_be_bytes();
            input[3..5].copy_from_slice(&packed);
            input.push(0);
            let _ = run(&input, &mut [0; 5000]);
            let _ = run(&noise, &mut [0; 5000]);
        }
    }
}
