//! Why something is not copied.

use crate::error::{PackageError, Problem};
use crate::registry::{Fault, RegistryError};

/// What went wrong with a copy: at which of the two places, what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A layout on disk.
    #[error(transparent)]
    Layout(PackageError),
    /// A registry, or the way there.
    #[error(transparent)]
    Registry(RegistryError),
}

impl CopyError {
    /// True if the same may succeed later, with nobody doing anything about it.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Layout(_) => false,
            Self::Registry(error) => error.fault().may_pass(),
        }
    }

    /// True if what was asked for is not there.
    pub(super) fn is_absence(&self) -> bool {
        match self {
            Self::Layout(error) => {
                matches!(
                    error.problem(),
                    Problem::Missing { .. } | Problem::NoSuchTag(_)
                )
            }
            Self::Registry(error) => matches!(error.fault(), Fault::NotFound(_)),
        }
    }
}
