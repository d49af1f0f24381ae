//! Copies of packages and composites between layouts and registries, in any direction.
//!
//! A copy has the same digests: manifests travel byte for byte. Blobs come first, then the parts of
//! a composite, then the whole, then what refers to it, and the tag last, so that nobody finds what
//! is not whole, nor a signed package without its signature.

mod error;
mod gather;
mod place;

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use placet_model::{Digest, PackageConfig};

pub use error::CopyError;
pub use place::{Place, Transfer};

use self::gather::{Gathered, Role};
use crate::composite::COMPOSITE_TYPE;
use crate::document::Document;
use crate::error::Problem;
use crate::manifest::ARTIFACT_TYPE;
use crate::reference::Selector;
use crate::registry::{AT_ONCE, Progress};
use crate::trust::simple;

/// What is copied, and how.
#[derive(Debug, Clone, Copy)]
pub struct CopyOptions<'a> {
    /// Which package or composite.
    pub selector: &'a Selector,
    /// By what it is named where it arrives.
    pub name: Name<'a>,
    /// Whether what refers to it comes along: signatures, bills of materials, provenance.
    pub referrers: bool,
}

/// By what a copy is named where it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name<'a> {
    /// By this tag, which what had it before loses.
    Tag(&'a str),
    /// By its digest.
    Digest,
    /// By a composite that comes after it, so that it is not listed itself.
    Part,
}

/// A package or composite that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Bytes that travelled.
    pub bytes: u64,
    /// How many blobs travelled.
    pub blobs: usize,
    /// How many blobs were there.
    pub present: usize,
    /// How many manifests came along that refer to it or its parts.
    pub referrers: usize,
}

/// Copies a package or a composite. What is there already does not travel: a copy that was
/// interrupted goes on where it was.
///
/// # Guarantees
///
/// Every manifest and blob is compared with its digest on the way, every package is checked by the
/// rules of the format, and nothing is named before all of it is there.
///
/// # Errors
///
/// It is not there, is neither package nor composite, or is damaged; or one of the two places does
/// not give or take it.
pub async fn copy(
    from: Place<'_>,
    to: Place<'_>,
    options: CopyOptions<'_>,
    progress: &dyn Progress,
) -> Result<Copied, CopyError> {
    let _transfer = to.begin().await?;
    let root = from.document(options.selector).await?;
    let digest = root.digest;
    check_root(&root).map_err(|problem| from.error(problem.into()))?;
    let gathered = from.gather(root, options.referrers).await?;
    check_packages(from, to, &gathered).await?;
    let (bytes, blobs, present) = send_blobs(from, to, &gathered, progress).await?;
    for (document, role) in &gathered {
        let is_part = match role {
            Role::Root => options.name == Name::Part,
            Role::Part => true,
            Role::Referrer | Role::Signatures(_) => false,
        };
        to.put(document, is_part).await?;
        if let Role::Signatures(subject) = role {
            to.tag(document, &simple::tag(subject)).await?;
        }
    }
    let root = gathered.iter().find(|(_, role)| *role == Role::Root);
    if let (Name::Tag(tag), Some((root, _))) = (options.name, root) {
        to.tag(root, tag).await?;
    }
    let is_own = |role: &Role| matches!(role, Role::Root | Role::Part);
    let referrers = gathered.iter().filter(|(_, role)| !is_own(role));
    Ok(Copied {
        digest,
        bytes,
        blobs,
        present,
        referrers: referrers.count(),
    })
}

/// Digest and metadata of a package, checked by the rules of the format; no module is read.
///
/// # Errors
///
/// It is not there, is no package, or is damaged.
pub async fn package_config(
    place: Place<'_>,
    selector: &Selector,
) -> Result<(Digest, PackageConfig), CopyError> {
    let manifest = place.document(selector).await?;
    let config = place.config(None, &manifest).await?;
    Ok((manifest.digest, config))
}

impl Copied {
    /// What travelled here and there.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self {
            digest: self.digest,
            bytes: self.bytes + other.bytes,
            blobs: self.blobs + other.blobs,
            present: self.present + other.present,
            referrers: self.referrers + other.referrers,
        }
    }
}

fn check_root(root: &Document) -> Result<(), Problem> {
    if root.is(ARTIFACT_TYPE) || root.is(COMPOSITE_TYPE) {
        return Ok(());
    }
    let found = root.artifact_type.as_deref().unwrap_or("nothing");
    let why = format!("its artifactType is `{found}`, so it is no package and no composite");
    Err(Problem::Malformed {
        what: "the manifest",
        why,
    })
}

/// Checks metadata before any module travels.
async fn check_packages(
    from: Place<'_>,
    to: Place<'_>,
    gathered: &[Gathered],
) -> Result<(), CopyError> {
    let packages = gathered.iter().filter(|(it, _)| it.is(ARTIFACT_TYPE));
    let checks: Vec<_> = packages
        .map(|(package, _)| async move { from.config(Some(to), package).await.map(drop) })
        .collect();
    let done = stream::iter(checks).buffer_unordered(AT_ONCE);
    done.try_collect().await
}

/// Bytes that travelled, and how many blobs did and did not.
async fn send_blobs(
    from: Place<'_>,
    to: Place<'_>,
    gathered: &[Gathered],
    progress: &dyn Progress,
) -> Result<(u64, usize, usize), CopyError> {
    let blobs = gathered.iter().flat_map(|(document, _)| &document.blobs);
    let blobs: BTreeMap<Digest, u64> = blobs.map(|(digest, size)| (*digest, *size)).collect();
    progress.wanted(blobs.values().sum());
    let count = blobs.len();
    let sends: Vec<_> = blobs
        .into_iter()
        .map(|blob| from.send(to, blob, progress))
        .collect();
    let sent: Vec<u64> = stream::iter(sends)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let travelled = sent.iter().filter(|bytes| **bytes > 0).count();
    Ok((sent.iter().sum(), travelled, count - travelled))
}
