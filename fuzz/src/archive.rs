//! Packages of other formats, and layers of images: read, and made a package of.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use placet_model::Digest;
use placet_packager::Step;
use placet_packager::import::{ImportChoice, ImportLimits, ImportOptions, import};
use serde_json::{Value, json};

use super::told;

/// Far below what real archives need, so that many can be tried.
const LIMITS: ImportLimits = ImportLimits {
    bytes: 4 << 20,
    entries: 1_000,
    ratio: 1_000,
};

pub(crate) fn read(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("the system's temporary folder can be written");
    let folder = folder.path();
    let archive = if bytes.starts_with(b"!<arch>\n") || bytes.starts_with(b"\xed\xab\xee\xdb") {
        let path = folder.join("archive");
        write(&path, bytes);
        path.display().to_string()
    } else {
        image(&folder.join("image"), bytes)
    };
    let choice = ImportChoice {
        options: ImportOptions {
            limits: LIMITS,
            platform: Some("linux/amd64".to_owned()),
            ..ImportOptions::default()
        },
        name: "archive".parse().ok(),
        version: "1.0.0".parse().ok(),
        acknowledge_opens: true,
        no_requirements: true,
        ..ImportChoice::default()
    };
    let watch = |_: Step<'_>| ControlFlow::Continue(());
    if let Err(error) = import(&archive, &folder.join("layout"), &choice, &watch) {
        told(&error);
    }
}

/// An image of two layers, of which `bytes` are the upper one.
fn image(layout: &Path, bytes: &[u8]) -> String {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("the temporary folder can be written");
    let blob = |kind: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        write(&blobs.join(digest.hex()), bytes);
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    };
    let config = json!({ "architecture": "amd64", "os": "linux" });
    let config = blob("application/vnd.oci.image.config.v1+json", &text(&config));
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let layers = [include_bytes!("../base.tar"), bytes].map(|bytes| blob(layer, bytes));
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers });
    let mut manifest = blob(kind, &text(&manifest));
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "it" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    write(&layout.join("index.json"), &text(&index));
    let marker = json!({ "imageLayoutVersion": "1.0.0" });
    write(&layout.join("oci-layout"), &text(&marker));
    format!("oci-layout:{}:it", layout.display())
}

fn text(document: &Value) -> Vec<u8> {
    document.to_string().into_bytes()
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("the temporary folder can be written");
}
