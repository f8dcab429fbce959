//! Members of the unions in arguments.

use xen_abi::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The member that a command has.
///
/// # Errors
/// `EINVAL`: it is larger than the union.
pub(super) fn member<T: FromBytes>(union: &[u64; 16]) -> Result<T, Errno> {
    T::read_from_prefix(union.as_bytes()).map(|(value, _)| value).map_err(|_| Errno::EINVAL)
}

/// Writes it.
pub(super) fn put<T: IntoBytes + Immutable>(union: &mut [u64; 16], value: &T) {
    let bytes = value.as_bytes();
    union.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
}
