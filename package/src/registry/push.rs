//! From a layout into a registry.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use placet_model::Digest;

use super::client::Registry;
use super::error::{Outcome, RegistryError};
use super::pull::blocking;
use super::upload::Source;
use super::{AT_ONCE, Progress, RegistryReference};
use crate::files;
use crate::layout::Layout;
use crate::manifest::{IMAGE_MANIFEST, MANIFEST_MAX};
use crate::package::{self, Package};

/// A package that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Bytes that travelled.
    pub bytes: u64,
    /// How many blobs travelled.
    pub blobs: usize,
    /// How many blobs the registry had.
    pub present: usize,
}

impl Registry {
    /// Stores a package of a layout under `reference`. Blobs that the repository has do not travel;
    /// the manifest comes last, so that nobody finds a package that is not whole.
    ///
    /// # Errors
    ///
    /// The package is not whole, or the registry does not take it.
    pub async fn push(
        &self,
        package: &Package,
        reference: &RegistryReference,
        progress: &dyn Progress,
    ) -> Result<Pushed, RegistryError> {
        let pushed = self.push_all(package, reference, progress).await;
        pushed.map_err(|fault| RegistryError::new(reference, fault))
    }

    async fn push_all(
        &self,
        package: &Package,
        reference: &RegistryReference,
        progress: &dyn Progress,
    ) -> Outcome<Pushed> {
        let (layout, digest) = (&package.layout, package.digest);
        let mut blobs = blocking(layout, move |layout| package::layers(layout, &digest)).await?;
        let manifest = blocking(layout, move |layout| {
            files::read(&layout.blob_path(&digest), MANIFEST_MAX)
        })
        .await?;
        let config = blocking(layout, move |layout| package::config_blob(layout, &digest)).await?;
        blobs.extend([config]);
        progress.wanted(blobs.values().sum());
        let count = blobs.len();
        let sends: Vec<_> = blobs
            .into_iter()
            .map(|blob| self.send_from(layout, reference, blob, progress))
            .collect();
        let sent: Vec<u64> = stream::iter(sends)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        self.send_manifest(reference, IMAGE_MANIFEST, &manifest)
            .await?;
        let blobs = sent.iter().filter(|bytes| **bytes > 0).count();
        Ok(Pushed {
            digest,
            bytes: sent.iter().sum(),
            blobs,
            present: count - blobs,
        })
    }

    async fn send_from(
        &self,
        layout: &Layout,
        reference: &RegistryReference,
        (digest, size): (Digest, u64),
        progress: &dyn Progress,
    ) -> Outcome<u64> {
        let path = layout.blob_path(&digest);
        let source = Source::File(&path);
        self.send_blob(&reference.repository, (digest, size), source, progress)
            .await
    }
}
