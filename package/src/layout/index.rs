//! `index.json`: which manifests a layout holds, and their tags.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Digest, canonical_json, visible};
use serde_json::{Map, Value, json};

use super::{INDEX, Layout};
use crate::error::{Outcome, Problem};
use crate::files;
use crate::manifest::{self, ARTIFACT_TYPE, Descriptor, IMAGE_INDEX, MANIFEST_MAX, REF_NAME};

/// The index as it stands in the file: what other tools wrote into it is kept.
#[derive(Debug)]
pub(super) struct Index(Map<String, Value>);

const WHAT: &str = "`index.json`";

impl Default for Index {
    fn default() -> Self {
        let fields = [
            ("schemaVersion", json!(2)),
            ("mediaType", json!(IMAGE_INDEX)),
            ("manifests", json!([])),
        ];
        Self(
            fields
                .map(|(key, value)| (key.to_owned(), value))
                .into_iter()
                .collect(),
        )
    }
}

impl Index {
    fn entries(&self) -> &[Value] {
        let entries = self.0.get("manifests").and_then(Value::as_array);
        entries.map_or(&[], Vec::as_slice)
    }

    fn descriptors(&self) -> Outcome<Vec<Descriptor>> {
        let entries = self.entries().iter();
        // An entry of another tool may use another digest algorithm; it is none of ours.
        let ours = entries.filter(|entry| {
            let digest = entry.get("digest").and_then(Value::as_str);
            digest.is_none_or(|digest| digest.starts_with("sha256:"))
        });
        ours.map(|entry| serde_json::from_value(entry.clone()))
            .collect::<Result<_, _>>()
            .map_err(|source| Problem::Json { what: WHAT, source })
    }

    pub(super) fn tags(&self) -> Outcome<BTreeMap<String, Digest>> {
        let mut tags = BTreeMap::new();
        for mut descriptor in self.descriptors()? {
            let Some(tag) = descriptor.annotations.remove(REF_NAME) else {
                continue;
            };
            let before = tags.insert(tag.clone(), descriptor.digest);
            if before.is_some_and(|before| before != descriptor.digest) {
                let why = format!("two manifests have the tag `{}`", visible(&tag));
                return Err(Problem::Malformed { what: WHAT, why });
            }
        }
        Ok(tags)
    }

    pub(super) fn find(&self, tag: &str) -> Outcome<Digest> {
        let tags = self.tags()?;
        tags.get(tag).copied().ok_or_else(|| {
            let some: Vec<_> = tags
                .keys()
                .take(10)
                .map(|tag| visible(tag).to_string())
                .collect();
            Problem::NoSuchTag(if some.is_empty() {
                "the layout has none: build a package into it".to_owned()
            } else {
                format!("the layout has: {}", some.join(", "))
            })
        })
    }

    /// Lets `tag` name the manifest. The one that had it stays, without a tag, so that whoever
    /// pinned its digest still finds it and tools that collect garbage keep it.
    pub(super) fn set(&mut self, tag: &str, digest: Digest, size: u64) {
        let mut entries = self.entries().to_vec();
        for entry in &mut entries {
            if tag_of(entry) == Some(tag) {
                remove_tag(entry);
            }
        }
        let name = (REF_NAME.to_owned(), tag.to_owned());
        self.push(entries, (digest, size), BTreeMap::from([name]));
    }

    /// Lists the manifest without a tag, unless it is listed.
    pub(super) fn add(&mut self, digest: Digest, size: u64) {
        let entries = self.entries().to_vec();
        self.push(entries, (digest, size), BTreeMap::new());
    }

    fn push(
        &mut self,
        mut entries: Vec<Value>,
        (digest, size): (Digest, u64),
        annotations: BTreeMap<String, String>,
    ) {
        let mut descriptor = manifest::descriptor(manifest::IMAGE_MANIFEST, digest, size);
        descriptor.artifact_type = Some(ARTIFACT_TYPE.to_owned());
        descriptor.annotations = annotations;
        entries.push(serde_json::to_value(descriptor).expect("a descriptor is JSON"));
        remove_superfluous(&mut entries);
        self.0.insert("manifests".to_owned(), Value::Array(entries));
    }
}

fn tag_of(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

fn remove_tag(entry: &mut Value) {
    let Some(annotations) = entry.get_mut("annotations").and_then(Value::as_object_mut) else {
        return;
    };
    annotations.remove(REF_NAME);
    if annotations.is_empty()
        && let Some(entry) = entry.as_object_mut()
    {
        entry.remove("annotations");
    }
}

/// An entry of ours without a tag is of use only where no other entry names the same manifest.
fn remove_superfluous(entries: &mut Vec<Value>) {
    let digest = |entry: &Value| entry.get("digest").map(Value::to_string);
    let tagged = entries.iter().filter(|entry| tag_of(entry).is_some());
    let mut named: BTreeSet<_> = tagged.filter_map(digest).collect();
    entries.retain(|entry| {
        let ours = entry.get("artifactType") == Some(&json!(ARTIFACT_TYPE));
        !ours || tag_of(entry).is_some() || digest(entry).is_none_or(|digest| named.insert(digest))
    });
}

impl Layout {
    pub(super) fn read_index(&self) -> Outcome<Index> {
        let bytes = files::read(&self.dir.join(INDEX), MANIFEST_MAX)?;
        let fields: Map<String, Value> = manifest::parse(&bytes, WHAT)?;
        if fields.get("schemaVersion") != Some(&json!(2)) {
            let why = "its schemaVersion is not 2".to_owned();
            return Err(Problem::Malformed { what: WHAT, why });
        }
        Ok(Index(fields))
    }

    pub(super) fn write_index(&self, index: &Index) -> Outcome<()> {
        self.write_small(&self.dir.join(INDEX), &canonical_json(&index.0))
    }
}
