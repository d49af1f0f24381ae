//! The documents that refer to a package, wherever it is.

use placet_model::Digest;
use placet_package::trust::{Attached, Attachment, Evidence};
use placet_package::{Layout, Selector};
use tempfile::TempDir;

use super::storage::{self, Opened};
use crate::arguments::Login;

/// A package, and a layout in which the documents that refer to it can be read.
pub(crate) struct Documents {
    /// Digest of the package's manifest.
    pub(crate) package: Digest,
    /// The reference by that digest.
    pub(crate) reference: String,
    opened: Opened,
    layout: Layout,
    _fetched: Option<TempDir>,
}

impl Documents {
    /// Finds the package that `text` names; what refers to it is fetched if it is in a registry.
    pub(crate) async fn of(text: &str, login: &Login) -> anyhow::Result<Self> {
        let (opened, selector) = storage::source(text, login).await?;
        let (package, layout, fetched) = match &opened {
            Opened::Layout(layout) => (layout.resolve(&selector)?, layout.clone(), None),
            Opened::Repository(registry, reference) => {
                let package = registry.resolve(&reference.with(selector)).await?;
                let folder = tempfile::tempdir()?;
                let layout = Layout::create(&folder.path().join("layout"))?;
                registry
                    .fetch_attached(reference, &package, &layout)
                    .await?;
                (package, layout, Some(folder))
            }
        };
        Ok(Self {
            package,
            reference: opened.name(&Selector::Digest(package)),
            opened,
            layout,
            _fetched: fetched,
        })
    }

    pub(crate) fn attached(&self) -> anyhow::Result<Vec<Attached>> {
        Ok(self.layout.attached(&self.package)?)
    }

    pub(crate) fn content(&self, attached: &Attached) -> anyhow::Result<Vec<u8>> {
        Ok(self.layout.content(attached)?)
    }

    pub(crate) fn evidence(&self) -> anyhow::Result<Vec<Evidence>> {
        Ok(self.layout.evidence(&self.package)?)
    }

    /// Stores a document where the package is; the digest of its manifest.
    pub(crate) async fn attach(&self, attachment: &Attachment) -> anyhow::Result<Digest> {
        Ok(match &self.opened {
            Opened::Layout(layout) => layout.attach(&self.package, attachment)?,
            Opened::Repository(registry, reference) => {
                registry
                    .attach(reference, &self.package, attachment)
                    .await?
            }
        })
    }
}
