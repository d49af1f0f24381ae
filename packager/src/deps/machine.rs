//! Files laid over the root of a machine, of which only what is looked for is read.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use placet_package::ElfHeaders;

use super::object::Object;
use super::tree::{Files, Found, Tree, resolve};

/// The tree of a machine, with files over it that take the place of its own.
#[derive(Debug)]
pub struct Machine {
    files: Files,
    root: PathBuf,
    /// What was read of the machine's own files; `None` where there is no object.
    own: RefCell<HashMap<String, Option<Arc<Object>>>>,
    links: RefCell<HashMap<String, Option<String>>>,
}

impl Machine {
    /// The tree below the folder `root`, in which links are taken to start from `root`.
    pub fn new(root: &Path) -> Self {
        Self {
            files: Files::default(),
            root: root.to_owned(),
            own: RefCell::default(),
            links: RefCell::default(),
        }
    }

    /// Lays `files` over the machine. A folder that is a link of the machine is followed.
    #[must_use]
    pub fn with(mut self, files: &Files) -> Self {
        let mut laid = Files::default();
        for (path, object) in files.objects() {
            laid.add(&self.installed(path), Arc::clone(object));
        }
        for (path, target) in files.links() {
            laid.add_link(&self.installed(path), target);
        }
        self.files = laid;
        self
    }

    /// What is laid over the machine.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Where a file that is installed at `path` comes to stand.
    fn installed(&self, path: &str) -> String {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = resolve(folder, &|path| self.own_link(path));
        format!("{}/{name}", folder.unwrap_or_default())
    }

    fn link(&self, path: &str) -> Option<String> {
        let laid = self.files.link(path).map(ToOwned::to_owned);
        laid.or_else(|| {
            self.own_link(path)
                .filter(|_| self.files.object(path).is_none())
        })
    }

    fn own_link(&self, path: &str) -> Option<String> {
        if let Some(known) = self.links.borrow().get(path) {
            return known.clone();
        }
        let target = std::fs::read_link(self.below_root(path)).ok();
        let target = target.and_then(|it| it.into_os_string().into_string().ok());
        let mut links = self.links.borrow_mut();
        links.insert(path.to_owned(), target.clone());
        target
    }

    fn own_object(&self, path: &str) -> Option<Arc<Object>> {
        if let Some(known) = self.own.borrow().get(path) {
            return known.clone();
        }
        // What the loader cannot read or make sense of is not there for it either.
        let headers = ElfHeaders::open(&self.below_root(path)).ok().flatten();
        let object = headers.and_then(|headers| {
            let elf = headers.parse().ok()?;
            Some(Arc::new(Object::of_elf(&elf)))
        });
        let mut own = self.own.borrow_mut();
        own.insert(path.to_owned(), object.clone());
        object
    }

    fn below_root(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

impl Tree for Machine {
    fn find(&self, path: &str) -> Option<Found> {
        let path = resolve(path, &|path| self.link(path))?;
        let laid = self.files.object(&path).map(Arc::clone);
        let object = laid.or_else(|| self.own_object(&path))?;
        Some(Found { path, object })
    }
}
