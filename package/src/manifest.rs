//! The OCI documents of a package: image manifest and index.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Digest, Module, PackageConfig, canonical_json};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Outcome, Problem};

/// What the artifact of a package is.
pub const ARTIFACT_TYPE: &str = "application/vnd.placet.package.v1";
/// Media type of the config, a [`PackageConfig`] in canonical JSON.
pub const CONFIG_TYPE: &str = "application/vnd.placet.package.config.v1+json";
/// Media type of a module: the layer is the file; of a symbolic link, the text of its target.
pub const MODULE_TYPE: &str = "application/vnd.placet.module.v1";
/// Media type of a module's [`SymbolLists`](placet_model::SymbolLists) in canonical JSON.
pub const SYMBOLS_TYPE: &str = "application/vnd.placet.symbols.v1+json";
/// Registries accept manifests up to this size, and so does everything that reads them here.
pub const MANIFEST_MAX: u64 = 4 << 20;
/// The most layers that a package may have: modules and lists of symbols.
pub const LAYERS_MAX: usize = 500;

pub(crate) const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Images from before OCI have these, and registries still do.
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
pub(crate) const EMPTY: &[u8] = b"{}";
pub(crate) const TITLE: &str = "org.opencontainers.image.title";
pub(crate) const VERSION: &str = "org.opencontainers.image.version";
pub(crate) const CREATED: &str = "org.opencontainers.image.created";
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What is pointed at, by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// An image manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: Option<String>,
    #[serde(default)]
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// The manifest of a package whose lists of symbols have the given sizes.
    pub(crate) fn new(config: &PackageConfig, symbols: &BTreeMap<Digest, u64>) -> Self {
        let bytes = canonical_json(config);
        let module_layers = config.modules.iter().map(module_layer);
        let symbol_layers = symbols
            .iter()
            .map(|(digest, size)| descriptor(SYMBOLS_TYPE, *digest, *size));
        Self {
            schema_version: 2,
            media_type: Some(IMAGE_MANIFEST.to_owned()),
            artifact_type: Some(ARTIFACT_TYPE.to_owned()),
            config: descriptor(CONFIG_TYPE, Digest::of(&bytes), bytes.len() as u64),
            layers: module_layers.chain(symbol_layers).collect(),
            annotations: annotations(config),
        }
    }

    /// Refuses what is not the manifest of a package, whatever its config says.
    pub(crate) fn check(&self) -> Outcome<()> {
        let malformed = |why: String| Problem::Malformed {
            what: "the manifest",
            why,
        };
        if self.schema_version != 2 {
            let why = format!("its schemaVersion is {}, not 2", self.schema_version);
            return Err(malformed(why));
        }
        let media_type = self.media_type.as_deref().unwrap_or(IMAGE_MANIFEST);
        if media_type != IMAGE_MANIFEST {
            return Err(malformed(format!(
                "it is a `{media_type}`, not an image manifest"
            )));
        }
        if self.artifact_type.as_deref() != Some(ARTIFACT_TYPE) {
            let found = self.artifact_type.as_deref().unwrap_or("nothing");
            let why = format!("its artifactType is `{found}`, so it is no Placet package");
            return Err(malformed(why));
        }
        if self.config.media_type != CONFIG_TYPE {
            let why = format!("its config is a `{}`", self.config.media_type);
            return Err(malformed(why));
        }
        if self.layers.len() > LAYERS_MAX {
            let count = self.layers.len();
            let why = format!(
                "it has {count} layers, and at most {LAYERS_MAX} are allowed, so that the package has to be split"
            );
            return Err(malformed(why));
        }
        Ok(())
    }

    /// Refuses layers that are not exactly the modules of `config` and their lists of symbols.
    pub(crate) fn check_layers(&self, config: &PackageConfig) -> Outcome<()> {
        let malformed = |why: String| Problem::Malformed {
            what: "manifest and config disagree",
            why,
        };
        let (modules, symbols) = self
            .layers
            .split_at(config.modules.len().min(self.layers.len()));
        if modules.len() < config.modules.len() {
            let why = format!(
                "the config has {} modules, the manifest {} layers",
                config.modules.len(),
                self.layers.len()
            );
            return Err(malformed(why));
        }
        for (layer, module) in modules.iter().zip(&config.modules) {
            let wanted = module_layer(module);
            let title = |layer: &Descriptor| layer.annotations.get(TITLE).cloned();
            let same = layer.media_type == wanted.media_type
                && layer.digest == wanted.digest
                && layer.size == wanted.size
                && title(layer) == title(&wanted);
            if !same {
                let why = format!(
                    "the layer of `{}` is a `{}` titled `{}` of {} bytes with digest {}, where the config says {} bytes and {}",
                    module.path,
                    layer.media_type,
                    title(layer).unwrap_or_default(),
                    layer.size,
                    layer.digest,
                    wanted.size,
                    wanted.digest
                );
                return Err(malformed(why));
            }
        }
        let wanted = symbol_digests(config);
        let found: Vec<_> = symbols.iter().map(|layer| layer.digest).collect();
        let typed = symbols.iter().all(|layer| layer.media_type == SYMBOLS_TYPE);
        if !typed || !found.iter().eq(wanted.iter()) {
            let why = "the layers after the modules are not the lists of symbols of the config";
            return Err(malformed(why.to_owned()));
        }
        Ok(())
    }
}

/// The layers of a manifest of any kind, in their order.
pub(crate) fn layers(bytes: &[u8]) -> Outcome<Vec<Descriptor>> {
    #[derive(Deserialize)]
    struct Layers {
        #[serde(default)]
        layers: Vec<Descriptor>,
    }
    parse(bytes, "the manifest").map(|Layers { layers }| layers)
}

/// The lists of symbols that the modules refer to.
pub(crate) fn symbol_digests(config: &PackageConfig) -> BTreeSet<Digest> {
    let facts = config
        .modules
        .iter()
        .filter_map(|module| module.elf.as_ref());
    facts.filter_map(|facts| facts.symbols).collect()
}

fn module_layer(module: &Module) -> Descriptor {
    let mut layer = descriptor(MODULE_TYPE, module.digest, module.size);
    let title = (TITLE.to_owned(), module.path.to_string());
    layer.annotations.extend([title]);
    layer
}

pub(crate) fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        artifact_type: None,
        annotations: BTreeMap::new(),
    }
}

/// The usual annotations, for tools that list images.
fn annotations(config: &PackageConfig) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::from([
        (TITLE.to_owned(), config.name.to_string()),
        (VERSION.to_owned(), config.version.to_string()),
        (CREATED.to_owned(), config.created.to_string()),
    ]);
    if let Some(revision) = &config.source_revision {
        annotations.insert(
            "org.opencontainers.image.revision".to_owned(),
            revision.clone(),
        );
    }
    annotations
}

/// Reads JSON in which no text, neither key nor value, has a control character.
///
/// Arguments and environment of processes may hold white space of every kind.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Outcome<T> {
    let unreadable = |source| Problem::Json { what, source };
    let value: Value = serde_json::from_slice(bytes).map_err(unreadable)?;
    if let Some(field) = control_character(&value, false) {
        return Err(Problem::ControlCharacter { what, field });
    }
    // From the bytes, not from the value: this way duplicate fields are refused.
    serde_json::from_slice(bytes).map_err(unreadable)
}

/// The path of the first text with a control character.
fn control_character(value: &Value, lenient: bool) -> Option<String> {
    match value {
        Value::String(text) => has_control(text, lenient).then(String::new),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let inner = control_character(item, lenient)?;
            Some(format!("[{index}]{inner}"))
        }),
        Value::Object(map) => map.iter().find_map(|(key, item)| {
            let shown = placet_model::visible(key);
            if has_control(key, false) {
                return Some(format!(".{shown}"));
            }
            let lenient = lenient || matches!(key.as_str(), "arguments" | "environment");
            let inner = control_character(item, lenient)?;
            Some(format!(".{shown}{inner}"))
        }),
        _ => None,
    }
}

pub(crate) fn has_control(text: &str, lenient: bool) -> bool {
    text.chars()
        .any(|character| character.is_control() && !(lenient && matches!(character, '\n' | '\t')))
}
