//! Images, which are no packages.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use placet_model::Digest;

use super::client::Registry;
use super::error::{Outcome, RegistryError};
use super::metadata::blocking;
use super::{AT_ONCE, Progress, RegistryReference};
use crate::layout::Layout;
use crate::manifest::{DOCKER_INDEX, DOCKER_MANIFEST, IMAGE_INDEX, IMAGE_MANIFEST};

const IMAGE_TYPES: [&str; 4] = [IMAGE_MANIFEST, IMAGE_INDEX, DOCKER_MANIFEST, DOCKER_INDEX];

impl Registry {
    /// Fetches the manifest or index of an image into `layout` as it came, of OCI or of Docker; its
    /// digest. What it points at is fetched with this function again, or with
    /// [`Registry::fetch_all`].
    ///
    /// # Guarantees
    ///
    /// Its bytes are those of the digest, where `reference` has one or the registry says one; it is
    /// bounded, and nothing in it was checked.
    ///
    /// # Errors
    ///
    /// The registry cannot be asked, does not have it, or sends something else.
    pub async fn fetch_image_manifest(
        &self,
        reference: &RegistryReference,
        layout: &Layout,
    ) -> Result<Digest, RegistryError> {
        let kept = self.keep_image_manifest(reference, layout).await;
        kept.map_err(|fault| RegistryError::new(reference, fault))
    }

    /// Fetches blobs into `layout`, several at a time: digests and sizes.
    ///
    /// # Guarantees
    ///
    /// As [`Registry::fetch`] for each.
    ///
    /// # Errors
    ///
    /// As [`Registry::fetch`], of the first that cannot be fetched.
    pub async fn fetch_all(
        &self,
        reference: &RegistryReference,
        blobs: &BTreeMap<Digest, u64>,
        layout: &Layout,
        progress: &dyn Progress,
    ) -> Result<(), RegistryError> {
        let fetches: Vec<_> = blobs
            .iter()
            .map(|(digest, size)| self.fetch(reference, (*digest, *size), layout, progress))
            .collect();
        let done = stream::iter(fetches).buffer_unordered(AT_ONCE);
        done.try_for_each(|_| async { Ok(()) }).await
    }

    async fn keep_image_manifest(
        &self,
        reference: &RegistryReference,
        layout: &Layout,
    ) -> Outcome<Digest> {
        let bytes = self.manifest_bytes(reference, &IMAGE_TYPES).await?;
        let digest = Digest::of(&bytes);
        blocking(layout, move |layout| layout.keep(&bytes)).await?;
        Ok(digest)
    }
}
