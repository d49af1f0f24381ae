//! Packages in and out of a layout: what is there is exactly what is listed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use placet_model::{Digest, canonical_json};
use placet_package::{Freed, Layout, Problem, Selector};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::layout::{blobs, config, module};

const INDEX: &str = "index.json";
const CONTENTS: [&[u8]; 6] = [b"one", b"two", b"three", b"four", b"five", b""];
const TAGS: [&str; 3] = ["1.0.0", "1.1.0", "next"];

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn digests(list: &Value) -> Vec<Digest> {
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    let digests = list.iter().map(|it| it["digest"].as_str().unwrap());
    digests.map(|digest| digest.parse().unwrap()).collect()
}

/// Everything that the index leads to, found with nothing of the code under test.
fn listed(layout: &Layout) -> BTreeSet<Digest> {
    let mut open = digests(&read(&layout.dir().join(INDEX))["manifests"]);
    let mut found = BTreeSet::new();
    while let Some(digest) = open.pop() {
        let manifest = read(&layout.blob_path(&digest));
        found.insert(digest);
        found.extend(digests(&json!([manifest["config"]])));
        found.extend(digests(&manifest["layers"]));
        open.extend(digests(&manifest["manifests"]));
    }
    found
}

fn stored(layout: &Layout) -> BTreeSet<Digest> {
    let entries = fs::read_dir(layout.dir().join("blobs/sha256")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .map(|name| {
            format!("sha256:{}", name.to_string_lossy())
                .parse()
                .unwrap()
        })
        .collect()
}

fn write(layout: &Layout, version: &str, contents: &[usize], tag: &str) -> Digest {
    let modules = contents.iter().map(|index| {
        let path = format!("share/{index}");
        module(&path, CONTENTS[*index])
    });
    let config = config(version, modules.collect());
    layout
        .write_package(&config, &blobs(&CONTENTS), tag)
        .unwrap()
}

/// Adds a document to the layout, as another tool would: by hand.
fn add(layout: &Layout, manifest: &Value, blobs: &[&[u8]]) -> Digest {
    let bytes = canonical_json(manifest);
    let digest = Digest::of(&bytes);
    fs::write(layout.blob_path(&digest), &bytes).unwrap();
    for blob in blobs {
        fs::write(layout.blob_path(&Digest::of(blob)), blob).unwrap();
    }
    let path = layout.dir().join(INDEX);
    let mut index = read(&path);
    let entry = json!({
        "mediaType": manifest["mediaType"],
        "digest": digest,
        "size": bytes.len(),
    });
    let entries = index["manifests"].as_array_mut().unwrap();
    if !entries.contains(&entry) {
        entries.push(entry);
    }
    fs::write(path, index.to_string()).unwrap();
    digest
}

fn described(bytes: &[u8]) -> Value {
    json!({"mediaType": "text/plain", "digest": Digest::of(bytes), "size": bytes.len()})
}

/// A signature of a package; `content` makes it one of its own.
fn sign(layout: &Layout, subject: &Digest, content: &[u8]) -> Digest {
    let size = fs::metadata(layout.blob_path(subject)).unwrap().len();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example.signature",
        "config": described(b"{}"),
        "layers": [described(content)],
        "subject": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": subject,
            "size": size,
        },
    });
    add(layout, &manifest, &[b"{}", content])
}

fn compose(layout: &Layout, parts: &[Digest]) -> Digest {
    let parts: Vec<_> = parts
        .iter()
        .map(|part| {
            json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": part,
                "size": fs::metadata(layout.blob_path(part)).unwrap().len(),
            })
        })
        .collect();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "artifactType": "application/vnd.placet.composite.v1",
        "manifests": parts,
    });
    add(layout, &index, &[])
}

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<usize>, usize),
    /// Signs the package that was written so many steps ago.
    Sign(usize, u8),
    RemoveTag(usize),
    RemoveDigest(usize),
    Leave(Vec<u8>),
    Prune,
}

fn step() -> impl Strategy<Value = Step> {
    let contents = proptest::collection::btree_set(0..CONTENTS.len(), 1..4);
    let contents = contents.prop_map(|set| set.into_iter().collect());
    prop_oneof![
        4 => (contents, 0..TAGS.len()).prop_map(|(contents, tag)| Step::Write(contents, tag)),
        2 => (0..6_usize, any::<u8>()).prop_map(|(which, by)| Step::Sign(which, by)),
        3 => (0..TAGS.len()).prop_map(Step::RemoveTag),
        2 => (0..6_usize).prop_map(Step::RemoveDigest),
        1 => proptest::collection::vec(any::<u8>(), 1..9).prop_map(Step::Leave),
        1 => Just(Step::Prune),
    ]
}

fn take(layout: &Layout, step: Step, known: &mut Vec<Digest>) {
    let nth = |known: &[Digest], which: usize| known.iter().rev().nth(which).copied();
    match step {
        Step::Write(contents, tag) => {
            let version = format!("{}.{}.0", contents.len(), contents[0]);
            known.push(write(layout, &version, &contents, TAGS[tag]));
        }
        Step::Sign(which, by) => {
            if let Some(subject) = nth(known, which).filter(|it| listed(layout).contains(it)) {
                known.push(sign(layout, &subject, &[by]));
            }
        }
        Step::RemoveTag(tag) => {
            let had = layout.tags().unwrap();
            let removed = layout.remove(&Selector::Tag(TAGS[tag].to_owned()));
            assert_eq!(removed.is_ok(), had.contains_key(TAGS[tag]));
        }
        Step::RemoveDigest(which) => {
            if let Some(digest) = nth(known, which) {
                let was = listed(layout).contains(&digest);
                let removed = layout.remove(&Selector::Digest(digest));
                assert_eq!(removed.is_ok(), was, "{removed:?}");
            }
        }
        Step::Leave(bytes) => fs::write(layout.blob_path(&Digest::of(&bytes)), bytes).unwrap(),
        Step::Prune => {
            layout.prune().unwrap();
            assert_eq!(stored(layout), listed(layout));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_and_goes_blobs_are_those_that_are_listed(
        steps in proptest::collection::vec(step(), 1..24)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(&folder.path().join("layout")).unwrap();
        let mut known = Vec::new();
        let mut left: BTreeSet<Digest> = BTreeSet::new();
        for step in steps {
            if let Step::Leave(bytes) = &step {
                left.insert(Digest::of(bytes));
            }
            if matches!(step, Step::Prune) {
                left.clear();
            }
            take(&layout, step, &mut known);
            let (stored, listed) = (stored(&layout), listed(&layout));
            prop_assert!(listed.is_subset(&stored), "nothing that is listed is missing");
            let extra: Vec<_> = stored.difference(&listed).collect();
            prop_assert!(extra.iter().all(|it| left.contains(it)), "{extra:?}");
        }
    }
}

#[test]
fn what_a_package_shares_stays_and_what_refers_to_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(&folder.path().join("layout")).unwrap();
    let first = write(&layout, "1.0.0", &[0, 1], "1.0.0");
    write(&layout, "1.1.0", &[1, 2], "1.1.0");
    let signature = sign(&layout, &first, b"by ann");
    let removed = layout.remove(&Selector::Tag("1.0.0".to_owned())).unwrap();
    let kind = "application/vnd.example.signature".to_owned();
    assert_eq!(removed.referrers, [(kind, signature)]);
    // Its manifest, config and one module; the signature's manifest, config and content.
    assert_eq!((removed.freed.blobs, removed.shared), (6, 1));
    assert_eq!(stored(&layout), listed(&layout));
    assert_eq!(layout.tags().unwrap().len(), 1);
    assert_eq!(layout.prune().unwrap(), Freed::default());
}

#[test]
fn a_tag_of_several_goes_alone_and_a_part_of_a_composite_stays() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(&folder.path().join("layout")).unwrap();
    let digest = write(&layout, "1.0.0", &[0], "1.0.0");
    write(&layout, "1.0.0", &[0], "next");
    let removed = layout.remove(&Selector::Tag("next".to_owned())).unwrap();
    assert_eq!(
        (removed.stays_as, removed.freed.blobs),
        (vec!["1.0.0".to_owned()], 0)
    );
    let other = write(&layout, "2.0.0", &[1], "2.0.0");
    let composite = compose(&layout, &[digest, other]);
    let refused = layout.remove(&Selector::Digest(digest)).unwrap_err();
    assert!(
        matches!(refused.problem(), Problem::InUse(it) if *it == composite),
        "{refused}"
    );
    layout.remove(&Selector::Digest(composite)).unwrap();
    layout.remove(&Selector::Digest(digest)).unwrap();
    assert_eq!(stored(&layout), listed(&layout));
    assert_eq!(
        layout.tags().unwrap(),
        BTreeMap::from([("2.0.0".to_owned(), other)])
    );
}

#[test]
fn a_damaged_package_can_be_removed_and_hides_nothing_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(&folder.path().join("layout")).unwrap();
    let bad = write(&layout, "1.0.0", &[0, 1], "1.0.0");
    write(&layout, "2.0.0", &[1], "2.0.0");
    fs::write(layout.blob_path(&bad), b"{}").unwrap();
    let refused = layout.prune().unwrap_err();
    assert!(refused.to_string().contains(&bad.to_string()), "{refused}");
    let refused = layout.remove(&Selector::Tag("2.0.0".to_owned()));
    assert!(
        refused.is_err(),
        "nobody can tell what the damaged one holds"
    );
    layout.remove(&Selector::Tag("1.0.0".to_owned())).unwrap();
    layout.prune().unwrap();
    assert_eq!(stored(&layout), listed(&layout));
    layout.remove(&Selector::Tag("2.0.0".to_owned())).unwrap();
    assert!(stored(&layout).is_empty());
}
