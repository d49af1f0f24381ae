//! What processes have really mapped, against what they are to run (C-R2).
//!
//! A process that is restarted maps what it is to; one that says it has handled a change by itself
//! may be wrong. What is mapped is seen in `/proc`, by the path through which it was opened: that of
//! a generation, whose manifest has its signature and build id.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Pid, getpgid};
use placet_model::{ModuleType, NodeManifest, ProcessName, visible};

use super::core::Core;
use crate::store::{Generation, Store};

/// More findings are not told of.
const FINDINGS_MAX: usize = 100;

/// A module that a process has mapped, and should not have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stale {
    /// Its path in the tree.
    pub(super) path: PathBuf,
    /// Who has mapped what, in words.
    pub(super) what: String,
}

/// A process to look at.
pub(super) struct Mapping {
    name: ProcessName,
    /// The process that leads its group.
    pid: u32,
    /// The generation that it is to run.
    wanted: Arc<Generation>,
}

impl Core {
    /// The processes that run and are not being changed.
    pub(super) fn mappings(&self) -> Vec<Mapping> {
        if self.machine.is_busy() {
            return Vec::new();
        }
        // One that the change does not touch, as far as anybody said, may use what has changed.
        let wanted = self.machine.committed();
        let mapping = |(name, pid)| Mapping {
            name,
            pid,
            wanted: Arc::clone(wanted),
        };
        self.machine.settled().map(mapping).collect()
    }
}

/// Looks into all of these processes. Blocks for as long as reading a few files takes.
pub(super) fn look(store: &Store, mappings: &[Mapping]) -> Vec<Stale> {
    let mut loaded = BTreeMap::new();
    let mut groups = groups();
    let mut found = Vec::new();
    for mapping in mappings {
        for pid in groups.remove(&mapping.pid).unwrap_or_default() {
            // One that has ended meanwhile has mapped nothing.
            let Ok(maps) = fs::read_to_string(format!("/proc/{pid}/maps")) else {
                continue;
            };
            let mut load = |number: u64| {
                let generation = loaded.entry(number);
                let load = || store.load(number).ok().map(Arc::new);
                generation.or_insert_with(load).clone()
            };
            let paths = paths(&maps);
            let stale = stale(
                &paths,
                &mapping.wanted,
                &|path| place(store, path),
                &mut load,
            );
            found.extend(stale.into_iter().map(|(path, what)| Stale {
                path,
                what: format!("process {} (pid {pid}) {what}", mapping.name),
            }));
        }
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(FINDINGS_MAX);
    found
}

/// Processes by the leader of their group.
fn groups() -> BTreeMap<u32, Vec<u32>> {
    let mut groups = BTreeMap::<u32, Vec<u32>>::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid: Option<u32> = entry.file_name().to_str().and_then(|it| it.parse().ok());
        let Some(pid) = pid else { continue };
        let leader = getpgid(Some(Pid::from_raw(pid.cast_signed())));
        if let Ok(leader) = leader {
            let leader = leader.as_raw().cast_unsigned();
            groups.entry(leader).or_default().push(pid);
        }
    }
    groups
}

/// The files of which something is mapped to be executed, and whether each has lost its name.
fn paths(maps: &str) -> Vec<(PathBuf, bool)> {
    const DELETED: &str = " (deleted)";
    let path = |line: &str| {
        let mut fields = line.splitn(6, ' ');
        let is_code = fields.nth(1).is_some_and(|mode| mode.contains('x'));
        let path = fields.nth(3)?.trim_start();
        let is_file = is_code && path.starts_with('/');
        is_file.then(|| match path.strip_suffix(DELETED) {
            Some(path) => (PathBuf::from(path), true),
            None => (PathBuf::from(path), false),
        })
    };
    let mut paths: Vec<_> = maps.lines().filter_map(path).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// The number of the generation in whose tree a file lies, and its path there.
fn place<'p>(store: &Store, path: &'p Path) -> Option<(u64, &'p Path)> {
    let roots = store.trees();
    let within = roots.iter().find_map(|root| path.strip_prefix(root).ok())?;
    let mut parts = within.components();
    let number = parts.next()?.as_os_str().to_str()?.parse().ok()?;
    (parts.next()?.as_os_str() == "tree").then_some((number, parts.as_path()))
}

/// What of these files a process should not have mapped that is to run `handled`.
fn stale<'p>(
    paths: &'p [(PathBuf, bool)],
    handled: &Generation,
    place: &dyn Fn(&'p Path) -> Option<(u64, &'p Path)>,
    load: &mut dyn FnMut(u64) -> Option<Arc<Generation>>,
) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for (path, is_deleted) in paths {
        let Some((number, within)) = place(path) else {
            found.extend(elsewhere(path, &handled.manifest));
            continue;
        };
        let of = |manifest: &NodeManifest| {
            let path = within.to_str()?.parse().ok()?;
            let module = &manifest.get(&path)?.module;
            Some((module.signature, module.build_id.clone()))
        };
        let wanted = of(&handled.manifest);
        let mapped = load(number).and_then(|generation| of(&generation.manifest));
        let is_same = match (&mapped, &wanted) {
            (Some((mapped, _)), Some((wanted, _))) => mapped == wanted,
            // What it has opened and is in no manifest any more, it may have left for good.
            _ => true,
        };
        if !is_same {
            let build = build_of(mapped);
            found.push((
                within.to_owned(),
                format!(
                    "still maps that of generation {number}{build}; generation {} has another: restart it",
                    handled.number
                ),
            ));
        } else if *is_deleted {
            let what = "maps a file that was removed from the tree under it: restart it";
            found.push((within.to_owned(), what.to_owned()));
        }
    }
    found
}

fn build_of<T>(mapped: Option<(T, Option<String>)>) -> String {
    let build = mapped.and_then(|(_, build)| build);
    build.map_or_else(String::new, |build| format!(" (build {})", visible(&build)))
}

/// A library of the base system in the place of one that the generation has.
fn elsewhere(path: &Path, manifest: &NodeManifest) -> Option<(PathBuf, String)> {
    let name = path.file_name()?;
    let is_meant = |module: &placet_model::Module| {
        let is_library = module.kind == ModuleType::Library && module.link.is_none();
        is_library && Path::new(module.path.as_str()).file_name() == Some(name)
    };
    let mut modules = manifest.modules.iter().map(|entry| &entry.module);
    let module = modules.find(|module| is_meant(module))?;
    let shown = path.display().to_string();
    let what = format!(
        "maps `{}` in its place: restart it, and look how it finds its libraries",
        visible(&shown)
    );
    Some((PathBuf::from(module.path.as_str()), what))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{entry, file, manifest};

    fn generation(number: u64, library: &[u8]) -> Arc<Generation> {
        let library = file("lib/libone.so", "0644", library);
        let library = placet_model::Module {
            kind: ModuleType::Library,
            build_id: Some(format!("b{number}")),
            ..library
        };
        let manifest = manifest([entry(file("bin/one", "0755", b"one")), entry(library)]);
        Arc::new(Generation::new(number, manifest, BTreeMap::new()))
    }

    #[test]
    fn what_is_mapped_is_compared_with_what_was_handled() {
        let maps = "\
4000-5000 r--p 00000000 fe:00 1 /state/generations/1/tree/bin/one
5000-6000 r-xp 00001000 fe:00 1 /state/generations/1/tree/bin/one
6000-7000 r-xp 00000000 fe:00 2   /state/generations/1/tree/lib/libone.so
7000-8000 r-xp 00000000 fe:00 3 /state/generations/2/tree/lib/libone.so (deleted)
8000-9000 r-xp 00000000 fe:00 4 /usr/lib/libone.so
9000-a000 r-xp 00000000 fe:00 5 /usr/lib/libc.so.6
a000-b000 r--p 00000000 fe:00 6 /usr/share/one with a space
b000-c000 r-xp 00000000 00:00 0 [vdso]
";
        let paths = paths(maps);
        let (old, new) = (generation(1, b"old"), generation(2, b"new"));
        let place = |path: &Path| -> Option<(u64, &'static Path)> {
            let text = path.to_str().unwrap();
            let text = text.strip_prefix("/state/generations/")?;
            let (number, within) = text.split_once("/tree/")?;
            let within: &'static str = within.to_owned().leak();
            Some((number.parse().unwrap(), Path::new(within)))
        };
        let paths: &'static _ = Box::leak(Box::new(paths));
        let load = &mut |number| Some(Arc::clone(if number == 1 { &old } else { &new }));
        let found = stale(paths, &new, &place, load);
        let lines: Vec<_> = found
            .iter()
            .map(|(path, what)| format!("{}: {what}", path.display()))
            .collect();
        expect![[r"
            lib/libone.so: still maps that of generation 1 (build b1); generation 2 has another: restart it
            lib/libone.so: maps a file that was removed from the tree under it: restart it
            lib/libone.so: maps `/usr/lib/libone.so` in its place: restart it, and look how it finds its libraries"]]
        .assert_eq(&lines.join("\n"));
    }
}
