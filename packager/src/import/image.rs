//! OCI images, and those of Docker, in an image layout on disk.

use std::env;
use std::fs::File;
use std::io::{BufReader, Read as _};

use placet_model::{Digest, Version, visible};
use placet_package::{Layout, Reference, Selector};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{Fault, Outcome};
use super::limits::Hashing;
use super::tar::TarEntry;
use super::tree::Tree;
use super::{About, ImportOptions, decompress, tar};

/// Manifests, indexes and configs are small everywhere.
const DOCUMENT_MAX: u64 = 4 << 20;
/// Overlay file systems take no more.
const LAYERS_MAX: usize = 500;
/// An index may name indexes, but no honest one goes deeper.
const DEPTH_MAX: usize = 4;

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
    #[serde(default)]
    variant: Option<String>,
}

/// A manifest or an index, whichever it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    config: Settings,
}

#[derive(Default, Deserialize)]
struct Settings {
    #[serde(rename = "Labels", default)]
    labels: Option<std::collections::BTreeMap<String, String>>,
}

/// Reads the image that `archive` names.
pub(super) fn read(archive: &str, options: &ImportOptions, tree: &mut Tree) -> Outcome<About> {
    let malformed = |why: &dyn std::fmt::Display| Fault::Malformed(why.to_string());
    let reference: Reference = archive.parse().map_err(|error| malformed(&error))?;
    let Reference::Layout { dir, selector } = &reference else {
        return Err(Fault::Unknown.into());
    };
    let layout = Layout::open(dir).map_err(Fault::from)?;
    let first = layout.resolve(selector).map_err(Fault::from)?;
    let (digest, manifest) = choose(&layout, first, options)?;
    let layers = &manifest.layers;
    if layers.len() > LAYERS_MAX {
        return Err(Fault::Malformed(format!("it has {} layers", layers.len())).into());
    }
    let mut about = match &manifest.config {
        Some(config) => about(document(&layout, &config.digest)?),
        None => return Err(Fault::Malformed("its manifest has no config".to_owned()).into()),
    };
    about.digest = Some(digest);
    if let Selector::Tag(tag) = selector {
        about.version = about.version.or_else(|| version(tag));
    }
    for layer in layers {
        let name = layer.digest.to_string();
        let result = read_layer(&layout, layer, tree);
        result.map_err(|(entry, fault)| (entry.or(Some(name)), fault))?;
    }
    Ok(about)
}

/// The manifest of the image for the wanted platform.
fn choose(
    layout: &Layout,
    mut digest: Digest,
    options: &ImportOptions,
) -> Result<(Digest, Document), Fault> {
    let wanted = options.platform.clone().unwrap_or_else(own_platform);
    for _ in 0..DEPTH_MAX {
        let found: Document = document(layout, &digest)?;
        let Some(manifests) = &found.manifests else {
            return Ok((digest, found));
        };
        let platform = |it: &Descriptor| it.platform.as_ref().map(Platform::text);
        let fits = |it: &&Descriptor| {
            // What names no platform is for any, as an index within an index.
            platform(it)
                .is_none_or(|text| text == wanted || text.starts_with(&format!("{wanted}/")))
        };
        let chosen = manifests.iter().find(fits);
        digest = chosen
            .ok_or_else(|| {
                let all: Vec<_> = manifests.iter().filter_map(platform).collect();
                Fault::Platform {
                    wanted: visible(&wanted).to_string(),
                    found: visible(&all.join(", ")).to_string(),
                }
            })?
            .digest;
    }
    Err(Fault::Malformed(
        "it is an index of indexes without end".to_owned(),
    ))
}

impl Platform {
    fn text(&self) -> String {
        let variant = self.variant.iter().map(|variant| format!("/{variant}"));
        format!(
            "{}/{}{}",
            self.os,
            self.architecture,
            variant.collect::<String>()
        )
    }
}

/// By the names that images use.
fn own_platform() -> String {
    let architecture = match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    format!("linux/{architecture}")
}

/// Reads a small document, whose digest is compared.
fn document<T: DeserializeOwned>(layout: &Layout, digest: &Digest) -> Result<T, Fault> {
    let file = File::open(layout.blob_path(digest)).map_err(Fault::Read)?;
    let mut bytes = Vec::new();
    let count = file.take(DOCUMENT_MAX + 1).read_to_end(&mut bytes);
    if count.map_err(Fault::Read)? as u64 > DOCUMENT_MAX {
        return Err(Fault::Malformed(format!(
            "{digest} is no manifest or config: it is too large"
        )));
    }
    if Digest::of(&bytes) != *digest {
        return Err(Fault::Digest(digest.to_string()));
    }
    serde_json::from_slice(&bytes).map_err(|error| Fault::Malformed(format!("{digest}: {error}")))
}

fn about(config: Config) -> About {
    let labels = config.config.labels.unwrap_or_default();
    let label = |name: &str| {
        labels
            .get(&format!("org.opencontainers.image.{name}"))
            .cloned()
    };
    About {
        format: "oci",
        name: label("title").and_then(|title| super::package_name(&title)),
        version: label("version").and_then(|text| version(&text)),
        architecture: config.architecture,
        summary: label("description"),
        license: label("licenses"),
        ..About::default()
    }
}

fn version(text: &str) -> Option<Version> {
    text.strip_prefix('v').unwrap_or(text).parse().ok()
}

fn read_layer(layout: &Layout, layer: &Descriptor, tree: &mut Tree) -> Outcome<()> {
    if !layer.media_type.is_empty() && !layer.media_type.contains("tar") {
        let why = format!(
            "a layer of type `{}` holds no files",
            visible(&layer.media_type)
        );
        return Err(Fault::Malformed(why).into());
    }
    tree.next_layer();
    let file = layout
        .open_blob(&layer.digest, layer.size)
        .map_err(Fault::from)?;
    let mut hashing = Hashing::new(BufReader::new(file));
    let mut archive = decompress::open(&mut hashing, layer.size, tree.limits())?;
    tar::each(&mut archive, |entry, bytes| match whiteout(entry) {
        None => tar::add(entry, bytes, tree),
        Some((folder, OPAQUE)) => tree.remove(&folder, true),
        Some((folder, name)) => {
            let hidden = &name[WHITEOUT.len()..];
            let path = if folder.is_empty() {
                hidden.to_owned()
            } else {
                format!("{folder}/{hidden}")
            };
            tree.remove(&path, false)
        }
    })?;
    decompress::finish(&mut archive)?;
    drop(archive);
    match hashing.finish().map_err(Fault::Read)? {
        digest if digest == layer.digest => Ok(()),
        _ => Err(Fault::Digest(layer.digest.to_string()).into()),
    }
}

/// Folder and name of a file that stands for the absence of another.
fn whiteout(entry: &TarEntry) -> Option<(String, &str)> {
    let name = std::str::from_utf8(&entry.name).ok()?;
    let name = name.trim_start_matches("./");
    let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
    last.starts_with(WHITEOUT)
        .then(|| (folder.to_owned(), last))
}
