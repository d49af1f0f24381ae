//! Which module of a manifest a soname leads to, as the loader finds it and as impact has to see it.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{ManifestEntry, ModulePath, ModuleType, NodeManifest};

/// Directories in which processes of `manifest` find their libraries, relative to the root of the
/// generation, in the order for the loader's search path: those of packages that stand first in the
/// list come first (D4), then by name.
///
/// A directory counts if it holds a module of type library, or a file that some module needs by its
/// name. The root of the generation is the empty text.
pub fn library_directories(manifest: &NodeManifest) -> Vec<String> {
    let needed: BTreeSet<&str> = manifest
        .modules
        .iter()
        .filter_map(|entry| entry.module.elf.as_ref())
        .flat_map(|elf| elf.needed.iter().map(String::as_str))
        .collect();
    let rank = package_ranks(manifest);
    let mut directories = BTreeMap::<&str, usize>::new();
    for entry in &manifest.modules {
        let module = &entry.module;
        let is_library = module.kind == ModuleType::Library
            || (needed.contains(module.path.file_name())
                && leads_to_elf(manifest, entry).is_some());
        if is_library {
            let rank = rank.get(&entry.package).copied().unwrap_or(usize::MAX);
            let best = directories.entry(module.path.parent()).or_insert(rank);
            *best = rank.min(*best);
        }
    }
    let mut ordered: Vec<_> = directories
        .into_iter()
        .map(|(name, rank)| (rank, name))
        .collect();
    ordered.sort_unstable();
    ordered
        .into_iter()
        .map(|(_, name)| name.to_owned())
        .collect()
}

fn package_ranks(manifest: &NodeManifest) -> BTreeMap<&placet_model::PackageName, usize> {
    let packages = manifest.packages.iter().enumerate();
    packages
        .map(|(rank, package)| (&package.name, rank))
        .collect()
}

/// Links that point at links end somewhere, or are a loop.
const LONGEST_LINK_CHAIN: usize = 40;

/// The module at `path` and, where it is a symbolic link, every module on the way to its end.
pub(crate) fn follow<'m>(manifest: &'m NodeManifest, path: &ModulePath) -> Vec<&'m ManifestEntry> {
    let mut chain = Vec::new();
    let mut next = manifest.get(path);
    while let Some(entry) = next {
        chain.push(entry);
        let target = entry
            .module
            .link
            .as_ref()
            .filter(|_| chain.len() < LONGEST_LINK_CHAIN);
        next = target
            .and_then(|target| entry.module.path.resolve(target).ok())
            .and_then(|path| manifest.get(&path));
    }
    chain
}

/// The ELF module that is found at the place of `entry`.
fn leads_to_elf<'m>(
    manifest: &'m NodeManifest,
    entry: &'m ManifestEntry,
) -> Option<&'m ManifestEntry> {
    let end = match &entry.module.link {
        Some(_) => follow(manifest, &entry.module.path).pop()?,
        None => entry,
    };
    end.module.elf.is_some().then_some(end)
}

/// The libraries of one manifest by the names under which they are needed.
pub(crate) struct Libraries<'m> {
    manifest: &'m NodeManifest,
    /// Files and links by file name, in the loader's order.
    by_file_name: BTreeMap<&'m str, Vec<&'m ManifestEntry>>,
    by_soname: BTreeMap<&'m str, Vec<&'m ManifestEntry>>,
}

impl<'m> Libraries<'m> {
    pub(crate) fn new(manifest: &'m NodeManifest) -> Self {
        let directories = library_directories(manifest);
        let place = |entry: &&ManifestEntry| {
            let parent = entry.module.path.parent();
            directories.iter().position(|directory| directory == parent)
        };
        let mut by_file_name = BTreeMap::<_, Vec<_>>::new();
        let mut by_soname = BTreeMap::<_, Vec<_>>::new();
        for entry in &manifest.modules {
            if leads_to_elf(manifest, entry).is_some() {
                by_file_name
                    .entry(entry.module.path.file_name())
                    .or_default()
                    .push(entry);
            }
            if let Some(soname) = entry
                .module
                .elf
                .as_ref()
                .and_then(|elf| elf.soname.as_deref())
            {
                by_soname.entry(soname).or_default().push(entry);
            }
        }
        for entries in by_file_name.values_mut() {
            entries.sort_by_key(|entry| (place(entry).unwrap_or(usize::MAX), &entry.module.path));
        }
        Self {
            manifest,
            by_file_name,
            by_soname,
        }
    }

    /// The module that the loader maps for `needed`, which it looks for by file name alone.
    pub(crate) fn loaded(&self, needed: &str) -> Option<&'m ManifestEntry> {
        let entry = if needed.contains('/') {
            self.manifest.get(&path_of(needed)?)
        } else {
            self.by_file_name
                .get(needed)
                .and_then(|entries| entries.first().copied())
        };
        leads_to_elf(self.manifest, entry?)
    }

    /// Modules that call themselves `soname`, whatever their file name is.
    pub(crate) fn with_soname(&self, soname: &str) -> &[&'m ManifestEntry] {
        self.by_soname.get(soname).map_or(&[], Vec::as_slice)
    }

    /// Every module whose change may change what is mapped for `needed`: files of that name, the
    /// links on the way to them, and modules of that soname. Impact errs on the side of too many.
    pub(crate) fn behind(&self, needed: &str) -> BTreeSet<&'m ModulePath> {
        let by_path = path_of(needed).filter(|_| needed.contains('/'));
        let by_name = self.by_file_name.get(needed).into_iter().flatten();
        let starts = by_name
            .map(|entry| &entry.module.path)
            .chain(
                self.with_soname(needed)
                    .iter()
                    .map(|entry| &entry.module.path),
            )
            .chain(&by_path);
        starts
            .flat_map(|path| follow(self.manifest, path))
            .map(|entry| &entry.module.path)
            .collect()
    }
}

/// The module path that an absolute path on the node means.
pub(crate) fn path_of(absolute: &str) -> Option<ModulePath> {
    absolute.trim_start_matches('/').parse().ok()
}
