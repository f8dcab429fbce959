//! xz (tukaani.org/xz/xz-file-format.txt), with the x86 branch filter.

use super::{MAX_WINDOW, too_small};
use crate::LoadError;
use alloc::vec::Vec;
use xz4rust::{XzDecoder, XzError, XzNextBlockResult};

const NAME: &str = "xz";

/// Unpacks the first stream of `payload` into `out`.
pub(super) fn decompress(payload: &[u8], out: &mut [u8]) -> Result<usize, LoadError> {
    // The decoder says how large a dictionary the file wants; only then is it allocated, fallibly.
    match run(payload, out, Vec::new()) {
        Err(Stop::NeedsDictionary(needed)) => {
            let no_memory = LoadError::NoWorkingMemory { needed };
            if needed > MAX_WINDOW {
                return Err(LoadError::WindowTooLarge { needed, limit: MAX_WINDOW });
            }
            let len = usize::try_from(needed).map_err(|_| no_memory)?;
            let mut dictionary = Vec::new();
            dictionary.try_reserve_exact(len).map_err(|_| no_memory)?;
            dictionary.resize(len, 0);
            run(payload, out, dictionary)
        }
        other => other,
    }
    .map_err(|stop| match stop {
        Stop::NeedsDictionary(needed) => LoadError::WindowTooLarge { needed, limit: MAX_WINDOW },
        Stop::Error(error) => error,
    })
}

enum Stop {
    NeedsDictionary(u64),
    Error(LoadError),
}

fn run(payload: &[u8], out: &mut [u8], dictionary: Vec<u8>) -> Result<usize, Stop> {
    let limit = dictionary.len();
    let mut decoder = XzDecoder::in_heap_with_alloc_dict(dictionary, limit);
    let (mut read, mut written) = (0, 0);
    loop {
        let input = payload.get(read..).unwrap_or(&[]);
        let output = out.get_mut(written..).unwrap_or(&mut []);
        let full = output.is_empty();
        let step = decoder.decode(input, output).map_err(|error| match error {
            XzError::DictionaryTooLarge(needed) => Stop::NeedsDictionary(needed),
            error => Stop::Error(LoadError::Corrupt(NAME, describe(&error))),
        })?;
        read += step.input_consumed();
        written += step.output_produced();
        match step {
            XzNextBlockResult::EndOfStream(..) => return Ok(written),
            XzNextBlockResult::NeedMoreData(0, 0) if full => return Err(Stop::Error(too_small(out))),
            XzNextBlockResult::NeedMoreData(0, 0) => {
                return Err(Stop::Error(LoadError::Corrupt(NAME, "ends too early")));
            }
            XzNextBlockResult::NeedMoreData(..) => {}
        }
    }
}

fn describe(error: &XzError) -> &'static str {
    match error {
        XzError::NeedsLargerInputBuffer => "ends too early",
        XzError::ContentCrc32Mismatch(..) | XzError::ContentCrc64Mismatch(..) => "checksum mismatch",
        XzError::StreamHeaderCrc32Mismatch(..) | XzError::BlockHeaderCrc32Mismatch(..) => {
            "header checksum mismatch"
        }
        XzError::UnsupportedBcjFilter(..)
        | XzError::UnsupportedBlockHeaderOption
        | XzError::UnsupportedStreamHeaderOption
        | XzError::UnsupportedCheckType(..) => "unsupported option",
        _ => "invalid data",
    }
}
