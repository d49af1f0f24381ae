//! Resources, revisions and events.

use std::panic::{AssertUnwindSafe, catch_unwind};

use placet_controller::home::embedded::EVENTS_MAX;
use placet_controller::home::{EVENTS_AT_ONCE, Embedded as Home, HomeError, Write};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::broadcast::error::TryRecvError;

use crate::declared::{ann, git, package_set, source};
use crate::version_of;

fn home() -> (TempDir, Home) {
    let state = tempfile::tempdir().unwrap();
    let home = Home::open(state.path()).unwrap();
    (state, home)
}

#[test]
fn a_person_applies_against_the_version_that_was_read_and_a_repository_does_not() {
    let (_state, home) = home();
    home.apply(&package_set("apps", "1.0.0"), &ann()).unwrap();
    let mut stale = package_set("apps", "1.1.0");
    stale.metadata_mut().resource_version = Some("12345".to_owned());
    let error = home.apply(&stale, &ann()).unwrap_err();
    assert!(matches!(
        error,
        HomeError::Conflict {
            expected: 12345,
            ..
        }
    ));
    assert_eq!(version_of(&home, "apps"), "1.0.0");
    home.apply(&stale, &git("fleet")).unwrap();
    assert_eq!(version_of(&home, "apps"), "1.1.0");
}

#[test]
fn a_commit_that_fails_anywhere_leaves_everything_as_it_was() {
    let (_state, home) = home();
    for name in ["one", "two"] {
        home.apply(&source(name), &ann()).unwrap();
    }
    let set = |name| package_set(name, "1.0.0");
    home.apply(&set("a"), &git("one")).unwrap();
    let mut watch = home.watch();
    let before = home.list("PackageSet").unwrap();
    let put = |name| Write::Put {
        object: Box::new(set(name)),
        owner: git("two"),
    };
    let clash = home.commit(&[put("new"), put("a")]).unwrap_err();
    assert!(
        matches!(&clash, HomeError::OwnedElsewhere { owner, .. } if owner == "one"),
        "{clash}"
    );
    assert_eq!(home.list("PackageSet").unwrap(), before);
    let status = Write::Status {
        kind: "GitSource",
        name: "gone".to_owned(),
        status: json!({}),
    };
    let error = home.commit(&[put("new"), status]).unwrap_err();
    assert!(matches!(error, HomeError::NotFound { .. }));
    assert_eq!(home.list("PackageSet").unwrap(), before);
    assert_eq!(
        watch.try_recv(),
        Err(TryRecvError::Empty),
        "nothing is announced either"
    );
}

#[test]
fn the_next_commit_overwrites_what_a_person_applied_to_a_repositorys_resource() {
    let (_state, home) = home();
    home.apply(&source("one"), &ann()).unwrap();
    let declared = package_set("apps", "1.0.0");
    home.apply(&declared, &git("one")).unwrap();
    home.apply(&package_set("apps", "9.0.0"), &ann()).unwrap();
    assert_eq!(version_of(&home, "apps"), "9.0.0");
    let stored = home.get("PackageSet", "apps").unwrap().unwrap();
    assert_eq!(stored.owner, git("one"));
    home.apply(&declared, &git("one")).unwrap();
    assert_eq!(version_of(&home, "apps"), "1.0.0");
}

#[test]
fn what_a_deleted_source_declared_stays_and_another_may_take_it_over() {
    let (_state, home) = home();
    for name in ["one", "two"] {
        home.apply(&source(name), &ann()).unwrap();
    }
    let declared = package_set("apps", "1.0.0");
    home.apply(&declared, &git("one")).unwrap();
    assert!(home.delete("GitSource", "one").unwrap());
    assert!(!home.delete("GitSource", "one").unwrap());
    assert_eq!(version_of(&home, "apps"), "1.0.0");
    home.apply(&declared, &git("two")).unwrap();
    assert_eq!(
        home.get("PackageSet", "apps").unwrap().unwrap().owner,
        git("two")
    );
}

#[test]
fn a_panic_inside_a_transaction_undoes_it_and_harms_nothing_else() {
    let (_state, home) = home();
    let broken = catch_unwind(AssertUnwindSafe(|| {
        home.transaction(|batch| -> Result<(), HomeError> {
            batch.apply(&package_set("a", "1.0.0"), &ann())?;
            panic!("on purpose");
        })
    }));
    assert!(broken.is_err());
    assert!(home.list("PackageSet").unwrap().is_empty());
    home.apply(&package_set("a", "1.0.0"), &ann()).unwrap();
}

#[test]
fn the_history_of_events_is_bounded() {
    let (_state, home) = home();
    let many = EVENTS_MAX + 2_500;
    home.transaction(|batch| {
        for _ in 0..many {
            batch.append_event("tick", "", &json!(null))?;
        }
        Ok(())
    })
    .unwrap();
    let mut kept: Vec<u64> = Vec::new();
    loop {
        let last = kept.last().copied().unwrap_or_default();
        let next = home.events(last, "").unwrap();
        assert!(next.len() <= EVENTS_AT_ONCE as usize, "nobody waits long");
        if next.is_empty() {
            break;
        }
        kept.extend(next.iter().map(|event| event.sequence));
    }
    let count = kept.len() as u64;
    assert!((EVENTS_MAX..EVENTS_MAX + 1_000).contains(&count), "{count}");
    assert_eq!(kept.last(), Some(&many));
}
