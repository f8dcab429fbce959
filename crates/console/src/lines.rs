//! A prefix at the start of each line.

/// Knows whether the output stands at the start of a line.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    at_start: bool,
}

impl Lines {
    /// At the start.
    pub const fn new() -> Self {
        Self { at_start: true }
    }

    /// Passes `text` on to `out` in pieces, with `prefix` before each line's first character.
    pub fn write(&mut self, prefix: &str, text: &str, out: &mut impl FnMut(&str)) {
        for line in text.split_inclusive('\n') {
            if core::mem::replace(&mut self.at_start, line.ends_with('\n')) {
                out(prefix);
            }
            out(line);
        }
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::String;

    #[test]
    fn every_line_gets_one_prefix_however_it_is_cut() {
        let text = "one\n\ntwo three\nfour";
        for cut in 0..=text.len() {
            let (mut lines, mut all) = (Lines::new(), String::new());
            for piece in [&text[..cut], &text[cut..]] {
                lines.write("> ", piece, &mut |out| all.push_str(out));
            }
            assert_eq!(all, "> one\n> \n> two three\n> four", "cut at {cut}");
        }
    }
}
