//! Two maps looked through side by side, which costs one step an entry where a look-up costs a search.

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;

use placet_model::NodeName;

/// Looks through a map beside another one: names are asked for in their order.
pub(crate) struct Beside<'a, T>(Peekable<btree_map::Iter<'a, NodeName, T>>);

impl<'a, T> Beside<'a, T> {
    pub(crate) fn of(map: &'a BTreeMap<NodeName, T>) -> Self {
        Self(map.iter().peekable())
    }

    pub(crate) fn at(&mut self, name: &NodeName) -> Option<&'a T> {
        loop {
            let (other, value) = self.0.peek()?;
            match (*other).cmp(name) {
                Ordering::Less => drop(self.0.next()),
                Ordering::Equal => return Some(value),
                Ordering::Greater => return None,
            }
        }
    }
}
