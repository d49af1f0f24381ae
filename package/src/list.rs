//! What a layout or a repository holds.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use placet_model::Digest;

use crate::composite::COMPOSITE_TYPE;
use crate::copy::{CopyError, Place};
use crate::document::Document;
use crate::manifest::{ARTIFACT_TYPE, CREATED, TITLE, VERSION};
use crate::reference::Selector;
use crate::registry::AT_ONCE;

/// A package or a composite, as its manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its tags, sorted; none where it is named by digest alone.
    pub tags: Vec<String>,
    /// True for a composite.
    pub is_composite: bool,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When it was built.
    pub created: String,
    /// The bytes of its blobs, each counted once.
    pub bytes: u64,
}

/// The packages and composites of a layout or of a repository, sorted by name and time; and how
/// many tags name something else.
///
/// # Errors
///
/// The layout cannot be read, or the registry cannot be asked.
pub async fn list(place: Place<'_>) -> Result<(Vec<Listed>, usize), CopyError> {
    let mut tags: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    for (digest, tag) in place.listed().await? {
        tags.entry(digest).or_default().extend(tag);
    }
    let reads: Vec<_> = tags
        .into_iter()
        .map(|(digest, tags)| describe(place, digest, tags))
        .collect();
    let found: Vec<_> = stream::iter(reads)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let others = found.iter().filter(|(it, tags)| it.is_none() && *tags > 0);
    let others = others.map(|(_, tags)| tags).sum();
    let mut listed: Vec<_> = found.into_iter().filter_map(|(it, _)| it).collect();
    listed.sort_by(|one, other| {
        let key = |it: &Listed| (it.name.clone(), it.created.clone(), it.tags.clone());
        key(one).cmp(&key(other))
    });
    Ok((listed, others))
}

/// What a manifest is, if it is a package or a composite; and how many tags it has.
async fn describe(
    place: Place<'_>,
    digest: Digest,
    mut tags: Vec<String>,
) -> Result<(Option<Listed>, usize), CopyError> {
    let document = place.document(&Selector::Digest(digest)).await?;
    let count = tags.len();
    let is_composite = document.is(COMPOSITE_TYPE);
    if !is_composite && !document.is(ARTIFACT_TYPE) {
        return Ok((None, count));
    }
    tags.sort();
    let text = |key: &str| document.annotations.get(key).cloned().unwrap_or_default();
    let listed = Listed {
        digest,
        tags,
        is_composite,
        name: text(TITLE),
        version: text(VERSION),
        created: text(CREATED),
        bytes: bytes(place, document).await?,
    };
    Ok((Some(listed), count))
}

async fn bytes(place: Place<'_>, document: Document) -> Result<u64, CopyError> {
    let all = place.gather(document, false).await?;
    let blobs = all.iter().flat_map(|(document, _)| &document.blobs);
    let blobs: BTreeMap<_, _> = blobs.collect();
    Ok(blobs.into_values().sum())
}
