//! Writing a composite whose packages are there.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use placet_model::{Digest, PackageName, canonical_json};
use serde_json::{Value, json};

use super::{COMPOSITE_TYPE, CompositePart, DECLARATIONS_TYPE, Declaration, NODES_TYPE};
use crate::copy::{CopyError, Place};
use crate::document::Document;
use crate::error::Problem;
use crate::manifest::{
    ARTIFACT_TYPE, CREATED, Descriptor, EMPTY, EMPTY_TYPE, IMAGE_INDEX, IMAGE_MANIFEST,
    MANIFEST_MAX, TITLE, VERSION, descriptor,
};
use crate::reference::Selector;
use crate::registry::AT_ONCE;

/// What a composite is made of.
#[derive(Debug, Clone)]
pub struct NewComposite {
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: String,
    /// The manifests of its packages, which are there already, copied as parts.
    pub packages: Vec<Digest>,
    /// Its declarations.
    pub declarations: Vec<Declaration>,
}

/// Writes a composite and gives it `tag`; its digest. The same parts give the same digest.
///
/// # Errors
///
/// A package is not there or is none, or the place does not take it.
pub async fn write_composite(
    to: Place<'_>,
    new: &NewComposite,
    tag: Option<&str>,
) -> Result<Digest, CopyError> {
    let _transfer = to.begin().await?;
    let reads = new.packages.iter().map(|digest| part(to, *digest));
    let parts: Vec<(CompositePart, Descriptor)> = stream::iter(reads.collect::<Vec<_>>())
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let created = parts.iter().map(|(part, _)| part.config.created).max();
    let mut manifests: Vec<_> = parts
        .into_iter()
        .map(|(_, descriptor)| descriptor)
        .collect();
    if !new.declarations.is_empty() {
        manifests.push(write_declarations(to, &new.declarations).await?);
    }
    let mut annotations = BTreeMap::from([
        (TITLE.to_owned(), new.name.to_string()),
        (VERSION.to_owned(), new.version.clone()),
    ]);
    annotations.extend(created.map(|time| (CREATED.to_owned(), time.to_string())));
    let index = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE_INDEX,
        "artifactType": COMPOSITE_TYPE,
        "manifests": manifests,
        "annotations": annotations,
    });
    let index = document(to, &index)?;
    to.put(&index, false).await?;
    if let Some(tag) = tag {
        to.tag(&index, tag).await?;
    }
    Ok(index.digest)
}

fn document(to: Place<'_>, value: &Value) -> Result<Document, CopyError> {
    let bytes = canonical_json(value);
    let size = bytes.len() as u64;
    if size > MANIFEST_MAX {
        let what = "the composite".to_owned();
        let most = MANIFEST_MAX;
        return Err(to.error(Problem::TooLarge { what, size, most }.into()));
    }
    Document::read(bytes).map_err(|problem| to.error(problem.into()))
}

/// A package that is there, and how the index points at it.
async fn part(to: Place<'_>, digest: Digest) -> Result<(CompositePart, Descriptor), CopyError> {
    let manifest = to.document(&Selector::Digest(digest)).await?;
    let config = to.config(None, &manifest).await?;
    let mut descriptor = descriptor(IMAGE_MANIFEST, digest, manifest.bytes.len() as u64);
    descriptor.artifact_type = Some(ARTIFACT_TYPE.to_owned());
    descriptor.annotations = BTreeMap::from([
        (TITLE.to_owned(), config.name.to_string()),
        (VERSION.to_owned(), config.version.to_string()),
    ]);
    Ok((CompositePart { digest, config }, descriptor))
}

async fn write_declarations(
    to: Place<'_>,
    declarations: &[Declaration],
) -> Result<Descriptor, CopyError> {
    let mut sorted: Vec<_> = declarations.iter().collect();
    sorted.sort_by(|one, other| one.path.cmp(&other.path));
    let mut layers = Vec::new();
    for declaration in sorted {
        let bytes = declaration.text.as_bytes();
        to.put_small_blob(bytes).await?;
        let mut layer = descriptor(DECLARATIONS_TYPE, Digest::of(bytes), bytes.len() as u64);
        let title = (TITLE.to_owned(), declaration.path.to_string());
        layer.annotations.extend([title]);
        layers.push(layer);
    }
    to.put_small_blob(EMPTY).await?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE_MANIFEST,
        "artifactType": NODES_TYPE,
        "config": descriptor(EMPTY_TYPE, Digest::of(EMPTY), EMPTY.len() as u64),
        "layers": layers,
    });
    let manifest = document(to, &manifest)?;
    to.put(&manifest, true).await?;
    Ok(manifest.descriptor())
}
