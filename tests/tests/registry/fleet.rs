//! A fleet whose packages are in a registry.

use std::fs;

use placet_tests::{Event, Fleet, FleetOptions, packages};

use crate::json;
use crate::server::Server;

const TAGS: &[(&str, &str)] = &[
    ("chat", "1.0.0"),
    ("clock", "1.0.0"),
    ("metrics", "1.0.0"),
    ("greet", "1.0.0"),
    ("greet", "1.1.0"),
];

fn push_all(server: &Server) {
    let login = server.login();
    let login: Vec<&str> = login.iter().map(String::as_str).collect();
    for (name, tag) in TAGS {
        let from = format!("oci-layout:{}:{tag}", packages().join(name).display());
        let to = server.at(&format!("fleet/{name}:{tag}"));
        json(&[&["package", "push", &from, &to], login.as_slice()].concat());
    }
}

/// A fleet that has its packages from the registry, which needs a password.
async fn fleet(server: &Server) -> Fleet {
    push_all(server);
    let fleet = Fleet::start(FleetOptions::default()).await;
    let secret = fleet.path("controller/secrets/registry");
    fs::create_dir_all(&secret).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&secret, private).unwrap();
    fs::write(secret.join("username"), crate::server::USER).unwrap();
    fs::write(secret.join("password"), crate::server::PASSWORD).unwrap();
    fs::copy(server.path("ca.crt"), secret.join("ca.crt")).unwrap();
    let file = fleet.path("fleet/packages.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text
        .replace("oci-layout:", &server.at("fleet/"))
        .replace("spec:\n", "spec:\n  secretRef:\n    name: registry\n");
    fs::write(&file, text).unwrap();
    fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_gets_its_packages_from_a_registry() {
    let Some(server) = Server::private() else {
        return;
    };
    let mut fleet = fleet(&server).await;
    let commit = fleet.commit("From a registry");
    fleet.follow_repository();
    fleet.verified(&commit).await;
    let status = fleet.resource("packagesets", "base")["status"].clone();
    let found = &status["packages"][0];
    assert_eq!(found["reference"], server.at("fleet/greet:1.0.0"));
    assert!(found["digest"].as_str().unwrap().starts_with("sha256:"));
    let log = fleet.log("controller");
    assert!(
        !log.contains(crate::server::PASSWORD),
        "no secret is logged"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_goes_away_while_modules_travel_is_waited_for() {
    let Some(mut server) = Server::private() else {
        return;
    };
    let mut fleet = fleet(&server).await;
    let commit = fleet.commit("From a registry");
    fleet.follow_repository();
    fleet.verified(&commit).await;

    // The veto holds the roll-out while its packages are known and no module has travelled.
    let core = fleet
        .node_names()
        .into_iter()
        .find(|name| name.starts_with("core"));
    let session = fleet.open_session(&core.unwrap());
    let commit = fleet.commit_greet("1.1.0");
    let held = fleet.held(&commit).await;
    server.kill();
    let rollout = held.text("rollout").to_owned();
    fleet.placet(&[
        "rollout",
        "decide",
        &rollout,
        "--force",
        "--reason",
        "it is late",
    ]);
    let waits = |event: &Event| {
        event.name == "failed"
            && event
                .data
                .to_string()
                .contains("failed to reach the registry")
    };
    fleet
        .feed
        .wait(held.sequence, "word of the registry", waits)
        .await;

    // Another controller knows no more, and the packages are known to it all the same.
    fleet.kill_controller();
    fleet.start_controller();
    server.run();
    fleet.verified(&commit).await;
    drop(session);
}
