//! Archives that a package file names, and what modules take from them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use placet_model::{Digest, LinkTarget, Mode, ModulePath, Owner};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_yaml::Spanned;

use super::tree::{Content as Held, Entry, relative};
use super::{
    About, Import, ImportError, ImportLimits, ImportOptions, digest_in_registry, is_in_registry,
    open,
};
use crate::error::{Error, ModuleFault, Place};
use crate::source::{Content, Source};
use crate::watch::Watch;
use crate::yaml;

/// An archive whose files modules may be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportEntry {
    /// The name by which modules call it.
    pub name: String,
    /// A `.deb` or `.rpm` file, or `oci-layout:DIR:TAG` for an OCI image, relative to the build
    /// folder; or `oci://HOST/REPOSITORY:TAG` for an image in a registry.
    pub file: String,
    /// SHA-256 that the file, or the image's manifest, has to have; not compared where left out,
    /// which images in registries do not allow.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// Which image of an index (`linux/arm64`); that of the machine where left out.
    #[serde(default)]
    pub platform: Option<String>,
    /// Takes files with set-user-id, set-group-id or sticky bits without them; they are refused
    /// where left out.
    #[serde(default)]
    pub drop_set_id: bool,
    /// Has absolute links to what the archive does not hold lead to the same path among the node's
    /// software; they are refused where left out.
    #[serde(default)]
    pub absolute_links: bool,
    /// What it may come to: `bytes`, `entries`, and `ratio`, how many times its size it may unpack
    /// to.
    #[serde(default)]
    pub limits: ImportLimits,
}

/// What of an archive is delivered in another form rather than refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportTolerance {
    /// Files with set-user-id, set-group-id or sticky bits are taken without them.
    pub drop_set_id: bool,
    /// Absolute links to what the archive does not hold lead to the same path among the node's
    /// software.
    pub absolute_links: bool,
}

/// The archives of a package file, read.
#[derive(Debug, Default)]
pub(crate) struct Imports(BTreeMap<String, Imported>);

/// An archive, and what may be done with its files.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) import: Import,
    pub(crate) tolerance: ImportTolerance,
}

impl Imports {
    /// Reads every archive that a package file names. Their files lie on the file system of
    /// `layout_dir` meanwhile.
    pub(crate) fn open(
        package_yaml: &Path,
        entries: &[Spanned<ImportEntry>],
        folder: &Path,
        layout_dir: &Path,
        watch: Watch<'_>,
    ) -> Result<Self, Error> {
        let mut imports = Self::default();
        for entry in entries {
            let place = || yaml::place(package_yaml, Some(entry.referenced));
            let entry = &entry.value;
            let imported = entry.open(folder, layout_dir, &place, watch)?;
            if imports.0.insert(entry.name.clone(), imported).is_some() {
                return Err(Error::ImportTwice {
                    place: place(),
                    name: entry.name.clone(),
                });
            }
        }
        Ok(imports)
    }

    /// One archive by one name.
    pub(crate) fn single(name: &str, imported: Imported) -> Self {
        Self(BTreeMap::from([(name.to_owned(), imported)]))
    }

    /// What each says of itself, by name.
    pub(crate) fn about(&self) -> impl Iterator<Item = (&str, &About)> {
        let all = self.0.iter();
        all.map(|(name, imported)| (name.as_str(), &imported.import.about))
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Imported, ModuleFault> {
        let missing = || ModuleFault::NoImport(name.to_owned());
        self.0.get(name).ok_or_else(missing)
    }
}

/// The folder above the layout that is there.
pub(crate) fn workspace(layout_dir: &Path) -> Option<PathBuf> {
    let above = std::path::absolute(layout_dir).ok()?;
    let mut above = above.ancestors().skip(1);
    above.find(|it| it.is_dir()).map(Path::to_owned)
}

impl ImportEntry {
    fn open(
        &self,
        folder: &Path,
        layout_dir: &Path,
        place: &dyn Fn() -> Place,
        watch: Watch<'_>,
    ) -> Result<Imported, Error> {
        let name = || self.name.clone();
        let failed = |source: ImportError| {
            if source.is_cancelled() {
                return Error::Cancelled;
            }
            Error::Import {
                place: place(),
                name: name(),
                source: Box::new(source),
            }
        };
        let options = ImportOptions {
            limits: self.limits,
            workspace: workspace(layout_dir),
            platform: self.platform.clone(),
            ..ImportOptions::default()
        };
        let archive = self.located(folder);
        if is_in_registry(&archive) && !archive.contains('@') {
            return Err(Error::ImportMoves {
                found: digest_in_registry(&archive, &options).map_err(failed)?,
                place: place(),
                name: name(),
            });
        }
        let import = open(&archive, &options, watch).map_err(failed)?;
        match (self.digest, import.about.digest) {
            (Some(wanted), Some(found)) if wanted != found => Err(Error::ImportDigest {
                place: place(),
                name: name(),
                found,
            }),
            _ => Ok(Imported {
                import,
                tolerance: ImportTolerance {
                    drop_set_id: self.drop_set_id,
                    absolute_links: self.absolute_links,
                },
            }),
        }
    }

    /// What `file` names, seen from `folder`. Registries are asked by digest, which does not move
    /// as tags do.
    fn located(&self, folder: &Path) -> String {
        let file = &self.file;
        if is_in_registry(file) {
            let digest = self.digest.filter(|_| !file.contains('@'));
            return digest.map_or_else(|| file.clone(), |digest| format!("{file}@{digest}"));
        }
        match file.strip_prefix("oci-layout:") {
            Some(layout) => format!("oci-layout:{}", folder.join(layout).display()),
            None => folder.join(file).to_string_lossy().into_owned(),
        }
    }
}

impl Imported {
    /// The names of everything that can be taken.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.import.entries.keys()
    }

    /// What the archive holds under `name`, to be installed at `path`.
    pub(crate) fn source(&self, name: &str, path: &ModulePath) -> Result<Source, ModuleFault> {
        let missing = || ModuleFault::NotImported(name.to_owned());
        let entry = self.import.entries.get(name).ok_or_else(missing)?;
        let about = &self.import.about;
        let function = about
            .configuration
            .contains(name)
            .then(|| "configuration".to_owned());
        let (content, bits) = match &entry.content {
            Held::File(file) => (Content::Imported(file.clone()), self.bits(name, entry)?),
            Held::Link(target) => (Content::Link(self.target(name, target, path)?), 0o777),
            Held::Folder => return Err(missing()),
            Held::Special(what) => {
                return Err(ModuleFault::ImportedSpecial(name.to_owned(), what));
            }
        };
        Ok(Source {
            name: name.to_owned(),
            content,
            mode: Mode::new(bits).expect("permission bits alone"),
            owner: Owner {
                user: entry.user.clone(),
                group: entry.group.clone(),
            },
            function,
        })
    }

    fn bits(&self, name: &str, entry: &Entry) -> Result<u32, ModuleFault> {
        if entry.mode & 0o7000 == 0 || self.tolerance.drop_set_id {
            Ok(entry.mode & 0o777)
        } else {
            Err(ModuleFault::ImportedSetId(name.to_owned(), entry.mode))
        }
    }

    fn target(
        &self,
        name: &str,
        target: &str,
        path: &ModulePath,
    ) -> Result<LinkTarget, ModuleFault> {
        let out = || ModuleFault::LinkOut(name.to_owned(), target.to_owned());
        let parts = |text: &str| {
            let parts = text
                .split('/')
                .filter(|part| !part.is_empty() && *part != ".");
            parts.collect::<Vec<_>>().join("/")
        };
        let text = match target.strip_prefix('/') {
            Some(inside) if self.tolerance.absolute_links => relative(name, &parts(inside)),
            Some(_) => return Err(out()),
            None => parts(target),
        };
        let refused = |error| ModuleFault::Link(name.to_owned(), error);
        let link: LinkTarget = text.parse().map_err(refused)?;
        path.resolve(&link).map_err(refused)?;
        Ok(link)
    }
}
