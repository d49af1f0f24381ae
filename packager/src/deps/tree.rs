//! Which object stands at which path.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::object::Object;

/// A tree of files, as processes see it from its root.
pub trait Tree {
    /// The object at an absolute path, links followed.
    fn find(&self, path: &str) -> Option<Found>;
}

/// An object and where it stands.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its absolute path, free of links.
    pub path: String,
    /// The object.
    pub object: Arc<Object>,
}

/// A tree in memory: objects and symbolic links, by absolute path.
#[derive(Debug, Clone, Default)]
pub struct Files {
    objects: BTreeMap<String, Arc<Object>>,
    links: BTreeMap<String, String>,
}

impl Files {
    /// Adds an object. What stands at the path already stays: of several packages, the first wins.
    pub fn add(&mut self, path: &str, object: Arc<Object>) {
        if !self.links.contains_key(path) {
            self.objects.entry(path.to_owned()).or_insert(object);
        }
    }

    /// Adds a symbolic link, as [`Files::add`].
    pub fn add_link(&mut self, path: &str, target: &str) {
        if !self.objects.contains_key(path) {
            let target = target.to_owned();
            self.links.entry(path.to_owned()).or_insert(target);
        }
    }

    /// The object at exactly this path.
    pub fn object(&self, path: &str) -> Option<&Arc<Object>> {
        self.objects.get(path)
    }

    /// Where the symbolic link at exactly this path points.
    pub fn link(&self, path: &str) -> Option<&str> {
        self.links.get(path).map(String::as_str)
    }

    /// All symbolic links and their targets, by path.
    pub fn links(&self) -> impl Iterator<Item = (&str, &str)> {
        let links = self.links.iter();
        links.map(|(path, target)| (path.as_str(), target.as_str()))
    }

    /// All objects, by path.
    pub fn objects(&self) -> impl Iterator<Item = (&str, &Arc<Object>)> {
        let objects = self.objects.iter();
        objects.map(|(path, object)| (path.as_str(), object))
    }
}

impl Tree for Files {
    fn find(&self, path: &str) -> Option<Found> {
        let path = resolve(path, &|path| self.link(path).map(ToOwned::to_owned))?;
        let object = Arc::clone(self.object(&path)?);
        Some(Found { path, object })
    }
}

/// As many as the kernel follows.
const LINKS_MAX: usize = 40;

/// An absolute path without links, `.` and `..`, as the kernel would come to it; `link` says where
/// the link at a path points. `None` if links lead in a circle.
pub(super) fn resolve(path: &str, link: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let reversed = |path: &str| path.split('/').rev().map(ToOwned::to_owned).collect();
    let mut rest: Vec<String> = reversed(path);
    let (mut resolved, mut links) = (String::with_capacity(path.len()), 0);
    while let Some(part) = rest.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                resolved.truncate(resolved.rfind('/').unwrap_or(0));
                continue;
            }
            _ => {}
        }
        let parent = resolved.len();
        resolved.push('/');
        resolved.push_str(&part);
        if let Some(target) = link(&resolved) {
            links += 1;
            if links > LINKS_MAX {
                return None;
            }
            resolved.truncate(if target.starts_with('/') { 0 } else { parent });
            rest.extend(reversed(&target));
        }
    }
    Some(resolved)
}
