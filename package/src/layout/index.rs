//! `index.json`: which manifests a layout holds, and their tags.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Digest, canonical_json, visible};
use serde_json::{Map, Value, json};

use super::{INDEX, Layout};
use crate::error::{Outcome, Problem};
use crate::files;
use crate::manifest::{self, Descriptor, IMAGE_INDEX, MANIFEST_MAX, REF_NAME};

/// The index as it stands in the file: what other tools wrote into it is kept.
#[derive(Debug)]
pub(crate) struct Index(Map<String, Value>);

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
    pub(crate) fn read(bytes: &[u8]) -> Outcome<Self> {
        let fields: Map<String, Value> = manifest::parse(bytes, WHAT)?;
        if fields.get("schemaVersion") != Some(&json!(2)) {
            let why = "its schemaVersion is not 2".to_owned();
            return Err(Problem::Malformed { what: WHAT, why });
        }
        Ok(Self(fields))
    }

    fn entries(&self) -> &[Value] {
        let entries = self.0.get("manifests").and_then(Value::as_array);
        entries.map_or(&[], Vec::as_slice)
    }

    pub(super) fn descriptors(&self) -> Outcome<Vec<Descriptor>> {
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

    pub(crate) fn tags(&self) -> Outcome<BTreeMap<String, Digest>> {
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
    pub(super) fn set(&mut self, tag: &str, mut manifest: Descriptor) {
        let name = (REF_NAME.to_owned(), tag.to_owned());
        manifest.annotations = BTreeMap::from([name]);
        self.untag(tag);
        self.add(manifest);
    }

    /// Lists the manifest without a tag, unless it is listed.
    pub(super) fn add(&mut self, manifest: Descriptor) {
        let mut entries = self.entries().to_vec();
        entries.push(serde_json::to_value(manifest).expect("a descriptor is JSON"));
        self.replace(entries);
    }

    /// Takes a tag away; the manifest that had it stays listed.
    pub(super) fn untag(&mut self, tag: &str) {
        let mut entries = self.entries().to_vec();
        let tagged = entries.iter_mut().filter(|it| tag_of(it) == Some(tag));
        tagged.for_each(remove_tag);
        self.replace(entries);
    }

    /// Takes the manifests that are not to be kept off the list.
    pub(super) fn keep(&mut self, is_kept: impl Fn(&Digest) -> bool) {
        let mut entries = self.entries().to_vec();
        entries.retain(|entry| {
            let digest = entry.get("digest").and_then(Value::as_str);
            let digest = digest.and_then(|digest| digest.parse().ok());
            digest.is_none_or(|digest| is_kept(&digest))
        });
        self.replace(entries);
    }

    fn replace(&mut self, mut entries: Vec<Value>) {
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

/// An entry that says nothing beyond the digest is of use only where no other entry names the same
/// manifest.
fn remove_superfluous(entries: &mut Vec<Value>) {
    let digest = |entry: &Value| entry.get("digest").map(Value::to_string);
    let named = entries.iter().filter(|entry| !is_bare(entry));
    let mut named: BTreeSet<_> = named.filter_map(digest).collect();
    entries
        .retain(|entry| !is_bare(entry) || digest(entry).is_none_or(|digest| named.insert(digest)));
}

fn is_bare(entry: &Value) -> bool {
    const USUAL: [&str; 4] = ["mediaType", "digest", "size", "artifactType"];
    let fields = entry.as_object();
    fields.is_some_and(|fields| fields.keys().all(|key| USUAL.contains(&key.as_str())))
}

impl Layout {
    pub(super) fn read_index(&self) -> Outcome<Index> {
        Index::read(&files::read(&self.dir.join(INDEX), MANIFEST_MAX)?)
    }

    pub(super) fn write_index(&self, index: &Index) -> Outcome<()> {
        self.write_small(&self.dir.join(INDEX), &canonical_json(&index.0))
    }
}
