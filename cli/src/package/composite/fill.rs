//! Bringing the packages of a composite to where the fleet gets them from.

use std::path::{self, Path};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use placet_model::Digest;
use placet_package::composite::{Composite, CompositePart};
use placet_package::copy::{Copied, CopyOptions, Name, copy};
use placet_package::registry::{Registry, RegistryReference};
use placet_package::{Layout, Selector};

use crate::arguments::Login;
use crate::package::progress::Bar;
use crate::package::storage::{self, Opened};

/// Where packages are brought to: one layout for all, or a repository for each.
pub(super) enum Store {
    Layout(Layout),
    Registry(Arc<Registry>, RegistryReference),
}

/// A package and its place.
pub(super) struct Placed<'c> {
    pub(super) part: &'c CompositePart,
    /// How declarations name it.
    pub(super) reference: String,
    to: Opened,
    tag: String,
}

impl Store {
    /// Opens `oci-layout:DIR`, or `oci://HOST/PREFIX`, below which each package has a repository.
    pub(super) async fn open(
        text: &str,
        login: &Login,
        known: Option<&Opened>,
    ) -> anyhow::Result<Self> {
        // Packages are below it, so that it is no repository itself; the name is a stand-in.
        let text = if storage::is_registry(text) {
            format!("{}/any", text.trim_end_matches('/'))
        } else {
            text.to_owned()
        };
        match storage::target(&text, login, known).await? {
            (_, Some(tag)) => bail!("`{text}` names the tag `{tag}`; name the place alone"),
            (Opened::Layout(layout), None) => Ok(Self::Layout(layout)),
            (Opened::Repository(registry, any), None) => Ok(Self::Registry(registry, any)),
        }
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
            Self::Layout(layout) => {
                let folder = path::absolute(layout.dir())
                    .with_context(|| format!("failed to find {}", layout.dir().display()))?;
                let own = format!("oci-layout:{}", folder.display());
                Ok(Placed {
                    part,
                    reference: format!("{}@{digest}", seen.unwrap_or(&own)),
                    to: Opened::Layout(layout.clone()),
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
                    to: Opened::Repository(Arc::clone(registry), reference),
                    tag: version,
                })
            }
        }
    }
}

impl Placed<'_> {
    /// What the tag names now, if that is another package.
    pub(super) async fn other(&self) -> anyhow::Result<Option<Digest>> {
        let found = self.to.look_up(&self.tag).await?;
        Ok(found.filter(|found| *found != self.part.digest))
    }

    /// What is in the way, for people.
    pub(super) fn in_the_way(&self, other: &Digest) -> String {
        let place = self.to.name(&Selector::Tag(self.tag.clone()));
        format!(
            "{place} is {other}, and the composite carries {}",
            self.part.digest
        )
    }

    pub(super) async fn bring(&self, from: &Opened, bar: &Bar) -> anyhow::Result<Copied> {
        let selector = Selector::Digest(self.part.digest);
        let options = CopyOptions {
            selector: &selector,
            name: Name::Tag(&self.tag),
            referrers: true,
        };
        Ok(copy(from.place(), self.to.place(), options, bar).await?)
    }
}
