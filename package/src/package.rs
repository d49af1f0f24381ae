//! One package of a layout, read and checked.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use placet_model::{Digest, Module, PackageConfig, SymbolLists, canonical_json};

use crate::error::{Outcome, PackageError, Problem};
use crate::manifest::{self, MANIFEST_MAX, Manifest};
use crate::reference::{Reference, Selector};
use crate::{Layout, check_config, files};

/// A package of a layout. Its metadata are checked; the bytes of a module are whatever the layout
/// holds when they are read, so that whoever receives them compares the digest.
#[derive(Debug, Clone)]
pub struct Package {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its metadata.
    pub config: PackageConfig,
    /// Where its blobs are.
    pub layout: Layout,
}

/// Opens the package that `reference` names; a relative folder is relative to `base`.
///
/// # Guarantees
///
/// Manifest, config and layers agree, every rule of the format holds, and every blob has the bytes
/// that its digest stands for.
///
/// # Errors
///
/// The layout, the tag, what is wrong and what to do.
pub fn open_package(reference: &Reference, base: &Path) -> Result<Package, PackageError> {
    let Reference::Layout { dir, selector } = reference else {
        let place = Path::new("");
        return Err(PackageError::new(
            place,
            None,
            Problem::Elsewhere(reference.to_string()),
        ));
    };
    let layout = Layout::open(&base.join(dir))?;
    let problem = |problem| PackageError::new(layout.dir(), Some(selector), problem);
    let digest = layout.find(selector).map_err(problem)?;
    let package = read(&layout, &digest).map_err(problem)?;
    package.check_blobs().map_err(problem)?;
    Ok(package)
}

/// Reads the package with the given manifest: metadata, and that every blob is there in its size.
pub(crate) fn read(layout: &Layout, digest: &Digest) -> Outcome<Package> {
    let (package, manifest) = documents(layout, digest)?;
    for layer in &manifest.layers {
        layout.open_sized(&layer.digest, layer.size)?;
    }
    Ok(package)
}

/// Reads the metadata of a package whose modules may still be elsewhere.
pub(crate) fn metadata(layout: &Layout, digest: &Digest) -> Outcome<Package> {
    documents(layout, digest).map(|(package, _)| package)
}

/// The config of a package; it and its manifest are checked, each by itself and both together.
pub(crate) fn check(manifest: &[u8], config: &[u8]) -> Outcome<PackageConfig> {
    check_config_of(&read_manifest(manifest)?, config)
}

fn read_manifest(bytes: &[u8]) -> Outcome<Manifest> {
    let manifest: Manifest = manifest::parse(bytes, "the manifest")?;
    manifest.check()?;
    Ok(manifest)
}

fn check_config_of(manifest: &Manifest, bytes: &[u8]) -> Outcome<PackageConfig> {
    let config: PackageConfig = manifest::parse(bytes, "the config")?;
    check_config(&config)?;
    manifest.check_layers(&config)?;
    Ok(config)
}

fn documents(layout: &Layout, digest: &Digest) -> Outcome<(Package, Manifest)> {
    let bytes = read_blob(layout, digest, None, "the manifest")?;
    let manifest = read_manifest(&bytes)?;
    let config = &manifest.config;
    let bytes = read_blob(layout, &config.digest, Some(config.size), "the config")?;
    let package = Package {
        digest: *digest,
        config: check_config_of(&manifest, &bytes)?,
        layout: layout.clone(),
    };
    Ok((package, manifest))
}

/// Digest and size of every layer of the package with the given manifest.
pub(crate) fn layers(layout: &Layout, digest: &Digest) -> Outcome<BTreeMap<Digest, u64>> {
    let (_, manifest) = documents(layout, digest)?;
    let layers = manifest.layers.iter();
    Ok(layers.map(|layer| (layer.digest, layer.size)).collect())
}

/// Reads a whole small blob and compares size and digest.
pub(crate) fn read_blob(
    layout: &Layout,
    digest: &Digest,
    size: Option<u64>,
    what: &'static str,
) -> Outcome<Vec<u8>> {
    let bytes = read_whole(layout, digest, MANIFEST_MAX, what)?;
    match size.filter(|size| *size != bytes.len() as u64) {
        Some(wanted) => Err(Problem::WrongSize {
            what: what.to_owned(),
            wanted,
            found: bytes.len() as u64,
        }),
        None => Ok(bytes),
    }
}

/// Reads a whole blob of at most `most` bytes and compares its digest.
fn read_whole(layout: &Layout, digest: &Digest, most: u64, what: &str) -> Outcome<Vec<u8>> {
    let bytes = files::read(&layout.blob_path(digest), most)?;
    let found = Digest::of(&bytes);
    if found != *digest {
        return Err(Problem::WrongDigest {
            what: what.to_owned(),
            wanted: *digest,
            found,
        });
    }
    Ok(bytes)
}

impl Package {
    /// Compares the bytes of every blob with its digest.
    ///
    /// # Errors
    ///
    /// The first blob that is missing, has another size, or other bytes.
    pub fn verify_blobs(&self) -> Result<(), PackageError> {
        let selector = Selector::Digest(self.digest);
        self.check_blobs()
            .map_err(|problem| PackageError::new(self.layout.dir(), Some(&selector), problem))
    }

    fn check_blobs(&self) -> Outcome<()> {
        for module in &self.config.modules {
            let what = || format!("module `{}`", module.path);
            self.check_blob(&module.digest, what)?;
        }
        for digest in manifest::symbol_digests(&self.config) {
            self.check_blob(&digest, || "a list of symbols".to_owned())?;
        }
        Ok(())
    }

    fn check_blob(&self, digest: &Digest, what: impl Fn() -> String) -> Outcome<()> {
        let path = self.layout.blob_path(digest);
        let (mut file, _) = files::open(&path)?;
        let (found, _) =
            files::copy(&mut file, &mut io::sink()).map_err(Problem::io("read", &path))?;
        if found == *digest {
            Ok(())
        } else {
            Err(Problem::WrongDigest {
                what: what(),
                wanted: *digest,
                found,
            })
        }
    }

    /// The package that has some of the same modules and other metadata. Its manifest and config are
    /// kept in the layout, under no tag; modules need not be there, so that a package of a registry
    /// can be given other metadata without being fetched.
    ///
    /// # Errors
    ///
    /// The metadata break a rule, name a module or a list of symbols that this package does not
    /// have, or cannot be kept.
    pub fn with_config(&self, config: &PackageConfig) -> Result<Self, PackageError> {
        let selector = Selector::Digest(self.digest);
        self.derive(config)
            .map_err(|problem| PackageError::new(self.layout.dir(), Some(&selector), problem))
    }

    fn derive(&self, config: &PackageConfig) -> Outcome<Self> {
        check_config(config)?;
        let sizes = layers(&self.layout, &self.digest)?;
        let missing = |what: String, digest: Digest| Problem::NoBytes { what, digest };
        let mut modules = config.modules.iter();
        if let Some(module) = modules.find(|module| !sizes.contains_key(&module.digest)) {
            return Err(missing(format!("module `{}`", module.path), module.digest));
        }
        let symbols = manifest::symbol_digests(config).into_iter();
        let symbols = symbols.map(|digest| {
            let size = sizes.get(&digest);
            let size = size.ok_or_else(|| missing("a list of symbols".to_owned(), digest))?;
            Ok((digest, *size))
        });
        let manifest = Manifest::new(config, &symbols.collect::<Outcome<_>>()?);
        let manifest = canonical_json(&manifest);
        self.layout.keep(&canonical_json(config))?;
        self.layout.keep(&manifest)?;
        metadata(&self.layout, &Digest::of(&manifest))
    }

    /// The dynamic symbols of `module`, where it has any.
    ///
    /// # Errors
    ///
    /// The list is missing or damaged.
    pub fn symbols(&self, module: &Module) -> Result<Option<SymbolLists>, PackageError> {
        let Some(digest) = module.elf.as_ref().and_then(|facts| facts.symbols) else {
            return Ok(None);
        };
        let selector = Selector::Digest(self.digest);
        self.read_symbols(&digest)
            .map(Some)
            .map_err(|problem| PackageError::new(self.layout.dir(), Some(&selector), problem))
    }

    fn read_symbols(&self, digest: &Digest) -> Outcome<SymbolLists> {
        let what = "the list of symbols";
        let bytes = read_whole(&self.layout, digest, SYMBOLS_MAX, what)?;
        manifest::parse(&bytes, what)
    }
}

/// [`read_elf`](crate::read_elf) takes no more than 64 MiB of names from a file; escapes and quotes
/// come on top.
const SYMBOLS_MAX: u64 = 256 << 20;
