//! Who uses whom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Who uses whom, directly and through others.
#[derive(Debug, Clone)]
pub struct Graph {
    uses: BTreeMap<String, BTreeSet<String>>,
    users: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    pub(super) fn new(uses: BTreeMap<String, BTreeSet<String>>) -> Self {
        let mut reversed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (user, targets) in &uses {
            for target in targets {
                reversed
                    .entry(target.clone())
                    .or_default()
                    .insert(user.clone());
            }
        }
        Self {
            uses,
            users: reversed,
        }
    }

    /// Every user with everything that it uses itself.
    pub fn edges(&self) -> impl Iterator<Item = (&str, &str)> {
        let edges = self.uses.iter();
        edges.flat_map(|(user, used)| used.iter().map(|it| (user.as_str(), it.as_str())))
    }

    /// Names under which something is needed that is not there.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let used = self.users.keys();
        used.filter(|name| !name.starts_with('/'))
            .map(String::as_str)
    }

    /// What the object at `path` uses itself.
    pub fn uses(&self, path: &str) -> impl Iterator<Item = &str> {
        self.uses
            .get(path)
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// What it comes to through others, and does not use itself.
    pub fn uses_through_others(&self, path: &str) -> BTreeSet<&str> {
        through_others(path, &self.uses)
    }

    /// Who uses it itself.
    pub fn users(&self, path: &str) -> impl Iterator<Item = &str> {
        self.users
            .get(path)
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// Who comes to it through others, and does not use it itself.
    pub fn users_through_others(&self, path: &str) -> BTreeSet<&str> {
        through_others(path, &self.users)
    }
}

fn through_others<'a>(
    path: &str,
    edges: &'a BTreeMap<String, BTreeSet<String>>,
) -> BTreeSet<&'a str> {
    let direct = edges.get(path).into_iter().flatten();
    let direct: BTreeSet<&str> = direct.map(String::as_str).collect();
    let mut seen = direct.clone();
    let mut queue: VecDeque<_> = direct.iter().copied().collect();
    while let Some(next) = queue.pop_front() {
        for target in edges.get(next).into_iter().flatten() {
            if seen.insert(target) {
                queue.push_back(target);
            }
        }
    }
    seen.retain(|it| !direct.contains(it) && *it != path);
    seen
}
