//! Composites in a layout: written, read again, and refused where somebody has changed them.

use std::fs;
use std::path::Path;

use placet_model::{Digest, canonical_json};
use placet_package::composite::{
    Composite, DECLARATIONS_TYPE, Declaration, NewComposite, read_composite, write_composite,
};
use placet_package::copy::{CopyError, Place};
use placet_package::{Layout, Selector};
use serde_json::{Value, json};

use crate::layout::{blobs, config, module};

fn layout(folder: &Path) -> (Layout, NewComposite) {
    let layout = Layout::create(folder).unwrap();
    let packages = [("1.0.0", &b"one"[..]), ("2.0.0", b"two")].map(|(version, bytes)| {
        let config = config(version, vec![module("share/it", bytes)]);
        layout
            .write_package(&config, &blobs(&[bytes]), version)
            .unwrap()
    });
    let declarations = ["b.yaml", "a/nodes.yaml"].map(|path| Declaration {
        path: path.parse().unwrap(),
        text: format!("# {path}\n"),
    });
    let new = NewComposite {
        name: "fleet".parse().unwrap(),
        version: "1.2.0".to_owned(),
        packages: packages.to_vec(),
        declarations: declarations.to_vec(),
    };
    (layout, new)
}

async fn read(layout: &Layout, digest: Digest) -> Result<Composite, CopyError> {
    read_composite(Place::Layout(layout), &Selector::Digest(digest)).await
}

#[tokio::test]
async fn the_same_parts_give_the_same_composite_wherever_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut digests = Vec::new();
    for name in ["one", "two"] {
        let (layout, mut new) = layout(&folder.path().join(name));
        if name == "two" {
            new.declarations.reverse();
        }
        let digest = write_composite(Place::Layout(&layout), &new, Some("1.2.0"))
            .await
            .unwrap();
        let read = read(&layout, digest).await.unwrap();
        assert_eq!(
            (read.name.as_str(), read.version.as_str()),
            ("fleet", "1.2.0")
        );
        let parts: Vec<_> = read.packages.iter().map(|part| part.digest).collect();
        assert_eq!(parts, new.packages);
        let paths: Vec<_> = read
            .declarations
            .iter()
            .map(|it| it.path.as_str())
            .collect();
        assert_eq!(paths, ["a/nodes.yaml", "b.yaml"]);
        digests.push(digest);
    }
    assert_eq!(digests[0], digests[1]);
}

/// Stores a document by hand, and how it is pointed at.
fn add(layout: &Layout, document: &Value) -> (Digest, Value) {
    let bytes = canonical_json(document);
    let digest = Digest::of(&bytes);
    fs::write(layout.blob_path(&digest), &bytes).unwrap();
    let entry = json!({
        "mediaType": document["mediaType"],
        "digest": digest,
        "size": bytes.len(),
    });
    (digest, entry)
}

/// The composite with the last part, its declarations, made anew by `change`.
fn changed(layout: &Layout, digest: Digest, change: impl Fn(&mut Value)) -> Digest {
    let document = |digest: &Digest| -> Value {
        serde_json::from_slice(&fs::read(layout.blob_path(digest)).unwrap()).unwrap()
    };
    let mut index = document(&digest);
    let last = index["manifests"].as_array().unwrap().len() - 1;
    let nodes = index["manifests"][last]["digest"].as_str().unwrap();
    let mut nodes = document(&nodes.parse().unwrap());
    change(&mut nodes);
    index["manifests"][last] = add(layout, &nodes).1;
    add(layout, &index).0
}

#[tokio::test]
async fn declarations_that_would_be_written_elsewhere_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, new) = layout(&folder.path().join("one"));
    let digest = write_composite(Place::Layout(&layout), &new, None)
        .await
        .unwrap();
    let title = "org.opencontainers.image.title";
    for (path, told) in [
        ("../b.yaml", ".."),
        ("/etc/passwd", "/etc/passwd"),
        ("a/../../b.yaml", ".."),
        ("a/nodes.yaml/c.yaml", "would lie inside it"),
        ("a/nodes.yaml", "the same path"),
        ("", "declarations"),
        ("a\u{1b}[2J", "control character"),
    ] {
        let bad = changed(&layout, digest, |nodes| {
            nodes["layers"][1]["annotations"][title] = path.into();
        });
        let refused = read(&layout, bad).await.unwrap_err().to_string();
        assert!(refused.contains(told), "{path:?}: {refused}");
        assert!(!refused.contains('\u{1b}'));
    }
    for (field, value, told) in [
        (
            "artifactType",
            json!("application/vnd.example"),
            "vnd.example",
        ),
        (
            "layers",
            json!([{"mediaType": "text/plain", "digest": digest, "size": 1}]),
            "text/plain",
        ),
    ] {
        let bad = changed(&layout, digest, |nodes| nodes[field] = value.clone());
        let refused = read(&layout, bad).await.unwrap_err().to_string();
        assert!(refused.contains(told), "{refused}");
    }
    let many = json!({"mediaType": DECLARATIONS_TYPE, "digest": digest, "size": 1});
    let many = vec![many; 1_001];
    let bad = changed(&layout, digest, |nodes| {
        nodes["layers"] = many.clone().into();
    });
    let refused = read(&layout, bad).await.unwrap_err().to_string();
    assert!(refused.contains("more than 1000 files"), "{refused}");
    let package = read(&layout, new.packages[0])
        .await
        .unwrap_err()
        .to_string();
    assert!(package.contains("no composite"), "{package}");
}
