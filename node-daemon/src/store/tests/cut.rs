//! What is on a disk after a power cut, as bad as `fsync` allows.
//!
//! A model of a file system: what the store sees, and beside it what is sure to be on the disk.
//! Content that was not flushed may be missing, cut short or zeros, a mode may be the old one, and
//! every name that was set or removed without a flush of its folder may or may not be so, each by
//! itself and in any order. Only a rename within a folder is one step, and one between folders never
//! loses the file, as with every journaling file system.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::disk::Operation;

type Id = usize;

/// A recorded operation, with paths inside the state folder.
#[derive(Debug, Clone)]
pub(super) enum Recorded {
    MakeFolder(PathBuf),
    Write(PathBuf, Vec<u8>),
    Append(PathBuf, Vec<u8>),
    Copy(PathBuf, PathBuf),
    Flush(PathBuf),
    SetMode(PathBuf, u32),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Symlink(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Recorded {
    /// The steps of `operation` on the state folder `root`. What is done on one handle before it is
    /// flushed are several.
    pub(super) fn of(operation: &Operation<'_>, root: &Path) -> Vec<Self> {
        let inside = |path: &Path| path.strip_prefix(root).unwrap().to_owned();
        match *operation {
            Operation::MakeFolder { path } => vec![Self::MakeFolder(inside(path))],
            Operation::Write { path, content } => vec![Self::Write(inside(path), content.to_vec())],
            Operation::Append { path, content } => {
                vec![Self::Append(inside(path), content.to_vec())]
            }
            Operation::Copy { from, to } => vec![Self::Copy(inside(from), inside(to))],
            Operation::Flush { path } => vec![Self::Flush(inside(path))],
            Operation::Seal { path, seal } => vec![
                Self::SetMode(inside(path), seal.mode),
                Self::Flush(inside(path)),
            ],
            Operation::SetMode { path, mode } => vec![Self::SetMode(inside(path), mode)],
            Operation::Rename { from, to } => vec![Self::Rename(inside(from), inside(to))],
            Operation::Link { from, to } => vec![Self::Link(inside(from), inside(to))],
            Operation::Symlink { target, path } => {
                vec![Self::Symlink(target.to_owned(), inside(path))]
            }
            Operation::Remove { path } | Operation::RemoveFolder { path } => {
                vec![Self::Remove(inside(path))]
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Content {
    Folder {
        seen: BTreeMap<String, Id>,
        sure: BTreeMap<String, Id>,
    },
    File {
        seen: Vec<u8>,
        sure: Vec<u8>,
    },
    Link(PathBuf),
}

#[derive(Debug, Clone)]
struct Node {
    content: Content,
    mode: u32,
    sure_mode: u32,
}

/// Names that are set or removed in one step.
#[derive(Debug, Clone)]
struct Change {
    edits: Vec<(Id, String, Option<Id>)>,
    /// The change that has to be there for this one to be.
    after: Option<usize>,
}

/// The disk at one moment.
pub(super) struct Cut {
    nodes: Vec<Node>,
    /// Changes by their numbers; those that are not flushed are open.
    changes: Vec<Change>,
    open: Vec<usize>,
}

const ROOT: Id = 0;

impl Cut {
    /// An empty state folder.
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![folder()],
            changes: Vec::new(),
            open: Vec::new(),
        }
    }

    pub(super) fn apply(&mut self, step: &Recorded) {
        match step {
            Recorded::MakeFolder(path) => self.make(path, folder()),
            Recorded::Symlink(target, path) => self.make(path, node(Content::Link(target.clone()))),
            Recorded::Write(path, content) => self.write(path, content, true),
            Recorded::Append(path, content) => self.write(path, content, false),
            Recorded::Copy(from, to) => {
                let Content::File { seen, .. } = &self.nodes[self.find(from).unwrap()].content
                else {
                    panic!("`{}` is no file", from.display());
                };
                let seen = seen.clone();
                self.write(to, &seen, true);
            }
            Recorded::SetMode(path, mode) => {
                if let Some(id) = self.find(path) {
                    self.nodes[id].mode = *mode;
                }
            }
            Recorded::Flush(path) => self.flush(path),
            Recorded::Link(from, to) => {
                let id = self.find(from).unwrap();
                self.change(vec![(to.clone(), Some(id))], None);
            }
            Recorded::Rename(from, to) => self.rename(from, to),
            Recorded::Remove(path) => {
                if self.find(path).is_some_and(|id| self.is_empty(id)) {
                    self.change(vec![(path.clone(), None)], None);
                }
            }
        }
    }

    fn make(&mut self, path: &Path, node: Node) {
        if self.find(path).is_none() {
            self.nodes.push(node);
            self.change(vec![(path.to_owned(), Some(self.nodes.len() - 1))], None);
        }
    }

    fn write(&mut self, path: &Path, content: &[u8], anew: bool) {
        let empty = Content::File {
            seen: Vec::new(),
            sure: Vec::new(),
        };
        self.make(path, node(empty));
        let id = self.find(path).unwrap();
        if let Content::File { seen, .. } = &mut self.nodes[id].content {
            if anew {
                seen.clear();
            }
            seen.extend_from_slice(content);
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        let id = self.find(from).unwrap();
        let (gone, there) = ((from.to_owned(), None), (to.to_owned(), Some(id)));
        if from.parent() == to.parent() {
            self.change(vec![gone, there], None);
        } else {
            self.change(vec![there], None);
            self.change(vec![gone], Some(self.changes.len() - 1));
        }
    }

    fn flush(&mut self, path: &Path) {
        let id = self.find(path).unwrap();
        let node = &mut self.nodes[id];
        node.sure_mode = node.mode;
        if let Content::File { seen, sure } = &mut node.content {
            sure.clone_from(seen);
        }
        let touches = |change: &Change| change.edits.iter().any(|(folder, ..)| *folder == id);
        let mut flushed: Vec<usize> = self.open.clone();
        flushed.retain(|number| touches(&self.changes[*number]));
        for number in flushed {
            for needed in [self.changes[number].after, Some(number)]
                .into_iter()
                .flatten()
            {
                if self.open.contains(&needed) {
                    self.open.retain(|open| *open != needed);
                    let edits = self.changes[needed].edits.clone();
                    for edit in edits {
                        self.edit(edit, false);
                    }
                }
            }
        }
    }

    /// What a cut at this moment leaves, by chance, in the empty folder `into`.
    pub(super) fn leave(&self, into: &Path, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut left = Self {
            nodes: self.nodes.clone(),
            changes: self.changes.clone(),
            open: Vec::new(),
        };
        let likely = [0.0, 0.5, 0.5, 0.9, 1.0][random.random_range(0..5)];
        let mut done = Vec::new();
        for number in &self.open {
            let change = &self.changes[*number];
            let can = change
                .after
                .is_none_or(|after| done.contains(&after) || !self.open.contains(&after));
            if can && random.random_bool(likely) {
                done.push(*number);
                change
                    .edits
                    .iter()
                    .for_each(|edit| left.edit(edit.clone(), false));
            }
        }
        for node in &mut left.nodes {
            if random.random_bool(likely) {
                node.sure_mode = node.mode;
            }
            if let Content::File { seen, sure } = &mut node.content
                && seen != sure
            {
                *sure = half_written(sure, seen, &mut random);
            }
        }
        left.write_out(ROOT, into, &mut BTreeMap::new());
    }

    fn write_out(&self, id: Id, path: &Path, written: &mut BTreeMap<Id, PathBuf>) {
        let node = &self.nodes[id];
        match &node.content {
            Content::Link(target) => return symlink(target, path).unwrap(),
            Content::File { sure, .. } => {
                if let Some(first) = written.get(&id) {
                    return fs::hard_link(first, path).unwrap();
                }
                File::create(path).unwrap().write_all(sure).unwrap();
                written.insert(id, path.to_owned());
            }
            Content::Folder { sure, .. } => {
                if id != ROOT {
                    fs::create_dir(path).unwrap();
                }
                for (name, id) in sure {
                    self.write_out(*id, &path.join(name), written);
                }
            }
        }
        fs::set_permissions(path, Permissions::from_mode(node.sure_mode)).unwrap();
    }

    fn change(&mut self, edits: Vec<(PathBuf, Option<Id>)>, after: Option<usize>) {
        let edits: Vec<_> = edits
            .into_iter()
            .map(|(path, id)| {
                let folder = self.find(path.parent().unwrap()).unwrap();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (folder, name, id)
            })
            .collect();
        for edit in &edits {
            self.edit(edit.clone(), true);
        }
        self.open.push(self.changes.len());
        self.changes.push(Change { edits, after });
    }

    fn edit(&mut self, (folder, name, id): (Id, String, Option<Id>), is_seen: bool) {
        let Content::Folder { seen, sure } = &mut self.nodes[folder].content else {
            panic!("`{name}` is set in what is no folder");
        };
        let names = if is_seen { seen } else { sure };
        match id {
            Some(id) => names.insert(name, id),
            None => names.remove(&name),
        };
    }

    fn find(&self, path: &Path) -> Option<Id> {
        path.components().try_fold(ROOT, |id, part| {
            let Component::Normal(name) = part else {
                return Some(id);
            };
            match &self.nodes[id].content {
                Content::Folder { seen, .. } => seen.get(name.to_str()?).copied(),
                _ => None,
            }
        })
    }

    fn is_empty(&self, id: Id) -> bool {
        !matches!(&self.nodes[id].content, Content::Folder { seen, .. } if !seen.is_empty())
    }
}

/// One of the things that may be found where `seen` was written over `sure`.
fn half_written(sure: &[u8], seen: &[u8], random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..5) {
        0 => sure.to_vec(),
        1 => seen.to_vec(),
        2 => Vec::new(),
        3 => seen[..random.random_range(0..=seen.len())].to_vec(),
        // The length is there, the blocks are not. What was flushed before an append is.
        _ => {
            let kept = if seen.starts_with(sure) { sure } else { &[] };
            let mut zeros = vec![0; seen.len()];
            zeros[..kept.len()].copy_from_slice(kept);
            zeros
        }
    }
}

fn folder() -> Node {
    Node {
        mode: 0o700,
        sure_mode: 0o700,
        ..node(Content::Folder {
            seen: BTreeMap::new(),
            sure: BTreeMap::new(),
        })
    }
}

fn node(content: Content) -> Node {
    Node {
        content,
        mode: 0o600,
        sure_mode: 0o600,
    }
}
