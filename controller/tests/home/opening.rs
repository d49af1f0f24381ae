//! Opening: modes, lock, epoch, layouts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use placet_controller::home::{Embedded as Home, HomeError};
use rusqlite::{Connection, OpenFlags};

use crate::declared::{ann, package_set};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn nobody_else_can_read_the_database() {
    let state = tempfile::tempdir().unwrap();
    let home = Home::open(state.path()).unwrap();
    home.apply(&package_set("apps", "1.0.0"), &ann()).unwrap();
    let folder = state.path().join("home");
    assert_eq!(mode(&folder), 0o700);
    let names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    assert!(
        names.len() >= 4,
        "database, log, index of the log, lock: {names:?}"
    );
    for path in names {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_second_controller_on_the_same_state_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let first = Home::open(state.path()).unwrap();
    let error = Home::open(state.path()).unwrap_err();
    assert!(matches!(error, HomeError::InUse { .. }));
    assert!(error.to_string().contains("another controller uses"));
    drop(first);
    Home::open(state.path()).unwrap();
}

#[test]
fn the_epoch_rises_at_every_opening() {
    let state = tempfile::tempdir().unwrap();
    for epoch in 1..4 {
        assert_eq!(Home::open(state.path()).unwrap().epoch(), epoch);
    }
}

#[test]
fn people_can_read_the_database_while_the_controller_runs() {
    let state = tempfile::tempdir().unwrap();
    let home = Home::open(state.path()).unwrap();
    home.apply(&package_set("apps", "1.0.0"), &ann()).unwrap();
    let path = state.path().join("home/placet.db");
    let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let version = "SELECT spec ->> '$.packages[0].version' FROM objects WHERE name = 'apps'";
    let read = |sql| {
        reader
            .query_one(sql, [], |row| row.get::<_, String>(0))
            .unwrap()
    };
    assert_eq!(read(version), "1.0.0");
    assert_eq!(read("PRAGMA journal_mode"), "wal");
    home.apply(&package_set("apps", "1.1.0"), &ann()).unwrap();
    assert_eq!(read(version), "1.1.0");
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let state = tempfile::tempdir().unwrap();
    drop(Home::open(state.path()).unwrap());
    let path = state.path().join("home/placet.db");
    let raw = Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    let error = Home::open(state.path()).unwrap_err();
    assert!(
        matches!(error, HomeError::Newer { found: 99, .. }),
        "{error}"
    );
    let raw = Connection::open(&path).unwrap();
    let epoch = "SELECT value FROM meta WHERE key = 'epoch'";
    assert_eq!(raw.query_one(epoch, [], |row| row.get::<_, i64>(0)), Ok(1));
}

#[test]
fn what_is_not_placets_database_is_left_alone() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("home/placet.db");
    fs::create_dir(path.parent().unwrap()).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE mine (x)").unwrap();
    drop(other);
    let error = Home::open(state.path()).unwrap_err();
    assert!(matches!(error, HomeError::Foreign { .. }), "{error}");

    fs::write(&path, vec![b'x'; 8_192]).unwrap();
    let error = Home::open(state.path()).unwrap_err();
    assert!(matches!(error, HomeError::Database { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), vec![b'x'; 8_192]);
}
