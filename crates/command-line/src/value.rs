//! The manual's value types: boolean, integer, size, list (section "Types of parameter").

/// What was expected, when a value is malformed.
pub(crate) type Expected = &'static str;

pub(crate) const BOOLEAN: Expected = "yes|on|true|enable|1 or no|off|false|disable|0";
pub(crate) const INTEGER: Expected = "an integer (decimal, 0x hexadecimal or 0 octal)";
pub(crate) const SIZE: Expected = "a size: an integer with an optional suffix b, k, m, g or t (default k)";

/// A boolean word.
pub(crate) fn boolean(text: &[u8]) -> Option<bool> {
    match text {
        b"yes" | b"on" | b"true" | b"enable" | b"1" => Some(true),
        b"no" | b"off" | b"false" | b"disable" | b"0" => Some(false),
        _ => None,
    }
}

/// An item of a list that names a boolean: `name`, `no-name` or `name=value`.
pub(crate) fn named_boolean(name: &[u8], item: &[u8]) -> Option<bool> {
    if item == name {
        Some(true)
    } else if item.strip_prefix(b"no-") == Some(name) {
        Some(false)
    } else {
        boolean(item.strip_prefix(name)?.strip_prefix(b"=")?)
    }
}

/// Digits at the start of `text`, by the base that its prefix tells, and what follows them.
pub(crate) fn leading_integer(text: &[u8]) -> Option<(u64, &[u8])> {
    let (base, mut rest) = match text {
        [b'0', b'x' | b'X', digits @ ..] => (16, digits),
        [b'0', next, ..] if next.is_ascii_digit() => (8, text),
        _ => (10, text),
    };
    let mut value = None;
    while let [digit, after @ ..] = rest
        && let Some(digit) = char::from(*digit).to_digit(base)
    {
        let so_far: u64 = value.unwrap_or(0);
        value = Some(so_far.checked_mul(u64::from(base))?.checked_add(u64::from(digit))?);
        rest = after;
    }
    Some((value?, rest))
}

/// A whole integer that fits `T`.
pub(crate) fn integer<T: TryFrom<u64>>(text: &[u8]) -> Option<T> {
    match leading_integer(text)? {
        (value, []) => T::try_from(value).ok(),
        _ => None,
    }
}

/// A size in bytes at the start of `text`, and what follows it. Without a suffix the unit is KiB.
pub(crate) fn leading_size(text: &[u8]) -> Option<(u64, &[u8])> {
    let (value, rest) = leading_integer(text)?;
    let (shift, rest) = match rest {
        [b't' | b'T', rest @ ..] => (40, rest),
        [b'g' | b'G', rest @ ..] => (30, rest),
        [b'm' | b'M', rest @ ..] => (20, rest),
        [b'k' | b'K', rest @ ..] => (10, rest),
        [b'b' | b'B', rest @ ..] => (0, rest),
        rest => (10, rest),
    };
    let bytes = value.checked_mul(1 << shift)?;
    Some((bytes, rest))
}

/// A whole size in bytes.
pub(crate) fn size(text: &[u8]) -> Option<u64> {
    match leading_size(text)? {
        (bytes, []) => Some(bytes),
        _ => None,
    }
}

/// The items of a comma-separated list; none in an empty text.
pub(crate) fn list(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b',').filter(|item| !item.is_empty())
}
