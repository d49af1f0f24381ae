//! OCI images, and those of Docker, in an image layout on disk or in a registry.

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::io::{BufReader, Read as _};

use placet_model::{Digest, PackageName, Version, visible};
use placet_package::{Layout, Reference, ReferenceError, Selector};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{Fault, Outcome};
use super::limits::Hashing;
use super::meter::Meter;
use super::purl::purl;
use super::tar::TarEntry;
use super::tree::Tree;
use super::{About, ImportOptions, decompress, registry, tar};

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
    labels: Option<BTreeMap<String, String>>,
}

/// An image for one platform.
pub(super) struct Image {
    /// That of its manifest.
    pub(super) digest: Digest,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Reads the image that `archive` names.
pub(super) fn read(
    archive: &str,
    options: &ImportOptions,
    tree: &mut Tree,
    meter: &Meter<'_>,
) -> Outcome<About> {
    let reference: Reference = parse(archive)?;
    let (layout, image, selector) = match &reference {
        Reference::Layout { dir, selector } => {
            let layout = Layout::open(dir).map_err(Fault::from)?;
            let first = layout.resolve(selector).map_err(Fault::from)?;
            let image = Image::find(&layout, first, options, |_| Ok(()))?;
            (layout, image, selector)
        }
        Reference::Registry(remote) => {
            let (layout, image) = registry::fetch(remote, options, tree.folder(), meter)?;
            (layout, image, &remote.selector)
        }
    };
    let mut about = image.about(&layout)?;
    if let Selector::Tag(tag) = selector {
        about.version = about.version.or_else(|| version(tag));
    }
    if let Reference::Registry(remote) = &reference {
        let name = remote.repository.rsplit('/').next();
        about.name = about.name.or_else(|| super::package_name(name?));
    }
    about.purl = purl_of(&about, &reference);
    image.read(&layout, tree, meter)?;
    Ok(about)
}

/// By the digest of the image for one platform, and where it is.
fn purl_of(about: &About, reference: &Reference) -> Option<String> {
    let digest = about.digest?.to_string();
    let (place, selector) = match reference {
        Reference::Registry(remote) => {
            let place = format!("{}/{}", remote.host, remote.repository);
            (Some(place), &remote.selector)
        }
        Reference::Layout { selector, .. } => (None, selector),
    };
    let repository = place.as_ref().and_then(|place| place.rsplit('/').next());
    let name = repository.or(about.name.as_ref().map(PackageName::as_str));
    let tag = match selector {
        Selector::Tag(tag) => Some(tag.as_str()),
        Selector::Digest(_) => None,
    };
    let qualifiers = [
        ("arch", about.architecture.as_deref()),
        ("repository_url", place.as_deref()),
        ("tag", tag),
    ];
    Some(purl("oci", None, name?, Some(&digest), &qualifiers))
}

/// What `archive` names.
pub(super) fn parse(archive: &str) -> Result<Reference, Fault> {
    let parsed = archive.parse();
    parsed.map_err(|error: ReferenceError| Fault::Malformed(error.to_string()))
}

impl Image {
    /// The image for the wanted platform, from the manifest or index with this digest on; `bring`
    /// puts the one with the next digest into the layout.
    pub(super) fn find(
        layout: &Layout,
        mut digest: Digest,
        options: &ImportOptions,
        bring: impl Fn(Digest) -> Result<(), Fault>,
    ) -> Result<Self, Fault> {
        let wanted = options.platform.clone().unwrap_or_else(own_platform);
        for _ in 0..DEPTH_MAX {
            let found: Document = document(layout, &digest)?;
            match &found.manifests {
                None => return Self::new(digest, found),
                Some(manifests) => digest = choose(manifests, &wanted)?,
            }
            bring(digest)?;
        }
        Err(Fault::Malformed(
            "it is an index of indexes without end".to_owned(),
        ))
    }

    fn new(digest: Digest, found: Document) -> Result<Self, Fault> {
        let malformed = |why: &str| Fault::Malformed(why.to_owned());
        let config = found.config;
        let config = config.ok_or_else(|| malformed("its manifest has no config"))?;
        if config.size > DOCUMENT_MAX {
            return Err(malformed("its config is too large"));
        }
        if found.layers.len() > LAYERS_MAX {
            let why = format!("it has {} layers", found.layers.len());
            return Err(malformed(&why));
        }
        Ok(Self {
            digest,
            config,
            layers: found.layers,
        })
    }

    /// Digest and size of everything that it consists of.
    pub(super) fn blobs(&self) -> BTreeMap<Digest, u64> {
        let all = self.layers.iter().chain([&self.config]);
        all.map(|it| (it.digest, it.size)).collect()
    }

    /// Bytes of everything that it consists of.
    pub(super) fn size(&self) -> u64 {
        let sizes = self.blobs().into_values();
        sizes.fold(0, u64::saturating_add)
    }

    fn about(&self, layout: &Layout) -> Result<About, Fault> {
        let about = about(document(layout, &self.config.digest)?);
        Ok(About {
            digest: Some(self.digest),
            ..about
        })
    }

    fn read(&self, layout: &Layout, tree: &mut Tree, meter: &Meter<'_>) -> Outcome<()> {
        let sizes = self.layers.iter().map(|layer| layer.size);
        meter.expect(sizes.fold(0, u64::saturating_add));
        for layer in &self.layers {
            let name = layer.digest.to_string();
            let result = read_layer(layout, layer, tree, meter);
            result.map_err(|(entry, fault)| (entry.or(Some(name)), fault))?;
        }
        Ok(())
    }
}

/// Which of the manifests of an index is for the wanted platform.
fn choose(manifests: &[Descriptor], wanted: &str) -> Result<Digest, Fault> {
    let platform = |it: &Descriptor| it.platform.as_ref().map(Platform::text);
    let fits = |it: &&Descriptor| {
        // What names no platform is for any, as an index within an index.
        platform(it).is_none_or(|text| text == wanted || text.starts_with(&format!("{wanted}/")))
    };
    let chosen = manifests.iter().find(fits);
    let chosen = chosen.ok_or_else(|| {
        let all: Vec<_> = manifests.iter().filter_map(platform).collect();
        Fault::Platform {
            wanted: visible(wanted).to_string(),
            found: visible(&all.join(", ")).to_string(),
        }
    })?;
    Ok(chosen.digest)
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

fn read_layer(
    layout: &Layout,
    layer: &Descriptor,
    tree: &mut Tree,
    meter: &Meter<'_>,
) -> Outcome<()> {
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
    let mut hashing = Hashing::new(BufReader::new(meter.read(file)));
    let mut archive = decompress::open(&mut hashing, layer.size, tree.limits())?;
    tar::each(&mut archive, |entry, bytes| match whiteout(entry) {
        None => tar::add(entry, bytes, tree),
        Some((folder, OPAQUE)) => tree.remove(&folder, true),
        Some((_, WHITEOUT)) => {
            let name = String::from_utf8_lossy(&entry.name);
            Err(Fault::Name("is that of a whiteout, and does not say of what").at(&name))
        }
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
