//! `domctl` by the interface version that each call carries: the tools of all known releases are served alike.

use crate::control::DomainRequest;
use crate::{v4_17, v4_20};
use xen_abi::Errno;
use xen_abi::domctl::Domctl;

pub use crate::v4_17::domctl::{domain_info, encode, encode_change};

/// Decodes an argument.
///
/// # Errors
/// `EACCES`: of a release that is not known; `EINVAL`: impossible values.
pub fn decode(op: &Domctl) -> Result<DomainRequest, Errno> {
    match op.interface_version {
        v4_20::domctl::INTERFACE_VERSION => v4_20::domctl::decode(op),
        _ => v4_17::domctl::decode(op),
    }
}
