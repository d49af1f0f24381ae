//! Opening the database: folder, lock, settings, layout, epoch.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError, set_permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::HomeError;

/// `PLCT`: tells the file apart from other `SQLite` databases.
const APPLICATION_ID: i64 = 0x504c_4354;

/// One script for each layout; the number of scripts run is kept in `user_version`.
static LAYOUTS: [&str; 2] = [include_str!("schema.sql"), include_str!("every_boot.sql")];

/// Only people who look with `sqlite3` ever hold the database; they are done sooner than this.
const BUSY: Duration = Duration::from_secs(10);

/// Tries for the lock after the first, and the pause before each.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) epoch: u64,
    pub(super) lock: File,
}

pub(super) fn open(folder: &Path) -> Result<Opened, HomeError> {
    make_private(folder)?;
    let lock = lock(folder)?;
    let path = folder.join("placet.db");
    private_file(&path)?;
    let mut connection = connect(&path)?;
    lay_out(&mut connection, &path)?;
    let epoch = raise_epoch(&connection)?;
    Ok(Opened {
        connection,
        epoch,
        lock,
    })
}

pub(super) fn make_private(folder: &Path) -> Result<(), HomeError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(HomeError::files("make the folder", folder))?;
    set_permissions(folder, Permissions::from_mode(0o700))
        .map_err(HomeError::files("make private", folder))
}

/// The lock is the kernel's and goes with the process, however it ends; a child that has just been
/// forked still has it for an instant.
pub(super) fn lock(folder: &Path) -> Result<File, HomeError> {
    let file = private_file(&folder.join("lock"))?;
    let mut tries = 0..LOCK_TRIES;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if tries.next().is_some() => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(HomeError::InUse {
                    path: folder.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(HomeError::files("lock", folder)(source));
            }
        }
    }
}

/// The database's helper files take their mode from it.
pub(super) fn private_file(path: &Path) -> Result<File, HomeError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(HomeError::files("open", path))?;
    file.set_permissions(Permissions::from_mode(0o600))
        .map_err(HomeError::files("make private", path))?;
    Ok(file)
}

fn connect(path: &Path) -> Result<Connection, HomeError> {
    let set = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(connection)
    };
    set().map_err(HomeError::database("open the tables"))
}

/// The scripts that were not run on a database yet.
pub(super) fn check_layout(
    connection: &Connection,
    path: &Path,
) -> Result<&'static [&'static str], HomeError> {
    let number = |name| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map_err(HomeError::database("read the layout of the tables"))
    };
    let application = number("application_id")?;
    let found = number("user_version")?;
    let schema = number("schema_version")?;
    if application != APPLICATION_ID && schema != 0 {
        let path = path.to_owned();
        return Err(HomeError::Foreign { path });
    }
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    LAYOUTS.get(done..).ok_or_else(|| HomeError::Newer {
        path: path.to_owned(),
        found,
        known: known(),
    })
}

/// The newest layout that is known here.
fn known() -> i64 {
    i64::try_from(LAYOUTS.len()).unwrap_or(i64::MAX)
}

fn lay_out(connection: &mut Connection, path: &Path) -> Result<(), HomeError> {
    let missing = check_layout(connection, path)?;
    let mut run = || {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for script in missing {
            transaction.execute_batch(script)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", known())?;
        transaction.commit()
    };
    if missing.is_empty() {
        Ok(())
    } else {
        run().map_err(HomeError::database("lay out the tables"))
    }
}

fn raise_epoch(connection: &Connection) -> Result<u64, HomeError> {
    connection
        .query_one(
            "UPDATE meta SET value = value + 1 WHERE key = 'epoch' RETURNING value",
            [],
            |row| row.get::<_, i64>(0),
        )
        .map(i64::unsigned_abs)
        .map_err(HomeError::database("raise the epoch"))
}
