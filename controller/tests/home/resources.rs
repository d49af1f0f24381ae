//! Resources, revisions and events.

use std::panic::{AssertUnwindSafe, catch_unwind};

use placet_controller::home::embedded::EVENTS_MAX;
use placet_controller::home::{Applied, Embedded as Home, HomeError, Owner, Write};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::broadcast::error::TryRecvError;

use crate::{ann, git, object, package_set, source, version_of};

fn home() -> (TempDir, Home) {
    let state = tempfile::tempdir().unwrap();
    let home = Home::open(state.path()).unwrap();
    (state, home)
}

#[test]
fn a_resource_comes_back_as_it_was_after_reopening() {
    let (state, home) = home();
    let class = object(
        "kind: NodeClass\nmetadata: {name: core, labels: {tier: a}, annotations: {note: x}}\nspec: {selector: {types: [card]}}\n",
    );
    assert_eq!(home.apply(&class, &git("fleet")).unwrap(), Applied::Created);
    home.set_status("NodeClass", "core", None, &json!({"nodes": {"total": 3}}))
        .unwrap();
    let before = home.get("NodeClass", "core").unwrap().unwrap();
    drop(home);
    let home = Home::open(state.path()).unwrap();
    let after = home.get("NodeClass", "core").unwrap().unwrap();
    assert_eq!(after, before);
    assert_eq!(after.owner, git("fleet"));
    assert_eq!(after.object().unwrap().spec(), class.spec());
    let json = after.to_json();
    assert_eq!(json["metadata"]["labels"]["tier"], "a");
    assert_eq!(json["metadata"]["annotations"]["note"], "x");
    assert_eq!(json["status"]["nodes"]["total"], 3);
    placet_crds::validate("NodeClass", &json, None).unwrap();
}

#[test]
fn generation_changes_with_the_spec_alone() {
    let (_state, home) = home();
    let get = || home.get("PackageSet", "apps").unwrap().unwrap();
    home.apply(&package_set("apps", "1.0.0"), &ann()).unwrap();
    let first = get();
    home.set_status("PackageSet", "apps", None, &json!({"summary": "x"}))
        .unwrap();
    let second = get();
    let mut labelled = package_set("apps", "1.0.0");
    labelled.metadata_mut().labels = Some([("a".to_owned(), "b".to_owned())].into());
    assert_eq!(home.apply(&labelled, &ann()).unwrap(), Applied::Configured);
    let third = get();
    home.apply(&package_set("apps", "1.1.0"), &ann()).unwrap();
    let fourth = get();
    let generations = [&first, &second, &third, &fourth].map(|it| it.generation);
    assert_eq!(generations, [1, 1, 1, 2]);
    let versions = [&first, &second, &third, &fourth].map(|it| it.resource_version);
    assert!(
        versions.is_sorted_by(|one, other| one < other),
        "{versions:?}"
    );
    assert_eq!(
        fourth.status,
        json!({"summary": "x"}),
        "applying leaves the status alone"
    );
    assert_eq!(fourth.uid, first.uid);
}

#[test]
fn what_is_there_as_it_is_is_not_written() {
    let (_state, home) = home();
    let mut watch = home.watch();
    home.apply(&package_set("apps", "1.0.0"), &ann()).unwrap();
    let version = home
        .set_status("PackageSet", "apps", None, &json!({"a": 1}))
        .unwrap();
    watch.try_recv().unwrap();
    watch.try_recv().unwrap();
    let again = home.apply(&package_set("apps", "1.0.0"), &ann()).unwrap();
    assert_eq!(again, Applied::Unchanged);
    let same = home
        .set_status("PackageSet", "apps", None, &json!({"a": 1}))
        .unwrap();
    assert_eq!(same, version);
    assert_eq!(watch.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn a_status_is_written_against_the_version_that_was_read() {
    let (_state, home) = home();
    home.apply(&package_set("apps", "1.0.0"), &ann()).unwrap();
    let read = home
        .get("PackageSet", "apps")
        .unwrap()
        .unwrap()
        .resource_version;
    let written = home
        .set_status("PackageSet", "apps", Some(read), &json!(1))
        .unwrap();
    let error = home
        .set_status("PackageSet", "apps", Some(read), &json!(2))
        .unwrap_err();
    assert!(matches!(error, HomeError::Conflict { found, .. } if found == written));
    assert_eq!(
        home.get("PackageSet", "apps").unwrap().unwrap().status,
        json!(1)
    );
    let error = home
        .set_status("PackageSet", "gone", None, &json!(1))
        .unwrap_err();
    assert_eq!(error.to_string(), "there is no PackageSet `gone`");
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

fn rollout(decision: &str) -> placet_crds::Object {
    let digest = "ab".repeat(32);
    let commit = "cd".repeat(20);
    object(&format!(
        "kind: Rollout\nmetadata: {{name: r1}}\nspec:\n  planDigest: sha256:{digest}\n  to: main@sha1:{commit}\n{decision}"
    ))
}

#[test]
fn of_two_decisions_of_one_hold_the_second_is_refused() {
    let (_state, home) = home();
    let decide = |action| {
        rollout(&format!(
            "  decision: {{hold: 1, action: {action}, reason: because}}\n"
        ))
    };
    home.apply(&rollout(""), &Owner::Controller).unwrap();
    home.apply(&decide("skip"), &ann()).unwrap();
    let error = home.apply(&decide("abort"), &ann()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("this hold has been decided already"),
        "{error}"
    );
    let stored = home.get("Rollout", "r1").unwrap().unwrap();
    assert_eq!(stored.spec["decision"]["action"], "skip");
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
fn watchers_hear_of_every_change_in_order() {
    let (_state, home) = home();
    let mut watch = home.watch();
    home.apply(&package_set("a", "1.0.0"), &ann()).unwrap();
    home.set_status("PackageSet", "a", None, &json!(1)).unwrap();
    home.delete("PackageSet", "a").unwrap();
    let heard: Vec<_> = (0..3).map(|_| watch.try_recv().unwrap()).collect();
    assert!(heard.is_sorted_by_key(|it| it.resource_version));
    assert_eq!(
        heard.iter().map(|it| it.deleted).collect::<Vec<_>>(),
        [false, false, true]
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
fn events_are_numbered_and_found_by_rollout() {
    let (state, home) = home();
    let mut watch = home.watch_events();
    for (event, rollout) in [
        ("commit", ""),
        ("plan", "r1"),
        ("plan", "r2"),
        ("held", "r1"),
    ] {
        home.append_event(event, rollout, &json!({"n": event}))
            .unwrap();
    }
    let of = |rollout| home.events(0, rollout).unwrap();
    let names = |events: Vec<placet_controller::home::StoredEvent>| -> Vec<String> {
        events.into_iter().map(|it| it.event).collect()
    };
    assert_eq!(names(of("")), ["commit", "plan", "plan", "held"]);
    assert_eq!(names(of("r1")), ["plan", "held"]);
    let second = of("r1")[0].clone();
    assert_eq!(names(home.events(second.sequence, "r1").unwrap()), ["held"]);
    watch.try_recv().unwrap();
    assert_eq!(watch.try_recv().unwrap(), second);
    drop(home);
    let home = Home::open(state.path()).unwrap();
    assert_eq!(
        home.append_event("done", "", &json!({})).unwrap().sequence,
        5
    );
    assert_eq!(home.events(0, "").unwrap().len(), 5);
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
    let kept = home.events(0, "").unwrap();
    let count = kept.len() as u64;
    assert!((EVENTS_MAX..EVENTS_MAX + 1_000).contains(&count), "{count}");
    assert_eq!(kept.last().unwrap().sequence, many);
}
