//! From a registry into a layout.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use placet_model::{Digest, PackageConfig};
use tokio::task::spawn_blocking;

use super::client::Registry;
use super::download::Wanted;
use super::error::{Fault, Outcome, RegistryError};
use super::{AT_ONCE, Progress, RegistryReference};
use crate::layout::Layout;
use crate::manifest::{self, MANIFEST_MAX, Manifest, symbol_digests};
use crate::package::{self, Package};
use crate::reference::Selector;

/// A package that was pulled.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The package, in its layout.
    pub package: Package,
    /// Bytes of modules and lists of symbols that travelled.
    pub bytes: u64,
    /// How many blobs travelled.
    pub blobs: usize,
}

impl Registry {
    /// Fetches manifest and config of a package into `layout`, and reads them: enough to plan with.
    /// What the layout has already is not asked for. Modules are fetched with [`Registry::fetch`].
    ///
    /// # Guarantees
    ///
    /// Manifest, config and layers agree, and every rule of the format holds.
    ///
    /// # Errors
    ///
    /// The registry cannot be asked, or what it has is no package.
    pub async fn metadata(
        &self,
        reference: &RegistryReference,
        layout: &Layout,
    ) -> Result<Package, RegistryError> {
        let read = self.read_metadata(reference, layout).await;
        read.map_err(|fault| RegistryError::new(reference, fault))
    }

    /// Fetches a whole package into `layout`; with a tag it has the same tag there. Blobs that are
    /// there do not travel.
    ///
    /// # Errors
    ///
    /// The registry cannot be asked, what it has is no package, or the disk refuses.
    pub async fn pull(
        &self,
        reference: &RegistryReference,
        layout: &Layout,
        progress: &dyn Progress,
    ) -> Result<Pulled, RegistryError> {
        let pulled = self.pull_all(reference, layout, progress).await;
        pulled.map_err(|fault| RegistryError::new(reference, fault))
    }

    /// Fetches those lists of symbols of a package that are `wanted` into its layout.
    ///
    /// # Errors
    ///
    /// As for [`Registry::fetch`].
    pub async fn fetch_symbols(
        &self,
        reference: &RegistryReference,
        package: &Package,
        wanted: &BTreeSet<Digest>,
    ) -> Result<(), RegistryError> {
        let (layout, manifest) = (&package.layout, package.digest);
        let sizes = blocking(layout, move |layout| package::layers(layout, &manifest)).await;
        let sizes = sizes.map_err(|fault| RegistryError::new(reference, fault))?;
        for digest in symbol_digests(&package.config).intersection(wanted) {
            if let Some(size) = sizes.get(digest) {
                self.fetch(reference, (*digest, *size), layout, &()).await?;
            }
        }
        Ok(())
    }

    async fn read_metadata(
        &self,
        reference: &RegistryReference,
        layout: &Layout,
    ) -> Outcome<Package> {
        if let Selector::Digest(digest) = reference.selector
            && let Ok(known) =
                blocking(layout, move |layout| package::metadata(layout, &digest)).await
        {
            return Ok(known);
        }
        let document = self.manifest(reference).await?;
        let manifest: Manifest = manifest::parse(&document.bytes, "the manifest")?;
        manifest.check()?;
        let wanted = &manifest.config;
        if wanted.size > MANIFEST_MAX {
            return Err(Fault::TooLarge {
                what: "the config".to_owned(),
                most: MANIFEST_MAX,
            });
        }
        let wanted = Wanted {
            repository: &reference.repository,
            digest: wanted.digest,
            size: wanted.size,
        };
        self.fetch_blob(wanted, layout, &()).await?;
        let digest = document.digest;
        blocking(layout, move |layout| {
            layout.keep(&document.bytes)?;
            package::metadata(layout, &digest)
        })
        .await
    }

    async fn pull_all(
        &self,
        reference: &RegistryReference,
        layout: &Layout,
        progress: &dyn Progress,
    ) -> Outcome<Pulled> {
        let package = self.read_metadata(reference, layout).await?;
        let digest = package.digest;
        let blobs = blocking(layout, move |layout| package::layers(layout, &digest)).await?;
        progress.wanted(blobs.values().sum());
        let fetches: Vec<_> = blobs
            .into_iter()
            .map(|(digest, size)| {
                let wanted = Wanted {
                    repository: &reference.repository,
                    digest,
                    size,
                };
                self.fetch_blob(wanted, layout, progress)
            })
            .collect();
        let travelled: Vec<u64> = stream::iter(fetches)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let tag = match &reference.selector {
            Selector::Tag(tag) => Some(tag.clone()),
            Selector::Digest(_) => None,
        };
        // Every blob was compared when it came, or when it was found.
        let package = blocking(layout, move |layout| {
            layout.adopt(&digest, tag.as_deref())?;
            package::read(layout, &digest)
        })
        .await?;
        Ok(Pulled {
            package,
            bytes: travelled.iter().sum(),
            blobs: travelled.iter().filter(|bytes| **bytes > 0).count(),
        })
    }
}

/// Digest and size of every layer.
pub(crate) fn sizes(manifest: &Manifest, config: &PackageConfig) -> BTreeMap<Digest, u64> {
    let layers = manifest.layers.iter();
    let count = config.modules.len() + symbol_digests(config).len();
    layers
        .take(count)
        .map(|layer| (layer.digest, layer.size))
        .collect()
}

/// Works on a layout's files without holding up whatever else is under way.
pub(super) async fn blocking<T: Send + 'static>(
    layout: &Layout,
    work: impl FnOnce(&Layout) -> crate::error::Outcome<T> + Send + 'static,
) -> Outcome<T> {
    let layout = layout.clone();
    let done = spawn_blocking(move || work(&layout)).await;
    let done = done.map_err(|error| Fault::keep("the package")(std::io::Error::other(error)))?;
    Ok(done?)
}
