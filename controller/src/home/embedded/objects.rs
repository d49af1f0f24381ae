//! Resources inside a transaction.

use std::collections::BTreeMap;

use jiff::Timestamp;
use placet_crds::{Object, validate};
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, named_params, params};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Batch, HomeError};
use crate::home::{Applied, Changed, Owner, Stored};

const COLUMNS: &str = "kind, name, uid, generation, resource_version, created, owner, owner_name, \
     labels, annotations, spec, status";

const INSERT: &str = "INSERT INTO objects (kind, name, uid, generation, resource_version, created, \
     owner, owner_name, labels, annotations, spec, status) VALUES (:kind, :name, :uid, :generation, \
     :resource_version, :created, :owner, :owner_name, :labels, :annotations, :spec, :status) \
     ON CONFLICT (kind, name) DO UPDATE SET generation = excluded.generation, \
     resource_version = excluded.resource_version, owner = excluded.owner, \
     owner_name = excluded.owner_name, labels = excluded.labels, \
     annotations = excluded.annotations, spec = excluded.spec, status = excluded.status";

impl Batch<'_> {
    /// All resources of `kind`, by name.
    pub fn list(&self, kind: &str) -> Result<Vec<Stored>, HomeError> {
        let sql = format!("SELECT {COLUMNS} FROM objects WHERE kind = ?1 ORDER BY name");
        let list = || {
            let mut statement = self.transaction.prepare_cached(&sql)?;
            statement
                .query_map([kind], read)?
                .collect::<Result<Vec<_>, _>>()
        };
        list().map_err(HomeError::database("list resources"))
    }

    /// One resource.
    pub fn get(&self, kind: &str, name: &str) -> Result<Option<Stored>, HomeError> {
        let sql = format!("SELECT {COLUMNS} FROM objects WHERE kind = ?1 AND name = ?2");
        let get = || {
            let mut statement = self.transaction.prepare_cached(&sql)?;
            statement.query_row([kind, name], read).optional()
        };
        get().map_err(HomeError::database("read a resource"))
    }

    /// Makes a resource or changes its spec, labels and annotations to those of `object`; its
    /// status is left alone. What is there already as it is, is not written.
    ///
    /// A resource that a repository declares stays the repository's when a person applies to it;
    /// its next commit brings back what the repository says. A resource that nobody's repository
    /// declares becomes the repository's that does.
    ///
    /// # Errors
    ///
    /// [`HomeError::Conflict`] where `object` carries a `resourceVersion` that is not the stored
    /// one (which a repository's never does); [`HomeError::OwnedElsewhere`];
    /// [`HomeError::Refused`] where the change breaks a transition rule of the kind.
    pub fn apply(&mut self, object: &Object, owner: &Owner) -> Result<Applied, HomeError> {
        match self.get(object.kind(), object.name())? {
            None => self.create(object, owner),
            Some(old) => self.change(&old, object, owner),
        }
    }

    fn create(&mut self, object: &Object, owner: &Owner) -> Result<Applied, HomeError> {
        expect_version(object, owner, 0)?;
        let metadata = object.metadata();
        let new = Stored {
            kind: object.kind().to_owned(),
            name: object.name().to_owned(),
            uid: uid(),
            generation: 1,
            resource_version: self.next_version()?,
            created: self.now,
            labels: metadata.labels.clone().unwrap_or_default(),
            annotations: metadata.annotations.clone().unwrap_or_default(),
            spec: object.spec(),
            status: Value::Null,
            owner: owner.clone(),
        };
        self.write(&new)?;
        Ok(Applied::Created)
    }

    fn change(
        &mut self,
        old: &Stored,
        object: &Object,
        owner: &Owner,
    ) -> Result<Applied, HomeError> {
        expect_version(object, owner, old.resource_version)?;
        let metadata = object.metadata();
        let mut new = Stored {
            labels: metadata.labels.clone().unwrap_or_default(),
            annotations: metadata.annotations.clone().unwrap_or_default(),
            spec: object.spec(),
            owner: owner_after(old, owner)?,
            ..old.clone()
        };
        if new == *old {
            return Ok(Applied::Unchanged);
        }
        if new.spec != old.spec {
            require_rules(old, &new)?;
            new.generation += 1;
        }
        new.resource_version = self.next_version()?;
        self.write(&new)?;
        Ok(Applied::Configured)
    }

    /// Writes the status of a resource and returns the version that it has then; what is there
    /// already as it is, is not written. With `expected`, only if the resource has that version.
    pub fn set_status(
        &mut self,
        kind: &str,
        name: &str,
        expected: Option<u64>,
        status: &Value,
    ) -> Result<u64, HomeError> {
        let (found, known) = self.versioned(kind, name)?;
        if let Some(expected) = expected {
            require_version(kind, name, expected, found)?;
        }
        let status = status.to_string();
        if known == status {
            return Ok(found);
        }
        let version = self.next_version()?;
        let sql = "UPDATE objects SET status = ?3, resource_version = ?4 \
                   WHERE kind = ?1 AND name = ?2";
        let update = || {
            let mut statement = self.transaction.prepare_cached(sql)?;
            statement.execute(params![kind, name, status, signed(version)])
        };
        update().map_err(HomeError::database("write a status"))?;
        self.note(kind, name, version);
        Ok(version)
    }

    /// The version and the status of a resource, as they are stored: a whole fleet's are written
    /// again and again, and nothing else of it is needed for that.
    fn versioned(&self, kind: &str, name: &str) -> Result<(u64, String), HomeError> {
        let sql = "SELECT resource_version, status FROM objects WHERE kind = ?1 AND name = ?2";
        let get = || {
            let mut statement = self.transaction.prepare_cached(sql)?;
            let columns = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?));
            statement.query_row([kind, name], columns).optional()
        };
        let found = get().map_err(HomeError::database("read a status"))?;
        found.ok_or_else(|| HomeError::NotFound {
            kind: kind.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Deletes a resource; false where there is none. What a deleted `GitSource` declared stays,
    /// and is nobody's repository's from then on.
    pub fn delete(&mut self, kind: &str, name: &str) -> Result<bool, HomeError> {
        let delete = "DELETE FROM objects WHERE kind = ?1 AND name = ?2";
        let release = "UPDATE objects SET owner = 'controller', owner_name = '' \
                       WHERE owner = 'git' AND owner_name = ?1";
        let run = || {
            let deleted = self.transaction.execute(delete, [kind, name])? > 0;
            if deleted && kind == "GitSource" {
                self.transaction.execute(release, [name])?;
            }
            Ok(deleted)
        };
        let deleted = run().map_err(HomeError::database("delete a resource"))?;
        if deleted {
            let resource_version = self.next_version()?;
            self.changed.push(Changed {
                kind: kind.to_owned(),
                name: name.to_owned(),
                resource_version,
                deleted: true,
            });
        }
        Ok(deleted)
    }

    fn write(&mut self, stored: &Stored) -> Result<(), HomeError> {
        let (owner, owner_name) = stored.owner.columns();
        let write = || {
            let mut statement = self.transaction.prepare_cached(INSERT)?;
            statement.execute(named_params! {
                ":kind": stored.kind,
                ":name": stored.name,
                ":uid": stored.uid,
                ":generation": signed(stored.generation),
                ":resource_version": signed(stored.resource_version),
                ":created": stored.created.to_string(),
                ":owner": owner,
                ":owner_name": owner_name,
                ":labels": json!(stored.labels).to_string(),
                ":annotations": json!(stored.annotations).to_string(),
                ":spec": stored.spec.to_string(),
                ":status": stored.status.to_string(),
            })
        };
        write().map_err(HomeError::database("write a resource"))?;
        self.note(&stored.kind, &stored.name, stored.resource_version);
        Ok(())
    }

    /// What was written is told to whoever follows.
    fn note(&mut self, kind: &str, name: &str, resource_version: u64) {
        self.changed.push(Changed {
            kind: kind.to_owned(),
            name: name.to_owned(),
            resource_version,
            deleted: false,
        });
    }

    fn next_version(&self) -> Result<u64, HomeError> {
        let sql =
            "UPDATE meta SET value = value + 1 WHERE key = 'resource_version' RETURNING value";
        let next = || {
            let mut statement = self.transaction.prepare_cached(sql)?;
            statement.query_row(params![], |row| row.get(0))
        };
        next()
            .map(i64::unsigned_abs)
            .map_err(HomeError::database("raise the version"))
    }
}

/// A repository declares what is to be, whatever was there before.
fn expect_version(object: &Object, owner: &Owner, found: u64) -> Result<(), HomeError> {
    let expected = match (&object.metadata().resource_version, owner) {
        (Some(text), Owner::Person { .. } | Owner::Controller) => text.parse().unwrap_or(0),
        _ => return Ok(()),
    };
    require_version(object.kind(), object.name(), expected, found)
}

/// The rules of a kind, those about what may follow what included, bind everybody who applies.
fn require_rules(old: &Stored, new: &Stored) -> Result<(), HomeError> {
    let declared = |stored: &Stored| {
        let status = Value::Null;
        Stored {
            status,
            ..stored.clone()
        }
        .to_json()
    };
    validate(&new.kind, &declared(new), Some(&declared(old)))
        .map(drop)
        .map_err(|faults| HomeError::Refused { faults })
}

/// Who owns `old` after `by` applied to it.
fn owner_after(old: &Stored, by: &Owner) -> Result<Owner, HomeError> {
    match (&old.owner, by) {
        (Owner::Git { source }, Owner::Git { source: other }) if source != other => {
            Err(HomeError::OwnedElsewhere {
                kind: old.kind.clone(),
                name: old.name.clone(),
                owner: source.clone(),
            })
        }
        (Owner::Git { .. }, _) => Ok(old.owner.clone()),
        _ => Ok(by.clone()),
    }
}

fn require_version(kind: &str, name: &str, expected: u64, found: u64) -> Result<(), HomeError> {
    if expected == found {
        return Ok(());
    }
    Err(HomeError::Conflict {
        kind: kind.to_owned(),
        name: name.to_owned(),
        expected,
        found,
    })
}

fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let owner: String = row.get("owner")?;
    Ok(Stored {
        kind: row.get("kind")?,
        name: row.get("name")?,
        uid: row.get("uid")?,
        generation: row.get::<_, i64>("generation")?.unsigned_abs(),
        resource_version: row.get::<_, i64>("resource_version")?.unsigned_abs(),
        created: time(row, "created")?,
        labels: from_json::<BTreeMap<String, String>>(row, "labels")?,
        annotations: from_json::<BTreeMap<String, String>>(row, "annotations")?,
        spec: from_json(row, "spec")?,
        status: from_json(row, "status")?,
        owner: Owner::from_columns(&owner, row.get("owner_name")?),
    })
}

pub(super) fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    serde_json::from_str(&row.get::<_, String>(column)?)
        .map_err(|error| unreadable(row, column, error))
}

pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get::<_, String>(column)?
        .parse()
        .map_err(|error: jiff::Error| unreadable(row, column, error))
}

fn unreadable(
    row: &Row<'_>,
    column: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    let index = row.as_ref().column_index(column).unwrap_or_default();
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error))
}

/// `SQLite`'s integers are signed; no counter here comes near the end of them.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A random UUID (version 4).
fn uid() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let number = u128::from_be_bytes(bytes);
    let hex = format!("{number:032x}");
    let groups = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    groups.join("-")
}
