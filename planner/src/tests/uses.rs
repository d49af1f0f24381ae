//! Random manifests, of which the reasons found by a walk that looks for what changed are those of
//! a plain walk through everything (V2).

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{
    Because, Change, ChangeSet, Follow, FollowAction, Module, ModulePath, NodeManifest,
    ProcessAction, ProcessKind, ProcessName,
};
use proptest::prelude::*;

use super::build::{M, file, fleet, library, link, package, process, text};
use crate::libraries::{Libraries, follow, path_of};
use crate::{Announcement, Announcements, change, change_with, ties};

const LIBRARIES: usize = 9;
const PROCESSES: usize = 5;
const MODULES: usize = LIBRARIES + PROCESSES;

/// What a module of a random manifest is.
#[derive(Debug, Clone)]
struct Shape {
    /// What it needs and opens, as numbers of other modules, circles and itself included.
    needs: Vec<usize>,
    opens: Vec<usize>,
    /// What it opens once it runs; of processes alone.
    announces: Vec<usize>,
    /// The module that a link leads to.
    linked_to: Option<usize>,
    content: bool,
    is_absent: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    let some = |most| prop::collection::vec(0..MODULES, 0..most);
    let link = prop::option::weighted(0.2, 0..MODULES);
    let content = prop::bool::weighted(0.8);
    let is_absent = prop::bool::weighted(0.05);
    let parts = (some(3), some(2), some(2), link, content, is_absent);
    parts.prop_map(
        |(needs, opens, announces, linked_to, content, is_absent)| Shape {
            needs,
            opens,
            announces,
            linked_to,
            content,
            is_absent,
        },
    )
}

/// Two sides: the second is the first with some modules replaced by others.
fn sides() -> impl Strategy<Value = (Vec<Shape>, Vec<Shape>)> {
    let old = prop::collection::vec(shape(), MODULES);
    let replaced = prop::collection::vec(prop::option::weighted(0.2, shape()), MODULES);
    (old, replaced).prop_map(|(old, replaced)| {
        let both = old.iter().zip(replaced);
        let new = both.map(|(old, new)| new.unwrap_or_else(|| old.clone()));
        let new = new.collect();
        (old, new)
    })
}

fn soname(index: usize) -> String {
    format!("lib{index}.so")
}

/// Libraries come first, in two directories, then processes.
fn path(index: usize) -> String {
    match index {
        0..3 => format!("opt/lib/{}", soname(index)),
        _ if index < LIBRARIES => format!("usr/lib/{}", soname(index)),
        _ => format!("usr/bin/p{index}"),
    }
}

/// A module and the link beside it; processes are a link themselves.
fn with_link(index: usize, shape: &Shape) -> Vec<M> {
    if shape.is_absent {
        return Vec::new();
    }
    let mut module = if index < LIBRARIES {
        library(&soname(index)).at(&path(index))
    } else {
        process(&format!("p{index}"))
    };
    module = module.content(&format!("{index} {}", shape.content));
    for needed in &shape.needs {
        // A process's file is needed too: as an interpreter, for it has no soname.
        module = if *needed < LIBRARIES {
            module.needs(&soname(*needed))
        } else {
            module.interpreter(&format!("/{}", path(*needed)))
        };
    }
    for (index, opened) in shape.opens.iter().enumerate() {
        module = if index == 0 {
            module.opens_one_of(&[&path(*opened), "usr/lib/none"])
        } else {
            module.opens_if_present(&path(*opened))
        };
    }
    let Some(to) = shape.linked_to else {
        return vec![module];
    };
    if index >= LIBRARIES {
        module.0.elf = None;
        module.0.link = Some(text(&format!("../../{}", path(to))));
        return vec![module];
    }
    // Every other one leads to a link, which may not be there.
    let target = if to % 2 == 0 { path(to) } else { link_path(to) };
    vec![module, link(&link_path(index), &format!("../{target}"))]
}

fn link_path(index: usize) -> String {
    format!("lib/{}", soname(index))
}

fn manifest(shapes: &[Shape]) -> NodeManifest {
    let modules = shapes.iter().enumerate();
    let modules = modules.flat_map(|(index, shape)| with_link(index, shape));
    let fleet = fleet([package("app 1.0.0", modules)]).class("core", &["app 1.0.0"]);
    NodeManifest::clone(&fleet.target().nodes[&text("core-1")].manifest)
}

fn announced(shapes: &[Shape]) -> Announcements {
    let processes = shapes.iter().enumerate().skip(LIBRARIES);
    let announced = processes.map(|(index, shape)| {
        let opened = shape.announces.iter().map(|it| text(&path(*it))).collect();
        let follows = Vec::new();
        (text(&format!("p{index}")), Announcement { opened, follows })
    });
    announced.collect()
}

type Chain = Vec<ModulePath>;
/// Processes with how they use what changed.
type Touched = Vec<(ModulePath, Vec<Because>)>;

/// What a process uses, by a plain walk through everything that it reaches.
#[derive(Default)]
struct Used {
    linked: BTreeMap<ModulePath, Chain>,
    opened: BTreeSet<ModulePath>,
}

fn used(manifest: &NodeManifest, process: &ModulePath, announced: &Announcements) -> Used {
    let libraries = Libraries::new(manifest);
    let own: Vec<_> = follow(manifest, process)
        .iter()
        .map(|it| &it.module)
        .collect();
    let mut used = Used::default();
    let mut seen = BTreeSet::new();
    let mut round: BTreeSet<(Chain, ModulePath)> =
        own.iter().map(|it| (Vec::new(), it.path.clone())).collect();
    while !round.is_empty() {
        for (mut via, path) in std::mem::take(&mut round) {
            if !seen.insert(path.clone()) {
                continue;
            }
            let Some(entry) = manifest.get(&path) else {
                continue;
            };
            let is_own = own.iter().any(|own| own.path == path);
            if !is_own {
                via.push(path);
            }
            let (linked, mut opened) = next(manifest, &libraries, &entry.module);
            if let Some(spec) = entry.module.process.as_ref().filter(|_| is_own) {
                opened.extend(
                    announced
                        .get(&spec.name)
                        .into_iter()
                        .flat_map(|it| it.opened.clone()),
                );
            }
            let is_other = |path: &ModulePath| own.iter().all(|own| own.path != *path);
            for path in linked.into_iter().filter(&is_other) {
                round.insert((via.clone(), path.clone()));
                used.linked.entry(path).or_insert_with(|| via.clone());
            }
            let opened = opened.iter().flat_map(|path| follow(manifest, path));
            for path in opened.map(|it| &it.module.path).filter(|it| is_other(it)) {
                round.insert((via.clone(), path.clone()));
                used.opened.insert(path.clone());
            }
        }
    }
    used
}

/// What a module maps, with the links on the way, and what it opens.
fn next(manifest: &NodeManifest, libraries: &Libraries<'_>, module: &Module) -> (Chain, Chain) {
    let elf = module.elf.iter();
    let needed = elf.clone().flat_map(|elf| &elf.needed);
    let libraries = needed.flat_map(|name| libraries.behind(name));
    let mut linked: Chain = libraries.cloned().collect();
    let interpreter = elf.filter_map(|elf| path_of(elf.interpreter.as_deref()?));
    let interpreter = interpreter.flat_map(|path| follow(manifest, &path));
    linked.extend(interpreter.map(|it| it.module.path.clone()));
    let opened = module.supplemental.iter().flat_map(|it| &it.one_of);
    (linked, opened.chain(&module.optional).cloned().collect())
}

/// How the change of `changed` touches the process at `path` through what it uses, sorted.
fn because(sides: [&Used; 2], changed: impl Iterator<Item = (ModulePath, Change)>) -> Vec<Because> {
    let mut because = Vec::new();
    for (path, change) in changed {
        let via = sides.into_iter().filter_map(|side| side.linked.get(&path));
        if let Some(via) = via.min_by_key(|via| (via.len(), *via)).cloned() {
            let library = path.clone();
            because.push(Because::Library {
                library,
                change,
                via,
            });
        }
        if sides.into_iter().any(|side| side.opened.contains(&path)) {
            because.push(Because::Opened {
                module: path,
                change,
            });
        }
    }
    because.sort();
    because
}

/// The processes of both sides that a change touches through what they use, in the order of their
/// handling, with how they use it.
fn plain(
    (old, new): (&NodeManifest, &NodeManifest),
    change: &ChangeSet,
    announced: &Announcements,
) -> Touched {
    let is_process = |module: &&Module| module.process.is_some();
    let modules = new.modules.iter().map(|it| &it.module);
    let processes: Vec<_> = modules.filter(is_process).collect();
    let mut touched = Vec::new();
    for process in &processes {
        let path = &process.path;
        if old.get(path).is_none() {
            continue;
        }
        let [before, after] = [old, new].map(|side| used(side, path, announced));
        let is_used =
            |it: &&&Module| after.linked.contains_key(&it.path) || after.opened.contains(&it.path);
        let order = processes.iter().filter(is_used).count();
        let changed = change.modules.iter().map(|it| (it.path.clone(), it.change));
        let because = because([&before, &after], changed);
        touched.push((order, path.clone(), because));
    }
    touched.sort();
    let touched = touched
        .into_iter()
        .map(|(_, path, because)| (path, because));
    touched.filter(|(_, because)| !because.is_empty()).collect()
}

/// The same as `change` has it.
fn told(change: &ChangeSet) -> Touched {
    let is_use = |it: &&Because| matches!(it, Because::Library { .. } | Because::Opened { .. });
    let told = change.processes.iter().map(|process| {
        let because = process.because.iter().filter(is_use).cloned().collect();
        (process.path.clone(), because)
    });
    told.filter(|(_, because): &(_, Vec<_>)| !because.is_empty())
        .collect()
}

/// The same manifest, in which processes also follow what they would announce, each in its own way.
fn with_interests(mut manifest: NodeManifest, shapes: &[Shape]) -> NodeManifest {
    let actions = [
        FollowAction::Nothing,
        FollowAction::Reload,
        FollowAction::Restart,
    ];
    for (index, shape) in shapes.iter().enumerate().skip(LIBRARIES) {
        let mut modules = manifest.modules.iter_mut();
        let path = path(index);
        let Some(entry) = modules.find(|it| it.module.path.as_str() == path) else {
            continue;
        };
        let spec = entry.module.process.as_mut().expect("a process");
        if !shape.content {
            spec.kind = ProcessKind::SelfManaging;
        }
        let follows = shape.announces.iter().enumerate();
        let follows = follows.map(|(number, followed)| Follow {
            paths: [self::path(*followed)].into(),
            action: actions[(index + number) % actions.len()],
            ..Follow::default()
        });
        spec.follows = follows.collect();
    }
    manifest
}

/// What happens to processes where the module at a place has another signature.
fn touched_by(manifest: &NodeManifest, place: usize) -> BTreeMap<ProcessName, ProcessAction> {
    let mut other = manifest.clone();
    other.modules[place].module.signature = file("another").0.signature;
    let processes = change(manifest, &other).change_set.processes.into_iter();
    processes.map(|it| (it.name, it.action)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_walk_that_looks_for_what_changed_finds_what_a_plain_one_finds(
        (old, new) in sides(),
    ) {
        let announced = announced(&new);
        let (old, new) = (manifest(&old), manifest(&new));
        let change = change_with(&old, &new, &announced).change_set;
        prop_assert_eq!(told(&change), plain((&old, &new), &change, &announced));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn m5_what_each_module_alone_would_do_is_what_its_change_does(shapes in prop::collection::vec(shape(), MODULES)) {
        let manifest = with_interests(manifest(&shapes), &shapes);
        let ties = ties(&manifest);
        for place in 0..manifest.modules.len() {
            let told = ties.processes.iter().filter_map(|(name, tied)| {
                Some(((*name).clone(), *tied.touched.get(&place)?))
            });
            prop_assert_eq!(told.collect::<BTreeMap<_, _>>(), touched_by(&manifest, place));
        }
    }
}
