//! What archives hold, collected under rules that no archive can break.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use md5::{Digest as _, Md5};

use super::error::{Fault, Outcome};
use super::limits::ImportLimits;

/// One thing that an archive holds.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) content: Content,
    /// Permission bits and set-id bits.
    pub(super) mode: u32,
    /// Who owns it; nothing for root.
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
    /// What an image's layer has put there last.
    layer: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A file, whose bytes are in the temporary folder.
    File(PathBuf),
    /// A symbolic link.
    Link(String),
    Folder,
    /// A device, pipe or socket: what it is.
    Special(&'static str),
}

/// What is said of an entry beside its content.
#[derive(Debug, Clone, Default)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
}

/// What an archive holds so far.
pub(super) struct Tree {
    folder: PathBuf,
    limits: ImportLimits,
    entries: BTreeMap<String, Entry>,
    /// How many entries were seen.
    seen: usize,
    /// Bytes of all files.
    bytes: u64,
    files: usize,
    /// Which layer of an image is read; entries of one below it may be replaced.
    layer: usize,
    /// What that layer has removed, and whether only what was in it.
    removed: BTreeSet<(String, bool)>,
    /// MD5 that the archive lists for files.
    listed: BTreeMap<String, [u8; 16]>,
}

/// A whole archive.
pub(super) struct Finished {
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) folders: usize,
    pub(super) relative_links: Vec<String>,
}

/// The longest that Linux has.
const NAME_MAX: usize = 4_096;

impl Tree {
    pub(super) fn new(folder: &Path, limits: ImportLimits) -> Self {
        Self {
            folder: folder.to_owned(),
            limits,
            entries: BTreeMap::new(),
            seen: 0,
            bytes: 0,
            files: 0,
            layer: 0,
            removed: BTreeSet::new(),
            listed: BTreeMap::new(),
        }
    }

    /// Where its files are, each under a number.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn limits(&self) -> ImportLimits {
        self.limits
    }

    /// Where the bytes of a file lie that was read already.
    pub(super) fn file(&self, name: &str) -> Option<&Path> {
        match &self.entries.get(name)?.content {
            Content::File(path) => Some(path),
            _ => None,
        }
    }

    /// Lists the MD5 that a file is to have.
    pub(super) fn expect(&mut self, name: String, md5: [u8; 16]) {
        self.listed.insert(name, md5);
    }

    /// Files with bytes, links, folders and the rest: each entry of an archive comes through here.
    pub(super) fn add(&mut self, name: &[u8], content: Content, meta: Meta) -> Outcome<()> {
        let Some(name) = self.admit(name)? else {
            return Ok(());
        };
        self.place(name, content, meta)
    }

    /// A file of `size` bytes.
    pub(super) fn add_file(
        &mut self,
        name: &[u8],
        size: u64,
        bytes: &mut dyn Read,
        meta: Meta,
    ) -> Outcome<()> {
        let Some(name) = self.admit(name)? else {
            return Err(Fault::Name("is that of the root folder").into());
        };
        let path = self.store(&name, size, bytes)?;
        self.place(name, Content::File(path), meta)
    }

    /// Another name of the file `target`.
    pub(super) fn add_hard_link(&mut self, name: &[u8], target: &[u8]) -> Outcome<()> {
        let Some(name) = self.admit(name)? else {
            return Err(Fault::Name("is that of the root folder").into());
        };
        let shown = String::from_utf8_lossy(target).into_owned();
        let missing = || Fault::HardLink(shown.clone()).at(&name);
        let target = cleaned(target).map_err(|fault| fault.at(&name))?;
        let entry = self.entries.get(&target).ok_or_else(missing)?;
        if matches!(entry.content, Content::Folder) {
            return Err(missing());
        }
        let entry = entry.clone();
        let meta = Meta {
            mode: entry.mode,
            user: entry.user,
            group: entry.group,
        };
        self.place(name, entry.content, meta)
    }

    /// Begins the next layer of an image.
    pub(super) fn next_layer(&mut self) {
        self.layer += 1;
        self.removed.clear();
    }

    /// Removes what layers below have at `name` and in it; the name itself stays a folder where
    /// only its content is meant.
    pub(super) fn remove(&mut self, name: &str, content_only: bool) -> Outcome<()> {
        // Nothing is gone through twice.
        if !self.removed.insert((name.to_owned(), content_only)) {
            return Err(Fault::Duplicate.at(name));
        }
        let itself = self.entries.get_key_value(name);
        let found: Vec<_> = itself.into_iter().chain(self.inside(name)).collect();
        if found.is_empty() && !name.is_empty() {
            return Err(Fault::Whiteout.at(name));
        }
        let is_below = |(known, entry): &(&String, &Entry)| {
            entry.layer != self.layer && !(content_only && *known == name)
        };
        let names = found.into_iter().filter(is_below);
        let names: Vec<String> = names.map(|(known, _)| known.clone()).collect();
        for name in names {
            self.entries.remove(&name);
        }
        Ok(())
    }

    /// What lies in the folder `name`; everything for the root folder.
    fn inside(&self, name: &str) -> impl Iterator<Item = (&String, &Entry)> {
        let start = if name.is_empty() {
            String::new()
        } else {
            format!("{name}/")
        };
        let from = self.entries.range(start.clone()..);
        from.take_while(move |(known, _)| known.starts_with(&start))
    }

    /// Counts an entry, or a folder that one lies in.
    fn count(&mut self) -> Result<(), Fault> {
        self.seen += 1;
        if self.seen > self.limits.entries {
            return Err(Fault::Entries(self.limits.entries));
        }
        Ok(())
    }

    /// Counts an entry, and gives its name if it is not the root folder.
    fn admit(&mut self, name: &[u8]) -> Outcome<Option<String>> {
        self.count()?;
        let shown = || String::from_utf8_lossy(name).into_owned();
        let name = cleaned(name).map_err(|fault| fault.at(&shown()))?;
        Ok(Some(name).filter(|name| !name.is_empty()))
    }

    fn place(&mut self, name: String, content: Content, meta: Meta) -> Outcome<()> {
        self.check_parents(&name)?;
        let is_folder = matches!(content, Content::Folder);
        if let Some(known) = self.entries.get(&name) {
            let both_folders = is_folder && matches!(known.content, Content::Folder);
            if known.layer == self.layer && !both_folders {
                return Err(Fault::Duplicate.at(&name));
            }
            if !is_folder && matches!(known.content, Content::Folder) {
                self.remove(&name, false)?;
                if self.inside(&name).next().is_some() {
                    return Err(Fault::Duplicate.at(&name));
                }
            }
        }
        let entry = Entry {
            content,
            mode: meta.mode & 0o7777,
            user: meta.user.filter(|user| user != "root" && !user.is_empty()),
            group: meta
                .group
                .filter(|group| group != "root" && !group.is_empty()),
            layer: self.layer,
        };
        self.entries.insert(name, entry);
        Ok(())
    }

    /// What an entry lies in is a folder, or nothing yet, and then becomes one.
    fn check_parents(&mut self, name: &str) -> Outcome<()> {
        for (end, _) in name.match_indices('/') {
            let parent = &name[..end];
            match self.entries.get(parent).map(|entry| &entry.content) {
                None => {
                    let entry = Entry {
                        content: Content::Folder,
                        mode: 0o755,
                        user: None,
                        group: None,
                        layer: self.layer,
                    };
                    self.count()?;
                    self.entries.insert(parent.to_owned(), entry);
                }
                Some(Content::Folder) => {}
                Some(Content::Link(_)) => return Err(Fault::Through(parent.to_owned()).at(name)),
                Some(_) => return Err(Fault::Inside(parent.to_owned()).at(name)),
            }
        }
        Ok(())
    }

    /// Writes the bytes of a file under the next number.
    fn store(&mut self, name: &str, size: u64, bytes: &mut dyn Read) -> Outcome<PathBuf> {
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.bytes {
            return Err(Fault::Bytes(self.limits.bytes).at(name));
        }
        let path = self.folder.join(self.files.to_string());
        self.files += 1;
        let mut file = File::create_new(&path).map_err(|error| Fault::Workspace(error).at(name))?;
        let listed = self.listed.get(name).copied();
        let mut hasher = Md5::new();
        let mut bytes = bytes.take(size);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = match bytes.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::of_stream(error).at(name)),
            };
            if listed.is_some() {
                hasher.update(&buffer[..count]);
            }
            io::Write::write_all(&mut file, &buffer[..count])
                .map_err(|error| Fault::Workspace(error).at(name))?;
        }
        if bytes.limit() > 0 {
            return Err(Fault::Truncated("its data").at(name));
        }
        if listed.is_some_and(|listed| listed != <[u8; 16]>::from(hasher.finalize())) {
            return Err(Fault::Checksum.at(name));
        }
        Ok(path)
    }

    /// The archive is whole: absolute links to what it holds become relative ones.
    pub(super) fn finish(mut self) -> Finished {
        let names: BTreeSet<String> = self.entries.keys().cloned().collect();
        let mut relative_links = Vec::new();
        for (name, entry) in &mut self.entries {
            let Content::Link(target) = &mut entry.content else {
                continue;
            };
            let inside = target.strip_prefix('/').map(|it| it.trim_end_matches('/'));
            if let Some(inside) = inside.filter(|inside| names.contains(*inside)) {
                *target = relative(name, inside);
                relative_links.push(name.clone());
            }
        }
        let before = self.entries.len();
        let is_folder = |entry: &Entry| matches!(entry.content, Content::Folder);
        self.entries.retain(|_, entry| !is_folder(entry));
        Finished {
            folders: before - self.entries.len(),
            entries: self.entries,
            relative_links,
        }
    }
}

/// The target by which a link at `name` reaches `inside`, both from the root.
pub(super) fn relative(name: &str, inside: &str) -> String {
    format!("{}{inside}", "../".repeat(name.matches('/').count()))
}

/// A name without what says nothing: `./` before it and `/` after it. Empty for the root.
fn cleaned(name: &[u8]) -> Result<String, Fault> {
    let text = std::str::from_utf8(name).map_err(|_| Fault::Name("is not UTF-8"))?;
    if text.len() > NAME_MAX {
        return Err(Fault::Name("is longer than 4096 bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::Name("holds a control character"));
    }
    if text.starts_with('/') {
        return Err(Fault::Name("is an absolute path"));
    }
    let parts = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    let parts: Vec<_> = parts.collect();
    if parts.contains(&"..") {
        return Err(Fault::Name("leads out of the tree by `..`"));
    }
    Ok(parts.join("/"))
}
