//! Packages that a listed key has signed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use placet_model::{Digest, PublicKey};
use placet_package::Package;
use placet_package::trust::verify;
use placet_planner::Unresolved;

use super::unresolved;

/// The packages that were verified so far, each with the key that has signed it. Clones share them.
///
/// What was verified once stays so: neither a package nor a signature by a key can become another. A
/// key that is no longer listed does not count any more, since it is not asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Signatures {
    /// Digest of the package, and the key.
    verified: Arc<Mutex<BTreeSet<(Digest, Digest)>>>,
}

impl Signatures {
    /// Accepts a package that one of `keys` has signed. Its layout is read where that is not known.
    ///
    /// # Errors
    ///
    /// None of them has, or the layout cannot be read.
    pub(super) fn check(&self, package: &Package, keys: &[PublicKey]) -> Result<(), Unresolved> {
        if self.is_known(&package.digest, keys) {
            return Ok(());
        }
        let evidence = package.layout.evidence(&package.digest);
        let evidence = evidence.map_err(|error| unresolved(&error))?;
        let key = verify(&package.digest, &evidence, keys)
            .map_err(|unsigned| Unresolved::Untrusted(unsigned.to_string()))?;
        self.verified().insert((package.digest, key));
        Ok(())
    }

    fn is_known(&self, package: &Digest, keys: &[PublicKey]) -> bool {
        let verified = self.verified();
        let mut keys = keys.iter();
        keys.any(|key| verified.contains(&(*package, key.id())))
    }

    fn verified(&self) -> MutexGuard<'_, BTreeSet<(Digest, Digest)>> {
        // Each insertion stands for itself: a panic in between leaves nothing half done.
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
