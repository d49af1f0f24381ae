//! Bringing the packages of a composite to where the fleet gets them from.

use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use placet_package::composite::{Composite, CompositePart};
use placet_package::copy::{Copied, CopyOptions, Name, copy};
use placet_package::registry::{Registry, RegistryReference};
use placet_package::{Layout, Selector};

use crate::arguments::Login;
use crate::package::progress::Bar;
use crate::package::storage::{self, Opened};

/// Where packages are brought to: one layout for all, or a repository for each.
#[derive(Clone)]
pub(super) enum Store {
    /// The folder, which need not be there yet.
    Layout(PathBuf),
    Registry(Arc<Registry>, RegistryReference),
}

/// A package and its place.
pub(super) struct Placed<'c> {
    pub(super) part: &'c CompositePart,
    /// How declarations name it.
    pub(super) reference: String,
    to: Store,
    tag: String,
}

impl Store {
    /// `oci-layout:DIR`, or `oci://HOST/PREFIX`, below which each package has a repository. Nothing is
    /// made yet.
    pub(super) async fn find(
        text: &str,
        login: &Login,
        known: Option<&Opened>,
    ) -> anyhow::Result<Self> {
        if let Some(folder) = text.strip_prefix("oci-layout:") {
            let folder = path::absolute(folder);
            return Ok(Self::Layout(
                folder.with_context(|| format!("failed to find {text}"))?,
            ));
        }
        // Packages are below it, so that it is no repository itself; the name is a stand-in.
        let any = format!("{}/any", text.trim_end_matches('/'));
        match storage::target(&any, login, known).await? {
            (Opened::Repository(registry, any), None) => Ok(Self::Registry(registry, any)),
            _ => bail!("`{text}` is no place for packages; write oci://HOST/PREFIX"),
        }
    }

    fn open(&self) -> anyhow::Result<Opened> {
        Ok(match self {
            Self::Layout(folder) => Opened::Layout(Layout::create(folder)?),
            Self::Registry(registry, reference) => {
                Opened::Repository(Arc::clone(registry), reference.clone())
            }
        })
    }

    /// Where each package comes to, and how declarations name it, who see the store as `seen`.
    pub(super) fn place<'c>(
        &self,
        composite: &'c Composite,
        seen: Option<&str>,
    ) -> anyhow::Result<Vec<Placed<'c>>> {
        let parts = composite.packages.iter();
        parts.map(|part| self.place_one(part, seen)).collect()
    }

    fn place_one<'c>(
        &self,
        part: &'c CompositePart,
        seen: Option<&str>,
    ) -> anyhow::Result<Placed<'c>> {
        let (name, digest) = (part.config.name.as_str(), part.digest);
        let version = part.config.version.tag();
        match self {
            Self::Layout(folder) => {
                let own = format!("oci-layout:{}", folder.display());
                Ok(Placed {
                    part,
                    reference: format!("{}@{digest}", seen.unwrap_or(&own)),
                    to: self.clone(),
                    tag: format!("{}-{version}", name.replace('+', "_")),
                })
            }
            Self::Registry(registry, any) => {
                // A repository cannot have the plus sign that a package may have.
                let name = name.replace('+', "-plus");
                let prefix = Path::new(&any.repository).parent().unwrap_or(Path::new(""));
                let repository = prefix.join(&name).display().to_string();
                let scheme = if any.is_plain { "oci+http" } else { "oci" };
                let own = format!("{scheme}://{}/{repository}", any.host);
                let own = seen.map_or(own, |seen| format!("{}/{name}", seen.trim_end_matches('/')));
                let reference =
                    storage::repository(&format!("{scheme}://{}/{repository}", any.host))?;
                Ok(Placed {
                    part,
                    reference: format!("{own}@{digest}"),
                    to: Self::Registry(Arc::clone(registry), reference),
                    tag: version,
                })
            }
        }
    }
}

impl Placed<'_> {
    /// What the tag names now, if that is another package; for people.
    pub(super) async fn in_the_way(&self) -> anyhow::Result<Option<String>> {
        if matches!(&self.to, Store::Layout(folder) if !folder.exists()) {
            return Ok(None);
        }
        let to = self.to.open()?;
        let own = self.part.digest;
        let found = to.look_up(&self.tag).await?;
        let place = to.name(&Selector::Tag(self.tag.clone()));
        let tell = |other| format!("{place} is {other}, and the composite carries {own}");
        Ok(found.filter(|found| *found != own).map(tell))
    }

    pub(super) async fn bring(&self, from: &Opened, bar: &Bar) -> anyhow::Result<Copied> {
        let selector = Selector::Digest(self.part.digest);
        let options = CopyOptions {
            selector: &selector,
            name: Name::Tag(&self.tag),
            referrers: true,
        };
        let to = self.to.open()?;
        Ok(copy(from.place(), to.place(), options, bar).await?)
    }
}
