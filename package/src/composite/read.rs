//! Reading a composite: its parts and declarations, checked.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use placet_model::PackageName;

use super::{
    COMPOSITE_TYPE, Composite, CompositePart, DECLARATIONS_MOST, DECLARATIONS_TYPE, Declaration,
    NODES_TYPE,
};
use crate::copy::{CopyError, Place};
use crate::document::Document;
use crate::error::Problem;
use crate::manifest::{ARTIFACT_TYPE, CREATED, Descriptor, TITLE, VERSION};
use crate::reference::Selector;
use crate::registry::AT_ONCE;

/// Reads the composite that `selector` names: index, metadata of the packages, declarations. No
/// module is read.
///
/// # Guarantees
///
/// Every document has the bytes of its digest, every package keeps the rules of the format, and no
/// declaration's path leads out of the folder that it is installed in.
///
/// # Errors
///
/// It is not there, is no composite, or has a part that is neither package nor declarations.
pub async fn read_composite(place: Place<'_>, selector: &Selector) -> Result<Composite, CopyError> {
    let index = place.document(selector).await?;
    let head = head(&index).map_err(|why| malformed(place, why))?;
    let mut composite = Composite {
        digest: index.digest,
        ..head
    };
    let reads: Vec<_> = index
        .children
        .iter()
        .map(|child| read_part(place, child))
        .collect();
    let parts: Vec<Part> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
    for part in parts {
        match part {
            Part::Package(package) => composite.packages.push(*package),
            Part::Declarations(files) => composite.declarations.extend(files),
        }
    }
    check_declarations(&composite.declarations).map_err(|why| malformed(place, why))?;
    Ok(composite)
}

enum Part {
    Package(Box<CompositePart>),
    Declarations(Vec<Declaration>),
}

fn malformed(place: Place<'_>, why: String) -> CopyError {
    let what = "the composite";
    place.error(Problem::Malformed { what, why }.into())
}

/// Name, version and time, as they stand in the index.
fn head(index: &Document) -> Result<Composite, String> {
    if !index.is(COMPOSITE_TYPE) {
        let found = index.artifact_type.as_deref().unwrap_or("nothing");
        return Err(format!(
            "its artifactType is `{found}`, so it is no composite"
        ));
    }
    let text = |key: &str| {
        let value = index.annotations.get(key);
        value.ok_or_else(|| format!("it has no annotation `{key}`"))
    };
    let name: PackageName = text(TITLE)?.parse().map_err(|error| format!("{error}"))?;
    let created: Timestamp = text(CREATED)?
        .parse()
        .map_err(|error| format!("its time cannot be read: {error}"))?;
    Ok(Composite {
        digest: index.digest,
        name,
        version: text(VERSION)?.clone(),
        created,
        packages: Vec::new(),
        declarations: Vec::new(),
    })
}

async fn read_part(place: Place<'_>, child: &Descriptor) -> Result<Part, CopyError> {
    let document = place.document(&Selector::Digest(child.digest)).await?;
    if document.is(ARTIFACT_TYPE) {
        let config = place.config(None, &document).await?;
        let digest = document.digest;
        return Ok(Part::Package(Box::new(CompositePart { digest, config })));
    }
    if document.is(NODES_TYPE) {
        return read_declarations(place, &document)
            .await
            .map(Part::Declarations);
    }
    let kind = document.artifact_type.as_deref().unwrap_or("nothing");
    let why = format!("its part {} is `{kind}`", child.digest);
    Err(malformed(place, why))
}

async fn read_declarations(
    place: Place<'_>,
    document: &Document,
) -> Result<Vec<Declaration>, CopyError> {
    let layers: Vec<Descriptor> =
        crate::manifest::layers(&document.bytes).map_err(|problem| place.error(problem.into()))?;
    if layers.len() > DECLARATIONS_MOST {
        let why = format!("it has more than {DECLARATIONS_MOST} files of declarations");
        return Err(malformed(place, why));
    }
    let reads: Vec<_> = layers
        .iter()
        .map(|layer| read_declaration(place, layer))
        .collect();
    let read = stream::iter(reads).buffered(AT_ONCE);
    read.try_collect().await
}

async fn read_declaration(place: Place<'_>, layer: &Descriptor) -> Result<Declaration, CopyError> {
    if layer.media_type != DECLARATIONS_TYPE {
        let why = format!("a file of its declarations is a `{}`", layer.media_type);
        return Err(malformed(place, why));
    }
    let title = layer.annotations.get(TITLE).map_or("", String::as_str);
    let path = title
        .parse()
        .map_err(|error| malformed(place, format!("a file of its declarations: {error}")))?;
    let text = String::from_utf8(place.small_blob(layer).await?)
        .map_err(|_| malformed(place, format!("`{path}` is not UTF-8 text")))?;
    Ok(Declaration { path, text })
}

/// No file twice, and none inside another one.
fn check_declarations(declarations: &[Declaration]) -> Result<(), String> {
    let paths: std::collections::BTreeSet<&str> =
        declarations.iter().map(|it| it.path.as_str()).collect();
    if paths.len() < declarations.len() {
        return Err("two files of its declarations have the same path".to_owned());
    }
    for path in &paths {
        let inside = path
            .match_indices('/')
            .find(|(index, _)| paths.contains(&path[..*index]));
        if let Some((index, _)) = inside {
            let outer = &path[..index];
            return Err(format!(
                "`{outer}` is a file, and `{path}` would lie inside it"
            ));
        }
    }
    Ok(())
}
