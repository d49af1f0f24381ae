//! A whole revision of a repository, applied at once.

use placet_crds::{InventoryEntry, Object};
use serde_json::Value;

use super::{Applied, Batch, HomeError, Owner};

/// What applying a revision did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppliedRevision {
    /// Resources that are new.
    pub created: Vec<InventoryEntry>,
    /// Resources that have changed.
    pub configured: Vec<InventoryEntry>,
    /// Resources that the repository no longer holds and that were deleted.
    pub pruned: Vec<InventoryEntry>,
    /// How many resources were there as they are.
    pub unchanged: usize,
}

impl Batch<'_> {
    /// Applies `objects`, all that the revision of `GitSource` `source` declares; with `prune`,
    /// deletes what that source declared before and no longer does, and nothing else; and writes
    /// `status` of the source.
    ///
    /// A source never prunes itself, even where its own repository declared it once.
    pub fn apply_revision(
        &mut self,
        source: &str,
        objects: &[Object],
        prune: bool,
        status: &Value,
    ) -> Result<AppliedRevision, HomeError> {
        let owner = Owner::Git {
            source: source.to_owned(),
        };
        let mut applied = AppliedRevision::default();
        for object in objects {
            match self.apply(object, &owner)? {
                Applied::Created => applied.created.push(entry(object)),
                Applied::Configured => applied.configured.push(entry(object)),
                Applied::Unchanged => applied.unchanged += 1,
            }
        }
        if prune {
            applied.pruned = self.prune(source, objects)?;
        }
        self.set_status("GitSource", source, None, status)?;
        Ok(applied)
    }

    fn prune(
        &mut self,
        source: &str,
        objects: &[Object],
    ) -> Result<Vec<InventoryEntry>, HomeError> {
        let mut keep: Vec<InventoryEntry> = objects.iter().map(entry).collect();
        keep.push(InventoryEntry {
            kind: "GitSource".to_owned(),
            name: source.to_owned(),
        });
        keep.sort();
        let mut gone = self.inventory(source)?;
        gone.retain(|entry| keep.binary_search(entry).is_err());
        for entry in &gone {
            self.delete(&entry.kind, &entry.name)?;
        }
        Ok(gone)
    }

    /// The resources that `GitSource` `source` declares, by kind and name.
    pub fn inventory(&self, source: &str) -> Result<Vec<InventoryEntry>, HomeError> {
        let sql = "SELECT kind, name FROM objects WHERE owner = 'git' AND owner_name = ?1 \
                   ORDER BY kind, name";
        let list = || {
            let mut statement = self.transaction.prepare(sql)?;
            let entries = statement.query_map([source], |row| {
                Ok(InventoryEntry {
                    kind: row.get(0)?,
                    name: row.get(1)?,
                })
            })?;
            entries.collect::<Result<Vec<_>, _>>()
        };
        list().map_err(HomeError::database("list what a repository declares"))
    }
}

fn entry(object: &Object) -> InventoryEntry {
    InventoryEntry {
        kind: object.kind().to_owned(),
        name: object.name().to_owned(),
    }
}
