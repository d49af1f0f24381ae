//! The metadata of a package, fetched into a layout.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use placet_model::Digest;
use tokio::task::spawn_blocking;

use super::client::Registry;
use super::download::Wanted;
use super::error::{Fault, Outcome, RegistryError};
use super::{AT_ONCE, RegistryReference};
use crate::layout::Layout;
use crate::manifest::{self, MANIFEST_MAX, Manifest, symbol_digests};
use crate::package::{self, Package};
use crate::reference::Selector;

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
        let lists = symbol_digests(&package.config);
        let lists = lists.intersection(wanted);
        let lists = lists.filter_map(|digest| Some((*digest, *sizes.get(digest)?)));
        let fetches =
            lists.map(|list| async move { self.fetch(reference, list, layout, &()).await });
        let mut fetches = stream::iter(fetches).buffer_unordered(AT_ONCE);
        while fetches.try_next().await?.is_some() {}
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
}

/// Works on a layout's files without holding up whatever else is under way.
pub(crate) async fn blocking<T: Send + 'static>(
    layout: &Layout,
    work: impl FnOnce(&Layout) -> crate::error::Outcome<T> + Send + 'static,
) -> Outcome<T> {
    let layout = layout.clone();
    let done = spawn_blocking(move || work(&layout)).await;
    let done = done.map_err(|error| Fault::keep("the package")(std::io::Error::other(error)))?;
    Ok(done?)
}
