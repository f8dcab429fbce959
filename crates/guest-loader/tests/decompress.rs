//! Unpacking: sound samples give their content, damaged ones an error, and none a panic.

use guest_loader::LoadError;
use guest_loader::decompress::{Format, decompress_into, decompressed_size_hint, format};
use proptest::prelude::*;

const LEN: usize = 24_000;
const SAMPLES: [(Format, &[u8]); 5] = [
    (Format::Xz, include_bytes!("samples/xz")),
    (Format::Xz, include_bytes!("samples/xz-blocks")), // several blocks, CRC-64, other LZMA properties
    (Format::Zstd, include_bytes!("samples/zstd")),
    (Format::Gzip, include_bytes!("samples/gzip")),
    (Format::Lz4, include_bytes!("samples/lz4")),
];

/// What the samples hold: near calls (for the x86 filter), repeated text and noise.
fn content() -> Vec<u8> {
    let (mut state, mut out) = (0x1234_5678_u32, Vec::new());
    while out.len() < LEN {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, low, middle, high] = state.to_le_bytes();
        match high {
            0..96 => {
                out.push(0xe8);
                out.extend((state & 0x3fff).to_le_bytes());
            }
            96..200 => {
                out.extend(b"movq %rax, ");
                out.extend([b'a' + ((state >> 16) % 26) as u8; 3]);
            }
            _ => out.extend([low, middle]),
        }
    }
    out.truncate(LEN);
    out
}

#[test]
fn samples_unpack_to_their_content() {
    for (expected, sample) in SAMPLES {
        assert_eq!(format(sample), Ok(expected));
        assert_eq!(decompressed_size_hint(sample), Some(LEN as u32), "{expected:?}");
        for spare in [0, 1, 5000] {
            let mut out = vec![0xaa; LEN + spare];
            assert_eq!(decompress_into(sample, &mut out), Ok(LEN), "{expected:?}");
            assert!(out[..LEN] == content(), "{expected:?}");
        }
    }
}

#[test]
fn a_small_output_is_an_error() {
    for (name, sample) in SAMPLES {
        for len in [0, 1, 100, LEN / 2, LEN - 1] {
            let error = decompress_into(sample, &mut vec![0; len]);
            assert_eq!(error, Err(LoadError::OutputTooSmall { available: len as u64 }), "{name:?}");
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    let mut out = vec![0; LEN];
    for (name, sample) in SAMPLES {
        // The appended size is not part of the stream, nor is there an end mark in lz4.
        let stream = if name == Format::Gzip { sample.len() } else { sample.len() - 4 };
        for len in (0..stream).step_by(7).chain(stream - 40..stream) {
            let result = decompress_into(&sample[..len], &mut out);
            let at_block_end = name == Format::Lz4 && matches!(result, Ok(unpacked) if unpacked < LEN);
            assert!(result.is_err() || at_block_end, "{name:?} cut to {len} of {stream}: {result:?}");
        }
    }
}

#[test]
fn a_flipped_bit_never_gives_other_content() {
    let content = content();
    let mut out = vec![0; LEN];
    for (name, sample) in SAMPLES {
        for bit in (0..sample.len() * 8).step_by(11) {
            let mut damaged = sample.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // Legacy lz4 has no checksum: it must only not panic.
            if let Ok(len) = decompress_into(&damaged, &mut out)
                && name != Format::Lz4
            {
                assert!(out[..len] == content, "{name:?}: bit {bit} went unnoticed");
            }
        }
    }
}

#[test]
fn known_formats_that_are_not_supported_are_named() {
    for (magic, name) in [(&b"BZh9"[..], "bzip2"), (b"\x5d\0\0\x80", "lzma"), (b"\x89LZO", "lzo")] {
        let error = decompress_into(magic, &mut []).unwrap_err();
        assert_eq!(error, LoadError::UnsupportedCompression(name));
        assert!(error.to_string().contains(name));
    }
    assert_eq!(decompress_into(b"\0\0\0\0\0", &mut []), Err(LoadError::UnknownCompression([0; 4])));
}

proptest! {
    #[test]
    fn damage_never_panics(
        which in 0..SAMPLES.len(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..16),
        keep in any::<prop::sample::Index>(),
        room in 0..2 * LEN,
    ) {
        let mut bytes = SAMPLES[which].1.to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decompress_into(&bytes, &mut vec![0; room]);
        bytes.truncate(keep.index(bytes.len()));
        let _ = decompress_into(&bytes, &mut vec![0; room]);
    }

    #[test]
    fn noise_behind_a_magic_never_panics(which in 0..SAMPLES.len(), noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = SAMPLES[which].1[..8].to_vec();
        bytes.extend(noise);
        let _ = decompress_into(&bytes, &mut [0; 4096]);
    }
}
