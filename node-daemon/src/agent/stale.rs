//! What runs against what should run: processes that execute something else than the running
//! generation has, by the build ids of what they have mapped (C-R2).
//!
//! It is looked at after each change and with every quick look. What is done about it is in
//! [`super::cure`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use placet_model::{Module, ProcessName, visible};
use placet_protocol::wire::Drift;

use super::core::{Core, Input};
use super::machine::Event;
use super::mapped::{self, Mapped};
use crate::store::Generation;

/// More than anybody reads.
const FOUND_MAX: usize = 100;

/// Something that a process executes and that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stale {
    /// The module in whose place it is, or the path of the program.
    path: String,
    pub(super) process: ProcessName,
    pid: u32,
    what: String,
    pub(super) origin: Origin,
    /// True if the process is being restarted for it.
    pub(super) is_cured: bool,
}

/// Where what is executed comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// Another generation.
    Generation,
    /// A file of another place that has the name of one of the generation's.
    Elsewhere,
    /// A program that is in no generation, and not on the disk any more.
    Lost,
}

/// What is found of one file: in place of what, and how it differs.
type Finding = (String, String, Origin);

/// What should run.
struct Wanted<'a> {
    generation: &'a Generation,
    tree: PathBuf,
    /// Devices and inodes of its files.
    files: BTreeSet<(u64, u64)>,
    /// Its ELF files by soname and by the last part of their path.
    names: BTreeMap<&'a str, &'a Module>,
}

impl<'a> Wanted<'a> {
    fn new(generation: &'a Generation, tree: PathBuf) -> Self {
        let modules = generation.manifest.modules.iter();
        let modules = modules.map(|entry| &entry.module);
        let modules = modules.filter(|module| module.link.is_none());
        let (mut files, mut names) = (BTreeSet::new(), BTreeMap::new());
        for module in modules {
            files.extend(file(&tree.join(module.path.as_str())));
            if let Some(elf) = &module.elf {
                names.extend(elf.soname.as_deref().map(|soname| (soname, module)));
                names.extend(
                    module
                        .path
                        .as_str()
                        .rsplit('/')
                        .next()
                        .map(|it| (it, module)),
                );
            }
        }
        Self {
            generation,
            tree,
            files,
            names,
        }
    }

    /// What is wrong with a file that process `pid` executes: in place of what, and the words.
    fn judge(&self, pid: u32, mapped: &Mapped) -> Option<Finding> {
        if self.files.contains(&mapped.file) {
            return None;
        }
        // File systems in layers give other numbers to what is mapped than to what is looked at.
        let path = Path::new(&mapped.path);
        let has_name = !mapped.is_deleted;
        if has_name && file(path).is_some_and(|file| self.files.contains(&file)) {
            return None;
        }
        let Some((number, inside)) = in_generation(&mapped.path) else {
            return self.judge_foreign(pid, mapped);
        };
        let known = self.generation.manifest.modules.iter();
        let module = known
            .map(|entry| &entry.module)
            .find(|module| module.path.as_str() == inside);
        let Some(module) = module else {
            let what = format!(
                "still executes it from generation {number}; generation {} does not have it",
                self.generation.number
            );
            return Some((inside.to_owned(), what, Origin::Generation));
        };
        let (held, found) = self.build_ids(pid, mapped, module)?;
        let what = format!(
            "still executes it from generation {number} ({found}); generation {} has {held}",
            self.generation.number
        );
        Some((inside.to_owned(), what, Origin::Generation))
    }

    /// The same, of a file that is in no generation. Most of these are the system's, and as they
    /// should be.
    fn judge_foreign(&self, pid: u32, mapped: &Mapped) -> Option<Finding> {
        let name = mapped.path.rsplit('/').next()?;
        let Some(module) = self.names.get(name) else {
            let what = "executes this program, which was removed or replaced";
            let is_lost = mapped.is_deleted && mapped::is_program(pid, mapped);
            return is_lost.then(|| (mapped.path.clone(), what.to_owned(), Origin::Lost));
        };
        let (held, found) = self.build_ids(pid, mapped, module)?;
        let shown = visible(&mapped.path);
        let what = format!(
            "executes `{shown}` in its place ({found}); generation {} has {held}",
            self.generation.number
        );
        Some((module.path.as_str().to_owned(), what, Origin::Elsewhere))
    }

    /// The build ids of what is held and of what is executed, in words, unless they are the same.
    fn build_ids(&self, pid: u32, mapped: &Mapped, module: &Module) -> Option<(String, String)> {
        let held = mapped::build_id_of(&self.tree.join(module.path.as_str()));
        let found = mapped::build_id_in(pid, mapped);
        let is_same = held.is_some() && held == found;
        let words = |id: Option<String>| match id {
            Some(id) => format!("build id {id}"),
            None => "no build id".to_owned(),
        };
        (!is_same).then(|| (words(held), words(found)))
    }
}

fn file(path: &Path) -> Option<(u64, u64)> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// The number of the generation in whose tree a path is, and the path in there.
fn in_generation(path: &str) -> Option<(u64, &str)> {
    let (_, rest) = path.rsplit_once("/generations/")?;
    let (number, rest) = rest.split_once('/')?;
    // One that is being removed has a dot and a word before its number.
    let number = number.trim_start_matches(".old-").parse().ok()?;
    Some((number, rest.strip_prefix("tree/")?))
}

/// To which of the named processes everything belongs that runs: by its group, or as a child.
fn families(
    names: &BTreeMap<u32, ProcessName>,
    kin: &BTreeMap<u32, (u32, u32)>,
) -> BTreeMap<u32, ProcessName> {
    let name = |pid: &u32| {
        let mut at = *pid;
        // Ids are used again while they are read: such a line may lead in a circle.
        for _ in 0..kin.len() {
            let (parent, group) = *kin.get(&at)?;
            if let Some(name) = names.get(&at).or_else(|| names.get(&group)) {
                return Some((*pid, name.clone()));
            }
            at = parent;
        }
        None
    };
    kin.keys().filter_map(name).collect()
}

/// Looks at all that `names` and their families execute.
fn find(generation: &Generation, tree: PathBuf, names: &BTreeMap<u32, ProcessName>) -> Vec<Stale> {
    let wanted = Wanted::new(generation, tree);
    let mut found = BTreeSet::new();
    for (pid, process) in families(names, &mapped::kin()) {
        for mapped in mapped::of_process(pid) {
            if found.len() >= FOUND_MAX {
                return found.into_iter().collect();
            }
            let judged = wanted.judge(pid, &mapped);
            found.extend(judged.map(|(path, what, origin)| Stale {
                path,
                process: process.clone(),
                pid,
                what,
                origin,
                is_cured: false,
            }));
        }
    }
    found.into_iter().collect()
}

impl Stale {
    fn sentence(&self) -> String {
        let Self {
            process,
            pid,
            what,
            origin,
            is_cured,
            ..
        } = self;
        let ending = match origin {
            _ if *is_cured => "it is restarted, as its class says",
            Origin::Generation | Origin::Lost => "a restart puts it right",
            Origin::Elsewhere => "a restart puts it right unless it is told to look there",
        };
        format!("process {process} (pid {pid}) {what}; {ending}")
    }

    pub(super) fn reported(&self) -> Drift {
        Drift {
            path: self.path.clone(),
            what: self.sentence(),
            repaired: self.is_cured,
            running: true,
        }
    }
}

impl Core {
    /// Looks at what runs, unless a change is under way: then it is looked at afterwards.
    pub(super) fn look_at_running(&self) {
        if self.machine.is_busy() {
            return;
        }
        let generation = Arc::clone(self.machine.current());
        let tree = self.store.tree(generation.number);
        let running = self.machine.running();
        let names: BTreeMap<_, _> = running.map(|it| (it.pid, it.process)).collect();
        let handle = self.handle.clone();
        tokio::task::spawn_blocking(move || {
            let found = find(&generation, tree, &names);
            handle.send(Input::LookedAtRunning(generation, found));
        });
    }

    /// Reports what was found, if it is news, and restarts whom the policy wants restarted.
    pub(super) fn looked_at_running(&mut self, generation: &Generation, mut found: Vec<Stale>) {
        if self.machine.is_busy() || self.machine.current().number != generation.number {
            return;
        }
        let restarted = self.cure(&mut found);
        self.report_stale(found);
        if !restarted.is_empty() {
            self.decide(Event::Renew(restarted));
        }
    }

    fn report_stale(&mut self, found: Vec<Stale>) {
        if found == self.stale {
            return;
        }
        for stale in found.iter().filter(|stale| !self.stale.contains(stale)) {
            let path = visible(&stale.path);
            tracing::warn!("`{path}` is not what runs: {}", stale.sentence());
        }
        self.stale = found;
        let report = super::report::report(self.report());
        self.tell(&report);
    }
}

#[cfg(test)]
impl Stale {
    pub(super) fn of(process: &str, origin: Origin) -> Self {
        Self {
            path: "lib/libone.so".to_owned(),
            process: process.parse().unwrap(),
            pid: 7,
            what: String::new(),
            origin,
            is_cured: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_its_generation() {
        let cases = [
            ("/s/generations/3/tree/lib/x.so", Some((3, "lib/x.so"))),
            ("/generations/1/s/generations/12/tree/a", Some((12, "a"))),
            ("/s/generations/.old-4/tree/a", Some((4, "a"))),
            ("/s/generations/.new-4/tree/a", None),
            ("/s/generations/4/other/a", None),
            ("/usr/lib/x.so", None),
        ];
        for (path, expected) in cases {
            assert_eq!(in_generation(path), expected, "{path}");
        }
    }

    #[test]
    fn families_are_found_by_group_and_by_parent() {
        let name = |text: &str| text.parse::<ProcessName>().unwrap();
        let names = BTreeMap::from([(10, name("chat")), (20, name("mail"))]);
        // Pid, parent and group: 13 left the group, 31 and 32 are each other's parents.
        let kin = [
            (10, 1, 10),
            (11, 10, 10),
            (12, 1, 10),
            (13, 11, 13),
            (20, 1, 20),
            (30, 1, 30),
            (31, 32, 31),
            (32, 31, 32),
        ];
        let kin = kin.map(|(pid, parent, group)| (pid, (parent, group)));
        let found = families(&names, &kin.into());
        let chat = [10, 11, 12, 13].map(|pid| (pid, name("chat")));
        let expected: BTreeMap<_, _> = chat.into_iter().chain([(20, name("mail"))]).collect();
        assert_eq!(found, expected);
    }
}
