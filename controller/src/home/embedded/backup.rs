//! One file that holds all that a controller on the embedded home needs to go on elsewhere (H1): its
//! database, the authority that nodes trust, and the secrets that declarations name.
//!
//! It is the database itself with one more table, so that it can be looked at with `sqlite3`. It
//! holds keys: whoever has it can act as the controller.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::open::{check_layout, lock, make_private, private_file};
use crate::home::HomeError;

/// What is kept beside the database, in the state folder.
const FOLDERS: [&str; 2] = ["authority", "secrets"];

/// As much as one secret holds.
const FILE_MOST: u64 = 1 << 20;

/// What a backup is made into. Repositories have to be looked at before anything is planned, since
/// nodes may run a later revision by now.
const RESTORED: &str = "
DROP TABLE files;
DELETE FROM tokens WHERE used IS NULL;
UPDATE objects SET status = json_remove(status, '$.revision', '$.plannedRevision')
WHERE kind = 'GitSource';
";

/// Writes a backup of the state folder `state` to the file `to`, while the controller goes on: it is
/// the state of one moment. What was there in `to` is replaced.
///
/// # Errors
///
/// A file cannot be read or written; there is not enough room.
pub fn back_up(state: &Path, to: &Path) -> Result<(), HomeError> {
    let failed = || HomeError::database("copy the tables");
    // What a backup that was broken off left behind would be taken for a part of this one.
    let mut journal = to.as_os_str().to_owned();
    journal.push("-journal");
    remove(Path::new(&journal))?;
    remove(to)?;
    let file = private_file(to)?;
    let database = state.join("home/placet.db");
    let home = Connection::open(&database).map_err(failed())?;
    home.execute("VACUUM INTO ?1", [to.to_string_lossy()])
        .map_err(failed())?;
    let backup = Connection::open(to).map_err(failed())?;
    let lay_out = "CREATE TABLE files (path TEXT PRIMARY KEY, contents BLOB NOT NULL) STRICT;";
    backup.execute_batch(lay_out).map_err(failed())?;
    for path in kept(state)? {
        let contents = fs::read(state.join(&path)).map_err(HomeError::files("read", &path))?;
        backup
            .execute(
                "INSERT INTO files (path, contents) VALUES (?1, ?2)",
                params![path.to_string_lossy(), contents],
            )
            .map_err(failed())?;
    }
    drop(backup);
    file.sync_all().map_err(HomeError::files("store", to))
}

/// The files to be kept beside the database, relative to the state folder.
fn kept(state: &Path) -> Result<Vec<PathBuf>, HomeError> {
    let mut folders: Vec<PathBuf> = FOLDERS.map(PathBuf::from).into();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let path = state.join(&folder);
        if !path.is_dir() {
            continue;
        }
        let failed = || HomeError::files("list", &path);
        for entry in fs::read_dir(&path).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let (name, kind) = (entry.file_name(), entry.file_type().map_err(failed())?);
            if kind.is_dir() {
                folders.push(folder.join(name));
            } else if kind.is_file() && entry.metadata().map_err(failed())?.len() <= FILE_MOST {
                files.push(folder.join(name));
            }
        }
    }
    Ok(files)
}

/// Lays out the state folder `state` by the backup `from`, for a controller to be started on it.
///
/// # Guarantees
///
/// Nodes obey the restored controller, whatever they obeyed since the backup: its epoch is later.
/// Join tokens that were not used by the time of the backup are void, since they may have been used
/// afterwards. Where this fails, `state` holds no database, and it can be tried again.
///
/// # Errors
///
/// `state` holds a fleet already; `from` is not a backup, is damaged, or is of a newer version.
pub fn restore(from: &Path, state: &Path) -> Result<(), HomeError> {
    let folder = state.join("home");
    let (database, draft) = (folder.join("placet.db"), folder.join("restored.db"));
    make_private(&folder)?;
    let _lock = lock(&folder)?;
    if database.exists() {
        return Err(HomeError::Occupied {
            path: state.to_owned(),
        });
    }
    fs::copy(from, &draft).map_err(HomeError::files("read", from))?;
    let file = private_file(&draft)?;
    let unpacked = unpack(&draft, from, state);
    if unpacked.is_err() {
        // What is left is not taken for a database.
        let _ = fs::remove_file(&draft);
    }
    unpacked?;
    let failed = || HomeError::files("store", &database);
    file.sync_all().map_err(failed())?;
    fs::rename(&draft, &database).map_err(failed())?;
    File::open(&folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed())
}

/// Turns the copy `draft` of a backup into a database, and lays out its files.
fn unpack(draft: &Path, from: &Path, state: &Path) -> Result<(), HomeError> {
    let failed = || HomeError::database("read the backup");
    let not_a_backup = |why: &str| HomeError::NotABackup {
        path: from.to_owned(),
        why: why.to_owned(),
    };
    let mut backup = Connection::open(draft).map_err(failed())?;
    let sound: Result<String, _> = backup
        .pragma_update(None, "trusted_schema", false)
        .and_then(|()| backup.pragma_query_value(None, "integrity_check", |row| row.get(0)));
    match sound.as_deref() {
        Ok("ok") => {}
        Ok(other) => return Err(not_a_backup(other)),
        Err(_) => return Err(not_a_backup("it is no SQLite database")),
    }
    check_layout(&backup, from)?;
    let mut files = backup
        .prepare("SELECT path, contents FROM files")
        .map_err(|_| not_a_backup("it has no table `files`"))?;
    let rows = files.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    let rows: Result<Vec<(String, Vec<u8>)>, _> = rows.and_then(Iterator::collect);
    for (path, contents) in rows.map_err(failed())? {
        if !is_kept(Path::new(&path)) {
            return Err(not_a_backup("it has files that do not belong there"));
        }
        lay_out(&state.join(path), &contents)?;
    }
    drop(files);
    let now = Timestamp::now().as_second();
    let mut change = || {
        let transaction = backup.transaction()?;
        transaction.execute_batch(RESTORED)?;
        transaction.execute(
            "UPDATE meta SET value = max(value, ?1) WHERE key = 'epoch'",
            [now],
        )?;
        transaction.commit()
    };
    change().map_err(failed())
}

/// True for a path inside one of the folders that are kept.
fn is_kept(path: &Path) -> bool {
    let mut components = path.components();
    let first = components.next();
    FOLDERS
        .iter()
        .any(|folder| first == Some(Component::Normal(folder.as_ref())))
        && components.all(|it| matches!(it, Component::Normal(_)))
}

fn lay_out(path: &Path, contents: &[u8]) -> Result<(), HomeError> {
    if let Some(folder) = path.parent() {
        make_private(folder)?;
    }
    let failed = || HomeError::files("write", path);
    // Not through a link that somebody left there.
    remove(path)?;
    let mut file = private_file(path)?;
    file.write_all(contents)
        .and_then(|()| file.sync_all())
        .map_err(failed())
}

fn remove(path: &Path) -> Result<(), HomeError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(HomeError::files("remove", path)(error))
        }
        _ => Ok(()),
    }
}
