//! Lists of symbols that a registry does not give, or gives with other bytes: nothing is taken to be
//! complete for want of one.

use std::fs;
use std::path::{Path, PathBuf};

use placet_controller::catalog::{LookedUp, MODULES_MOST, Packages, WantedPackage};
use placet_controller::secrets::Secrets;
use placet_model::PackageReference;
use placet_planner::Unresolved;
use placet_tests::{Event, Fleet, FleetOptions, RegistryServer};

use crate::json;

/// The list of symbols of the library in version `version` of the example, where the registry keeps it,
/// and the digest of the package.
fn list_of(server: &RegistryServer, version: &str) -> (PathBuf, String) {
    let place = server.at(&format!("fleet/greet:{version}"));
    let package = json(&["package", "inspect", &place]);
    let modules = package["config"]["modules"].as_array().unwrap();
    let mut lists = modules
        .iter()
        .filter_map(|it| it["elf"]["symbols"].as_str());
    let list = server.stored(lists.next().unwrap());
    (list, package["digest"].as_str().unwrap().to_owned())
}

async fn look(packages: &Packages, reference: &str) -> LookedUp {
    let wanted = WantedPackage::from(&PackageReference {
        name: "greet".parse().unwrap(),
        version: "1.1.0".parse().unwrap(),
        reference: reference.to_owned(),
    });
    let packages = packages.clone();
    let look = move || packages.look_up([wanted], Path::new("/"));
    tokio::task::spawn_blocking(look).await.unwrap()
}

/// How many lists of symbols are known of the only package, or why there is none.
fn known(found: &LookedUp) -> Result<usize, &str> {
    let entry = found.catalog.entries.values().next().unwrap();
    let entry = entry.as_ref().map_err(Unresolved::why);
    entry.map(|entry| entry.symbols.len())
}

fn open(state: &Path) -> Packages {
    let secrets = Secrets::Folder(state.join("secrets"));
    Packages::with_registries(state, MODULES_MOST, secrets)
}

/// The package is missing, for this reason, and is looked for again.
async fn refused(packages: &Packages, reference: &str, told: &str) {
    let found = look(packages, reference).await;
    let why = known(&found).unwrap_err();
    assert!(why.contains(told), "{why}");
    assert!(found.is_open, "another look may say something else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_missing_as_long_as_its_list_of_symbols_is() {
    let Some(server) = RegistryServer::open() else {
        return;
    };
    server.push_examples();
    let (list, digest) = list_of(&server, "1.1.0");
    let whole = fs::read(&list).unwrap();
    let mut wrong = whole.clone();
    wrong[0] ^= 1;
    let (tag, pinned) = ("fleet/greet:1.1.0", format!("fleet/greet@{digest}"));
    for reference in [server.at(tag), server.at(&pinned)] {
        let folder = tempfile::tempdir().unwrap();
        let packages = open(folder.path());
        // The second time the metadata of the package are in the cache.
        fs::remove_file(&list).unwrap();
        for _ in 0..2 {
            refused(&packages, &reference, "the registry does not have").await;
        }
        fs::write(&list, &wrong).unwrap();
        for _ in 0..2 {
            refused(&packages, &reference, "damaged or replaced").await;
        }
        fs::write(&list, &whole).unwrap();
        let found = look(&packages, &reference).await;
        assert_eq!((known(&found), found.is_open), (Ok(1), false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_was_whole_before_is_not_called_into_question() {
    let Some(mut server) = RegistryServer::open() else {
        return;
    };
    server.push_examples();
    let (list, digest) = list_of(&server, "1.1.0");
    let reference = server.at(&format!("fleet/greet@{digest}"));
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    let found = look(&open(state), &reference).await;
    assert_eq!((known(&found), found.is_open), (Ok(1), false));

    // Its list has made room for a module, and the registry is away.
    let name = list.parent().unwrap().file_name().unwrap();
    let kept = state.join("modules/layout/blobs/sha256").join(name);
    fs::remove_file(kept).unwrap();
    server.kill();
    let packages = open(state);
    let found = look(&packages, &reference).await;
    assert_eq!((known(&found), found.is_open), (Ok(0), true));
    server.run();
    let found = look(&packages, &reference).await;
    assert_eq!((known(&found), found.is_open), (Ok(1), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_node_is_asked_until_the_symbols_of_what_it_is_to_run_are_known() {
    let Some(server) = RegistryServer::open() else {
        return;
    };
    server.push_examples();
    let (list, _) = list_of(&server, "1.0.0");
    let away = list.with_extension("away");
    fs::rename(&list, &away).unwrap();
    let mut fleet = Fleet::start(FleetOptions {
        nodes: vec!["edge-1"],
        ..FleetOptions::default()
    })
    .await;
    let file = fleet.path("fleet/packages.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("oci-layout:", &server.at("fleet/"))).unwrap();
    let since = fleet.feed.latest();
    let commit = fleet.commit("From a registry");
    fleet.follow_repository();
    let is_blocked = |event: &Event| {
        let problems = event.data["problems"].to_string();
        event.name == "plan" && problems.contains("fleet/greet:1.0.0")
    };
    let plan = fleet
        .feed
        .wait(since, "a plan with a problem", is_blocked)
        .await;
    let status = fleet.resource("rollout", plan.text("rollout"))["status"].clone();
    assert_eq!(status["phase"], "Blocked", "{status}");
    assert!(!fleet.log("edge-1").contains(&commit), "nobody is asked");
    // Nobody has to say that it is there again.
    fs::rename(&away, &list).unwrap();
    fleet.verified(&commit).await;
}
