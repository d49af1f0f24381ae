//! What objects import and none of the libraries that they need themselves defines: the same in every
//! process, and mostly nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use placet_model::Symbol;

use super::object::Object;

/// With more libraries it costs less to look at the process as a whole.
const LIBRARIES_MOST: usize = 64;

/// Answers by the object and the libraries that are found for what it needs.
#[derive(Debug, Default)]
pub(super) struct OpenImports(RefCell<HashMap<Vec<Same>, Rc<[usize]>>>);

/// An object that is equal to itself alone.
#[derive(Debug)]
struct Same(Arc<Object>);

impl PartialEq for Same {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Same {}

impl Hash for Same {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl OpenImports {
    /// Places among the imports of `object` of those that neither it nor one of `libraries` defines.
    pub(super) fn of<'a>(
        &self,
        object: &'a Arc<Object>,
        libraries: impl Iterator<Item = &'a Arc<Object>>,
    ) -> Rc<[usize]> {
        let objects = [object].into_iter().chain(libraries);
        let objects: Vec<_> = objects.map(|it| Same(Arc::clone(it))).collect();
        if let Some(known) = self.0.borrow().get(&objects) {
            return Rc::clone(known);
        }
        let imports = object.symbols.imported().enumerate();
        let is_open =
            |import: &Symbol<'_>| objects.len() > LIBRARIES_MOST || !is_defined(import, &objects);
        let open = imports.filter(|(_, import)| is_open(import));
        let open: Rc<[usize]> = open.map(|(place, _)| place).collect();
        self.0.borrow_mut().insert(objects, Rc::clone(&open));
        open
    }
}

/// The first object is the one that imports it; nobody makes a copy of their own copy.
fn is_defined(import: &Symbol<'_>, objects: &[Same]) -> bool {
    let others = &objects[usize::from(import.is_copied)..];
    others.iter().any(|other| other.0.symbols.defines(import))
}
