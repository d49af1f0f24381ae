//! Where packages are opened, and where what was made from them is stored.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use placet_model::Digest;
use placet_package::copy::{CopyOptions, Name, Place, copy};
use placet_package::registry::{Registry, RegistryReference};
use placet_package::{Layout, Package, Reference, Selector, open_package};
use placet_packager::update::Update;
use tempfile::TempDir;

use super::progress::Bar;
use super::storage::{connect, repository};
use crate::arguments::Login;

/// A package; of one in a registry, what was fetched of it lies in a temporary layout.
pub(crate) struct Opened {
    pub(crate) package: Package,
    fetched: Option<Fetched>,
}

struct Fetched {
    registry: Registry,
    reference: RegistryReference,
    /// Removed with this value.
    _folder: TempDir,
}

/// Opens a package of a layout, or fetches what is said of one in a registry; its modules stay
/// there.
pub(crate) async fn open(reference: &Reference, login: &Login) -> anyhow::Result<Opened> {
    let Reference::Registry(remote) = reference else {
        let package = open_package(reference, Path::new("."))?;
        return Ok(Opened {
            package,
            fetched: None,
        });
    };
    let (folder, layout) = temporary()?;
    let registry = connect(remote, login).await?;
    let package = registry.metadata(remote, &layout).await?;
    Ok(Opened {
        fetched: Some(Fetched {
            registry,
            // A tag may move; what was read is what is meant.
            reference: remote.with(Selector::Digest(package.digest)),
            _folder: folder,
        }),
        package,
    })
}

fn temporary() -> anyhow::Result<(TempDir, Layout)> {
    let folder = tempfile::tempdir().context("failed to make a temporary folder")?;
    let layout = Layout::create(folder.path())?;
    Ok((folder, layout))
}

impl Opened {
    /// Has the modules at hand.
    pub(crate) async fn fetch_modules(&self) -> anyhow::Result<()> {
        let Some(fetched) = &self.fetched else {
            return Ok(());
        };
        let bar = Bar::new("fetching");
        let (reference, layout) = (&fetched.reference, &self.package.layout);
        let options = CopyOptions {
            selector: &reference.selector,
            name: Name::Digest,
            referrers: false,
        };
        let from = Place::Repository(&fetched.registry, reference);
        copy(from, Place::Layout(layout), options, &bar).await?;
        Ok(())
    }

    /// Has those lists of symbols at hand that are `wanted`.
    pub(crate) async fn fetch_symbols(&self, wanted: &BTreeSet<Digest>) -> anyhow::Result<()> {
        let Some(fetched) = &self.fetched else {
            return Ok(());
        };
        let (registry, reference) = (&fetched.registry, &fetched.reference);
        let package = &self.package;
        Ok(registry.fetch_symbols(reference, package, wanted).await?)
    }

    /// True if `target` has the modules of this package already.
    fn is_in(&self, target: &Target) -> bool {
        let (Some(fetched), Target::Registry(place)) = (&self.fetched, target) else {
            return false;
        };
        let (one, other) = (&fetched.reference, &place.1);
        (&one.host, &one.repository) == (&other.host, &other.repository)
    }
}

/// Where packages are stored.
pub(super) enum Target {
    Layout(PathBuf),
    Registry(Box<(Registry, RegistryReference)>),
}

impl Target {
    /// `to`, or the place where `source` is.
    pub(super) async fn new(
        to: Option<&str>,
        source: &Reference,
        login: &Login,
    ) -> anyhow::Result<Self> {
        let remote = match (to, source) {
            (None, Reference::Layout { dir, .. }) => return Ok(Self::Layout(dir.clone())),
            (None, Reference::Registry(remote)) => remote.clone(),
            (Some(to), _) => match to.strip_prefix("oci-layout:") {
                Some(dir) => return Ok(Self::Layout(dir.into())),
                None => repository(to)?,
            },
        };
        let registry = connect(&remote, login).await?;
        Ok(Self::Registry(Box::new((registry, remote))))
    }

    /// The tags that are there.
    pub(super) async fn tags(&self) -> anyhow::Result<BTreeSet<String>> {
        Ok(match self {
            Self::Layout(dir) if !dir.exists() => BTreeSet::new(),
            Self::Layout(dir) => Layout::create(dir)?.tags()?.into_keys().collect(),
            Self::Registry(place) => place.0.tags(&place.1).await?.into_iter().collect(),
        })
    }

    /// Stores an update of `from` under its own tag.
    pub(super) async fn store(
        &self,
        from: &Opened,
        update: &Update,
    ) -> anyhow::Result<(Reference, Digest)> {
        let selector = Selector::Tag(update.config.version.tag());
        let place = match self {
            Self::Layout(dir) => {
                from.fetch_modules().await?;
                let digest = update.write(&Layout::create(dir)?)?;
                let dir = dir.clone();
                return Ok((Reference::Layout { dir, selector }, digest));
            }
            Self::Registry(place) => place,
        };
        let (_folder, layout) = temporary()?;
        let package = if update.has_new_blobs() || !from.is_in(self) {
            from.fetch_modules().await?;
            layout.package(&update.write(&layout)?)?
        } else {
            from.package.with_config(&update.config)?
        };
        let tag = update.config.version.tag();
        let options = CopyOptions {
            selector: &Selector::Digest(package.digest),
            name: Name::Tag(&tag),
            referrers: false,
        };
        let to = Place::Repository(&place.0, &place.1);
        let bar = Bar::new("pushing");
        let copied = copy(Place::Layout(&package.layout), to, options, &bar).await?;
        Ok((Reference::Registry(place.1.with(selector)), copied.digest))
    }
}
