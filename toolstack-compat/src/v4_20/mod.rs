//! Xen 4.20: what differs from 4.17. `sysctl` has the same version and, as far as it is decoded here, the same structures.

pub mod domctl;
pub mod version;
