//! Rust source with comments and literals blanked, so that a search finds code only.

/// The same text, as long and with the same lines, with the inside of comments, strings and characters as spaces.
pub(super) fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut result = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        for byte in &mut result[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&result).into_owned()
}

/// The end of the comment or literal that starts at `at`; `at` itself when none does.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let length = match rest {
        [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => quoted(rest),
        [b'r', ..] if !inside_word(bytes, at) => raw_string(rest),
        [b'\'', ..] => character(rest),
        _ => 0,
    };
    at + length
}

/// Whether the byte before continues a word (`b` of a byte string does not count).
fn inside_word(bytes: &[u8], at: usize) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match bytes[..at] {
        [.., before, b'b' | b'c'] => word(before),
        [b'b' | b'c'] | [] => false,
        [.., before] => word(before),
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match rest[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth = depth.saturating_sub(1);
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"..."` or `r#"..."#` with any number of `#`; 0 for a raw identifier or a plain word.
fn raw_string(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let body = &rest[2 + hashes..];
    let end = body.windows(close.len()).position(|window| window == close);
    end.map_or(rest.len(), |end| 2 + hashes + end + close.len())
}

/// A character literal; 0 for a lifetime.
fn character(rest: &[u8]) -> usize {
    match rest.get(1) {
        Some(b'\\') => rest.iter().skip(3).position(|byte| *byte == b'\'').map_or(0, |end| end + 4),
        Some(_) => {
            // At most four bytes of UTF-8 stand between the quotes.
            let end = rest.iter().skip(2).take(4).position(|byte| *byte == b'\'').map_or(0, |end| end + 3);
            if end > 3 && rest[1].is_ascii() { 0 } else { end }
        }
        None => 0,
    }
}

/// The lines (from 0) on which a whole word stands in code.
pub(super) fn lines_with_word(code: &str, word: &str) -> Vec<usize> {
    let part = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let has = |line: &str| {
        line.match_indices(word).any(|(at, _)| {
            let before = at.checked_sub(1).and_then(|at| line.as_bytes().get(at).copied());
            let after = line.as_bytes().get(at + word.len()).copied();
            !part(before) && !part(after)
        })
    };
    code.lines().enumerate().filter(|(_, line)| has(line)).map(|(number, _)| number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank() {
        let text =
            "a // unsafe\n/* unsafe /* x */ unsafe */ b \"unsafe \\\" unsafe\" c r#\"unsafe\"# 'u' '\\'' d";
        let code = code_only(text);
        assert_eq!(code.len(), text.len());
        assert!(lines_with_word(&code, "unsafe").is_empty(), "{code}");
        for word in ["a", "b", "c", "d"] {
            assert_eq!(lines_with_word(&code, word).len(), 1, "{word} in {code}");
        }
    }

    #[test]
    fn lifetimes_are_code() {
        let code = code_only("fn f<'a>(x: &'a str) { unsafe {} } 'b: loop {}");
        assert_eq!(lines_with_word(&code, "unsafe"), [0]);
        assert_eq!(lines_with_word(&code, "loop"), [0]);
    }

    #[test]
    fn words_are_whole() {
        assert!(lines_with_word("unsafe_code not_unsafe", "unsafe").is_empty());
        assert_eq!(lines_with_word("x\npub unsafe fn", "unsafe"), [1]);
    }

    #[test]
    fn unfinished_text_ends() {
        for text in ["\"abc", "/* abc", "r#\"abc", "'", "'\\", "b\"", "é'é'"] {
            assert_eq!(code_only(text).lines().count(), 1);
        }
    }
}
