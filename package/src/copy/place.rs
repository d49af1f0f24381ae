//! The two kinds of places, and what is asked of both.

use std::fs::File;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use nix::fcntl::Flock;
use placet_model::{Digest, PackageConfig};

use super::CopyError;
use crate::document::Document;
use crate::error::{PackageError, Problem};
use crate::layout::Layout;
use crate::manifest::Descriptor;
use crate::package;
use crate::reference::Selector;
use crate::registry::{
    AT_ONCE, Fault, Progress, Registry, RegistryError, RegistryReference, Source, Wanted, blocking,
};

/// Where something is copied from or to.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// A layout on disk.
    Layout(&'a Layout),
    /// A repository of a registry; the selector of the reference does not count.
    Repository(&'a Registry, &'a RegistryReference),
}

/// As long as it lives, nothing that was brought to its place is taken for left over.
#[derive(Debug)]
pub struct Transfer(#[expect(dead_code, reason = "it holds a lock")] Option<Flock<File>>);

type Outcome<T> = Result<T, CopyError>;

impl Place<'_> {
    pub(crate) fn error(self, fault: Fault) -> CopyError {
        match (self, fault) {
            (Self::Layout(layout), Fault::Package(problem)) => {
                CopyError::Layout(PackageError::new(layout.dir(), None, problem))
            }
            (Self::Layout(layout), fault) => {
                let place = format!("oci-layout:{}", layout.dir().display());
                CopyError::Registry(RegistryError::new(place, fault))
            }
            (Self::Repository(_, reference), fault) => {
                CopyError::Registry(RegistryError::new(reference, fault))
            }
        }
    }

    /// Says that something is being brought here.
    ///
    /// # Errors
    ///
    /// The layout cannot be written.
    pub async fn begin(self) -> Outcome<Transfer> {
        let Self::Layout(layout) = self else {
            return Ok(Transfer(None));
        };
        let begun = blocking(layout, Layout::begin_transfer).await;
        let begun = begun.map_err(|fault| self.error(fault))?;
        Ok(Transfer(Some(begun)))
    }

    /// What is listed here: the digest of each manifest, once for each of its tags.
    pub(crate) async fn listed(self) -> Outcome<Vec<(Digest, Option<String>)>> {
        let listed = match self {
            Self::Layout(layout) => blocking(layout, Layout::listed).await,
            Self::Repository(registry, reference) => registry.listed(reference).await,
        };
        listed.map_err(|fault| self.error(fault))
    }

    /// Reads a manifest or an index.
    pub(crate) async fn document(self, selector: &Selector) -> Outcome<Document> {
        let read = match self {
            Self::Layout(layout) => {
                let selector = selector.clone();
                blocking(layout, move |layout| {
                    layout.document(&layout.find(&selector)?)
                })
                .await
            }
            Self::Repository(registry, reference) => {
                registry.manifest(&reference.with(selector.clone())).await
            }
        };
        read.map_err(|fault| self.error(fault))
    }

    /// What the place lists as referring to each of `subjects`.
    pub(super) async fn referrers(self, subjects: &[Digest]) -> Outcome<Vec<(Digest, Descriptor)>> {
        let looks: Vec<_> = subjects
            .iter()
            .map(|subject| self.referrers_to_one(*subject))
            .collect();
        let found: Vec<Vec<_>> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn referrers_to_one(self, subject: Digest) -> Outcome<Vec<(Digest, Descriptor)>> {
        let found = match self {
            Self::Layout(layout) => {
                blocking(layout, move |layout| layout.read_referrers(&subject)).await
            }
            Self::Repository(registry, reference) => {
                registry.read_referrers(reference, &subject).await
            }
        };
        let found = found.map_err(|fault| self.error(fault))?;
        Ok(found.into_iter().map(|entry| (subject, entry)).collect())
    }

    /// The config of a package, which was checked by the rules of the format. What the place of
    /// destination has need not travel for it.
    pub(crate) async fn config(
        self,
        to: Option<Place<'_>>,
        document: &Document,
    ) -> Outcome<PackageConfig> {
        let Some(config) = &document.config else {
            let why = "it is an index, and no package is one".to_owned();
            let what = "the manifest";
            return Err(self.error(Problem::Malformed { what, why }.into()));
        };
        let known = match to {
            Some(to @ Place::Layout(_)) => to.small_blob(config).await.ok(),
            _ => None,
        };
        let bytes = match known {
            Some(bytes) => bytes,
            None => self.small_blob(config).await?,
        };
        package::check(&document.bytes, &bytes).map_err(|problem| self.error(problem.into()))
    }

    /// A small blob, whole and compared.
    pub(crate) async fn small_blob(self, blob: &Descriptor) -> Outcome<Vec<u8>> {
        let (digest, size) = (blob.digest, blob.size);
        let read = match self {
            Self::Layout(layout) => {
                blocking(layout, move |layout| {
                    package::read_blob(layout, &digest, Some(size), "a document")
                })
                .await
            }
            Self::Repository(registry, reference) => {
                registry.small_blob(wanted(reference, (digest, size))).await
            }
        };
        read.map_err(|fault| self.error(fault))
    }

    /// Stores a small blob.
    pub(crate) async fn put_small_blob(self, bytes: &[u8]) -> Outcome<()> {
        let put = match self {
            Self::Layout(layout) => {
                let bytes = bytes.to_vec();
                blocking(layout, move |layout| layout.keep(&bytes)).await
            }
            Self::Repository(registry, reference) => {
                let blob = (Digest::of(bytes), bytes.len() as u64);
                let sent =
                    registry.send_blob(&reference.repository, blob, Source::Bytes(bytes), &());
                sent.await.map(drop)
            }
        };
        put.map_err(|fault| self.error(fault))
    }

    /// Sends a blob, unless it is there; the bytes that travelled.
    pub(super) async fn send(
        self,
        to: Place<'_>,
        (digest, size): (Digest, u64),
        progress: &dyn Progress,
    ) -> Outcome<u64> {
        match (self, to) {
            (Self::Layout(from), Place::Layout(to)) => {
                let sent = copy_blob(from, to, (digest, size), progress).await;
                sent.map_err(|fault| self.error(fault))
            }
            (Self::Repository(from, reference), Place::Layout(to)) => {
                let wanted = wanted(reference, (digest, size));
                let sent = from.fetch_blob(wanted, to, progress).await;
                sent.map_err(|fault| self.error(fault))
            }
            (_, Place::Repository(registry, reference)) => {
                let path;
                let source = match self {
                    Self::Layout(from) => {
                        path = from.blob_path(&digest);
                        Source::File(&path)
                    }
                    Self::Repository(from, reference) => {
                        Source::Repository(from, &reference.repository)
                    }
                };
                let repository = &reference.repository;
                let sent = registry.send_blob(repository, (digest, size), source, progress);
                sent.await.map_err(|fault| to.error(fault))
            }
        }
    }

    /// Stores a manifest whose blobs and parts are there; a layout lists it, unless it is a part.
    pub(crate) async fn put(self, document: &Document, is_part: bool) -> Outcome<()> {
        let put = match self {
            Self::Layout(layout) => {
                let (bytes, entry) = (document.bytes.clone(), document.descriptor());
                blocking(layout, move |layout| {
                    layout.keep(&bytes)?;
                    if is_part {
                        return Ok(());
                    }
                    layout.adopt(entry, None)
                })
                .await
            }
            Self::Repository(registry, reference) => {
                let place = reference.with(Selector::Digest(document.digest));
                registry.send_document(&place, document).await
            }
        };
        put.map_err(|fault| self.error(fault))
    }

    /// Gives a manifest that is there a tag.
    pub(crate) async fn tag(self, document: &Document, tag: &str) -> Outcome<()> {
        let tag = tag.to_owned();
        let tagged = match self {
            Self::Layout(layout) => {
                let entry = document.descriptor();
                blocking(layout, move |layout| layout.adopt(entry, Some(&tag))).await
            }
            Self::Repository(registry, reference) => {
                let place = reference.with(Selector::Tag(tag));
                let sent = registry.send_manifest(&place, &document.media_type, &document.bytes);
                sent.await.map(drop)
            }
        };
        tagged.map_err(|fault| self.error(fault))
    }
}

fn wanted(reference: &RegistryReference, (digest, size): (Digest, u64)) -> Wanted<'_> {
    Wanted {
        repository: &reference.repository,
        digest,
        size,
    }
}

async fn copy_blob(
    from: &Layout,
    to: &Layout,
    (digest, size): (Digest, u64),
    progress: &dyn Progress,
) -> Result<u64, Fault> {
    let source = from.clone();
    let sent = blocking(to, move |to| {
        if to.size_of(&digest) == Some(size) {
            return Ok(0);
        }
        let mut file = source.open_sized(&digest, size)?;
        to.copy_in(&digest, &mut file, &format!("blob {digest}"))
    })
    .await?;
    if sent == 0 {
        progress.present(size);
    } else {
        progress.moved(size);
    }
    Ok(sent)
}
