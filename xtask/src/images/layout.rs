//! OCI image layouts of images.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use placet_model::{Digest, canonical_json};
use serde_json::{Value, json};

/// A layout that images are written to.
pub(super) struct Layout(PathBuf);

/// A blob that was written.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const NAME: &str = "org.opencontainers.image.ref.name";
/// The image that an entry beside it is about.
const REFERS_TO: &str = "dev.placet.refers-to";

impl Blob {
    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.size})
    }
}

impl Layout {
    pub(super) fn create(folder: &Path) -> anyhow::Result<Self> {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs)
            .with_context(|| format!("failed to make {}", blobs.display()))?;
        fs::write(
            folder.join("oci-layout"),
            "{\"imageLayoutVersion\":\"1.0.0\"}",
        )?;
        Ok(Self(folder.to_owned()))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join("blobs/sha256").join(digest.hex())
    }

    pub(super) fn read(&self, digest: &Digest) -> anyhow::Result<Vec<u8>> {
        super::read(&self.path(digest))
    }

    pub(super) fn blob(&self, media_type: &str, bytes: &[u8]) -> anyhow::Result<Blob> {
        let digest = Digest::of(bytes);
        let path = self.path(&digest);
        fs::write(&path, bytes).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(Blob {
            media_type: media_type.to_owned(),
            digest,
            size: bytes.len() as u64,
        })
    }

    pub(super) fn document(&self, media_type: &str, value: &Value) -> anyhow::Result<Blob> {
        self.blob(media_type, &canonical_json(value))
    }

    pub(super) fn manifest(
        &self,
        config: &Blob,
        layers: &[Blob],
        artifact_type: Option<&str>,
        subject: Option<&Blob>,
        annotations: &Value,
    ) -> anyhow::Result<Blob> {
        let layers: Vec<_> = layers.iter().map(Blob::descriptor).collect();
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config.descriptor(),
            "layers": layers,
            "annotations": annotations,
        });
        if let Some(kind) = artifact_type {
            manifest["artifactType"] = json!(kind);
        }
        if let Some(subject) = subject {
            manifest["subject"] = subject.descriptor();
        }
        self.document(MANIFEST_TYPE, &manifest)
    }

    /// Lets the tag name an index of platforms, with what refers to each beside it, and throws away
    /// what no tag leads to any more. Platforms that were written before under the same tag stay.
    ///
    /// The layout then has one entry for each tag, which is what clients can push as a whole.
    pub(super) fn index(
        &self,
        tag: &str,
        architecture: &str,
        image: &Blob,
        referrer: &Blob,
    ) -> anyhow::Result<()> {
        let mut platforms = self.platforms(tag)?;
        let is_replaced = |entry: &Value| entry["platform"]["architecture"] == architecture;
        let replaced = platforms.iter().filter(|entry| is_replaced(entry));
        let replaced: Vec<_> = replaced.map(|entry| entry["digest"].clone()).collect();
        platforms.retain(|entry| {
            !is_replaced(entry) && !replaced.contains(&entry["annotations"][REFERS_TO])
        });
        let mut entry = image.descriptor();
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        platforms.push(entry);
        // Engines look for their own platform, and pass this one by.
        let mut entry = referrer.descriptor();
        entry["artifactType"] = json!(super::SBOM_TYPE);
        entry["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        entry["annotations"] = json!({REFERS_TO: image.digest});
        platforms.push(entry);
        platforms.sort_by_key(|entry| {
            let text = |value: &Value| value.to_string();
            (
                text(&entry["platform"]["architecture"]),
                text(&entry["digest"]),
            )
        });
        let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": platforms});
        let index = self.document(INDEX_TYPE, &index)?;

        let mut named = index.descriptor();
        named["annotations"] = json!({NAME: tag});
        let mut entries = self.entries()?;
        entries.retain(|entry| entry["annotations"][NAME] != tag);
        entries.push(named);
        entries.sort_by_key(|entry| entry["annotations"][NAME].to_string());
        let whole = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries});
        fs::write(self.0.join("index.json"), canonical_json(&whole))?;
        self.sweep(&entries)
    }

    /// Removes blobs that no entry leads to.
    fn sweep(&self, entries: &[Value]) -> anyhow::Result<()> {
        let mut kept = BTreeSet::new();
        let mut next = entries.to_vec();
        while let Some(entry) = next.pop() {
            let Some(digest) = entry["digest"].as_str().and_then(|text| text.parse().ok()) else {
                continue;
            };
            if !kept.insert(digest)
                || ![MANIFEST_TYPE, INDEX_TYPE]
                    .map(Value::from)
                    .contains(&entry["mediaType"])
            {
                continue;
            }
            let document: Value = serde_json::from_slice(&self.read(&digest)?)?;
            for part in [&document["manifests"], &document["layers"]] {
                next.extend(part.as_array().cloned().unwrap_or_default());
            }
            next.push(document["config"].clone());
        }
        let kept: BTreeSet<_> = kept
            .iter()
            .map(|digest: &Digest| self.path(digest))
            .collect();
        for blob in fs::read_dir(self.0.join("blobs/sha256"))? {
            let path = blob?.path();
            if !kept.contains(&path) {
                fs::remove_file(&path)
                    .with_context(|| format!("failed to remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    fn entries(&self) -> anyhow::Result<Vec<Value>> {
        let Ok(bytes) = fs::read(self.0.join("index.json")) else {
            return Ok(Vec::new());
        };
        let index: Value = serde_json::from_slice(&bytes).context("index.json is not JSON")?;
        Ok(index["manifests"].as_array().cloned().unwrap_or_default())
    }

    fn platforms(&self, tag: &str) -> anyhow::Result<Vec<Value>> {
        let entries = self.entries()?;
        let known = entries
            .iter()
            .find(|entry| entry["annotations"][NAME] == tag);
        let digest = known.and_then(|entry| entry["digest"].as_str()?.parse().ok());
        let Some(digest) = digest else {
            return Ok(Vec::new());
        };
        let index: Value = serde_json::from_slice(&self.read(&digest)?)?;
        Ok(index["manifests"].as_array().cloned().unwrap_or_default())
    }
}
