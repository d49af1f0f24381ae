//! Packages in registries (`oci://host/repository:tag`).
//!
//! The words of the protocol (references, credentials, errors in bodies) are `oci-distribution`'s.
//! The requests are made here, since its client cannot be given to a registry that nobody trusts:
//! it reads bodies without bound, drops `Retry-After`, reads but does not write the tags that stand
//! in for the referrers API, and panics where no certificate authority is found or where a token or
//! an upload's address is no proper text.
//!
//! **Invariant: a registry is hostile.** Every body is bounded, every answer and every body has its
//! time, every manifest, config and module is compared with its digest and size, credentials go to
//! the registry and to its token service and nowhere else, and never over an open line.

mod access;
mod address;
mod answer;
mod attach;
mod client;
mod download;
mod error;
mod helper;
mod image;
mod login;
mod manifests;
mod metadata;
mod referrers;
mod remove;
mod roots;
mod stream;
mod token;
mod upload;

pub use access::{Access, AccessError};
pub use address::RegistryReference;
pub(crate) use address::{PLAIN_SCHEME, SCHEME};
pub use client::{Limits, Registry};
pub(crate) use download::Wanted;
pub use error::{Fault, RegistryError};
pub(crate) use metadata::blocking;
pub(crate) use upload::Source;

/// Told of bytes on their way, for whoever draws bars. `()` wants to know nothing.
pub trait Progress: Send + Sync {
    /// So many bytes are wanted in all.
    fn wanted(&self, bytes: u64);
    /// So many bytes more have travelled.
    fn moved(&self, bytes: u64);
    /// So many bytes need not travel: they were there.
    fn present(&self, bytes: u64);
}

impl Progress for () {
    fn wanted(&self, _bytes: u64) {}
    fn moved(&self, _bytes: u64) {}
    fn present(&self, _bytes: u64) {}
}

/// Blobs that travel at the same time: enough to hide the way there and back, and few enough to
/// leave a registry to others.
pub(crate) const AT_ONCE: usize = 8;
