//! Resources: spec and status, versions, owners, conflicts, watching.

use std::time::Duration;

use placet_controller::home::{Applied, Changed, Home, HomeError, Owner, Write};
use placet_crds::Object;
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use crate::declared::{ann, git, object, package_set, source};
use crate::place::on_both;
use crate::{status, stored, version_of};

#[test]
fn a_resource_comes_back_as_it_was_after_reopening() {
    on_both(|place| {
        let home = place.open();
        let class = object(
            "kind: NodeClass\nmetadata: {name: core, labels: {tier: a}, annotations: {note: x}}\nspec: {selector: {types: [card]}}\n",
        );
        home.apply(&source("fleet"), &ann()).unwrap();
        assert_eq!(home.apply(&class, &git("fleet")).unwrap(), Applied::Created);
        let known = json!({ "conditions": [], "nodes": { "total": 3 } });
        home.set_status("NodeClass", "core", None, &known).unwrap();
        let before = stored(&home, "NodeClass", "core");
        drop(home);
        let home = place.open();
        let after = stored(&home, "NodeClass", "core");
        assert_eq!(after, before);
        assert_eq!(after.owner, git("fleet"));
        assert_eq!(after.object().unwrap().spec(), class.spec());
        assert_eq!(after.labels["tier"], "a");
        assert_eq!(after.annotations["note"], "x");
        assert_eq!(after.status["nodes"]["total"], 3);
        assert_eq!(home.list("NodeClass").unwrap(), [after]);
    });
}

#[test]
fn generation_changes_with_the_spec_alone() {
    on_both(|place| {
        let home = place.open();
        let get = || stored(&home, "PackageSet", "apps");
        home.apply(&package_set("apps", "1.0.0"), &ann()).unwrap();
        let first = get();
        home.set_status("PackageSet", "apps", None, &status("x"))
            .unwrap();
        let second = get();
        let mut labelled = package_set("apps", "1.0.0");
        labelled.metadata_mut().labels = Some([("a".to_owned(), "b".to_owned())].into());
        assert_eq!(home.apply(&labelled, &ann()).unwrap(), Applied::Configured);
        let third = get();
        home.apply(&package_set("apps", "1.1.0"), &ann()).unwrap();
        let fourth = get();
        let all = [&first, &second, &third, &fourth];
        assert_eq!(all.map(|it| it.generation), [1, 1, 1, 2]);
        let versions = all.map(|it| it.resource_version);
        assert!(
            versions.is_sorted_by(|one, other| one < other),
            "{versions:?}"
        );
        assert_eq!(
            fourth.status,
            status("x"),
            "applying leaves the status alone"
        );
        assert_eq!(fourth.uid, first.uid);
    });
}

#[test]
fn what_is_there_as_it_is_is_not_written() {
    on_both(|place| {
        let home = place.open();
        let set = package_set("apps", "1.0.0");
        home.apply(&set, &ann()).unwrap();
        let version = home
            .set_status("PackageSet", "apps", None, &status("a"))
            .unwrap();
        assert_eq!(home.apply(&set, &ann()).unwrap(), Applied::Unchanged);
        let same = home.set_status("PackageSet", "apps", None, &status("a"));
        assert_eq!(same.unwrap(), version);
        assert_eq!(
            stored(&home, "PackageSet", "apps").resource_version,
            version
        );
    });
}

#[test]
fn a_status_is_written_against_the_version_that_was_read() {
    on_both(|place| {
        let home = place.open();
        home.apply(&package_set("apps", "1.0.0"), &ann()).unwrap();
        let read = stored(&home, "PackageSet", "apps").resource_version;
        let set = |expected, text| home.set_status("PackageSet", "apps", expected, &status(text));
        let written = set(Some(read), "one").unwrap();
        let error = set(Some(read), "two").unwrap_err();
        let HomeError::Conflict { found, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(*found, written);
        let words = error.to_string();
        assert!(words.contains("read it again and repeat"), "{words}");
        assert_eq!(stored(&home, "PackageSet", "apps").status, status("one"));
        let error = home.set_status("PackageSet", "gone", None, &status("one"));
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "there is no PackageSet `gone`");
    });
}

#[test]
fn a_person_applies_against_the_version_that_was_read() {
    on_both(|place| {
        let home = place.open();
        home.apply(&package_set("apps", "1.0.0"), &ann()).unwrap();
        let mut newer = package_set("apps", "1.1.0");
        let read = stored(&home, "PackageSet", "apps").resource_version;
        newer.metadata_mut().resource_version = Some((read - 1).to_string());
        let error = home.apply(&newer, &ann()).unwrap_err();
        assert!(matches!(error, HomeError::Conflict { .. }), "{error}");
        assert_eq!(version_of(&home, "apps"), "1.0.0");
        newer.metadata_mut().resource_version = Some(read.to_string());
        home.apply(&newer, &ann()).unwrap();
        assert_eq!(version_of(&home, "apps"), "1.1.0");
    });
}

fn rollout(decision: &str) -> Object {
    let digest = "ab".repeat(32);
    let commit = "cd".repeat(20);
    let mut rollout = object(&format!(
        "kind: Rollout\nmetadata: {{name: r1}}\nspec:\n  planDigest: sha256:{digest}\n  to: main@sha1:{commit}\n"
    ));
    if let (Object::Rollout(rollout), false) = (&mut rollout, decision.is_empty()) {
        let decision = json!({ "hold": 1, "action": decision, "reason": "because" });
        rollout.spec.decision = Some(serde_json::from_value(decision).unwrap());
    }
    rollout
}

#[test]
fn of_two_decisions_on_one_hold_the_second_is_refused_in_words() {
    on_both(|place| {
        let home = place.open();
        home.apply(&rollout(""), &Owner::Controller).unwrap();
        home.apply(&rollout("skip"), &ann()).unwrap();
        let error = home.apply(&rollout("abort"), &ann()).unwrap_err();
        assert!(matches!(error, HomeError::Refused { .. }), "{error:?}");
        let words = error.to_string();
        assert!(
            words.contains("this hold has been decided already"),
            "{words}"
        );
        let decided = stored(&home, "Rollout", "r1").spec["decision"].clone();
        assert_eq!(decided["action"], "skip");
    });
}

#[test]
fn of_two_decisions_at_once_one_wins() {
    on_both(|place| {
        let home = place.open();
        home.apply(&rollout(""), &Owner::Controller).unwrap();
        let taken = std::thread::scope(|scope| {
            let decide = |action: &'static str| {
                let home = &home;
                scope.spawn(move || home.apply(&rollout(action), &ann()).map(|_| action))
            };
            let all = [decide("skip"), decide("abort")];
            all.map(|it| it.join().unwrap())
        });
        let winners: Vec<_> = taken.iter().flatten().collect();
        assert_eq!(winners.len(), 1, "{taken:?}");
        let decided = stored(&home, "Rollout", "r1").spec["decision"].clone();
        assert_eq!(decided["action"], *winners[0]);
    });
}

#[test]
fn what_one_repository_declares_no_other_takes_over() {
    on_both(|place| {
        let home = place.open();
        for name in ["one", "two"] {
            home.apply(&source(name), &ann()).unwrap();
        }
        let set = package_set("apps", "1.0.0");
        home.apply(&set, &git("one")).unwrap();
        let error = home.apply(&package_set("apps", "9.0.0"), &git("two"));
        let error = error.unwrap_err();
        let is_ones = matches!(&error, HomeError::OwnedElsewhere { owner, .. } if owner == "one");
        assert!(is_ones, "{error}");
        assert_eq!(version_of(&home, "apps"), "1.0.0");
        assert_eq!(stored(&home, "PackageSet", "apps").owner, git("one"));
    });
}

#[test]
fn of_the_statuses_in_one_commit_the_last_counts_and_what_is_removed_is_gone() {
    on_both(|place| {
        let home = place.open();
        home.apply(&package_set("old", "1.0.0"), &ann()).unwrap();
        let write = |text: &str| Write::Status {
            kind: "PackageSet",
            name: "new".to_owned(),
            status: status(text),
        };
        let put = Write::Put {
            object: Box::new(package_set("new", "1.0.0")),
            owner: Owner::Controller,
        };
        let remove = Write::Remove {
            kind: "PackageSet",
            name: "old".to_owned(),
        };
        let committed = home
            .commit(&[put, write("first"), remove, write("last")])
            .unwrap();
        assert!(committed.refused.is_empty(), "{committed:?}");
        let all = home.list("PackageSet").unwrap();
        let names: Vec<_> = all.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["new"]);
        assert_eq!(all[0].status, status("last"));
    });
}

#[test]
fn what_is_deleted_is_gone_once() {
    on_both(|place| {
        let home = place.open();
        home.apply(&package_set("apps", "1.0.0"), &ann()).unwrap();
        assert!(home.delete("PackageSet", "apps").unwrap());
        assert!(!home.delete("PackageSet", "apps").unwrap());
        assert!(home.get("PackageSet", "apps").unwrap().is_none());
        // Another of the same name is another one.
        home.apply(&package_set("apps", "1.0.0"), &ann()).unwrap();
        assert_eq!(stored(&home, "PackageSet", "apps").generation, 1);
    });
}

/// The next change of an object that is heard of.
fn next(watch: &mut Receiver<Changed>) -> Changed {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        match watch.try_recv() {
            Ok(changed) => return changed,
            Err(TryRecvError::Empty) if std::time::Instant::now() < end => {
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn watchers_hear_of_every_change_in_order() {
    on_both(|place| {
        let home: Home = place.open();
        let mut watch = home.watch();
        home.apply(&package_set("a", "1.0.0"), &ann()).unwrap();
        let made = next(&mut watch);
        home.set_status("PackageSet", "a", None, &status("x"))
            .unwrap();
        let written = next(&mut watch);
        home.delete("PackageSet", "a").unwrap();
        let gone = next(&mut watch);
        let heard = [made, written, gone];
        assert!(
            heard
                .iter()
                .all(|it| it.kind == "PackageSet" && it.name == "a")
        );
        assert!(
            heard.is_sorted_by_key(|it| it.resource_version),
            "{heard:?}"
        );
        assert_eq!(heard.map(|it| it.deleted), [false, false, true]);
    });
}
