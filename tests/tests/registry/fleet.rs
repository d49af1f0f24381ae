//! A fleet whose packages are in a registry.

use std::fs;

use placet_tests::{Event, Fleet, FleetOptions, REGISTRY_PASSWORD, REGISTRY_USER, RegistryServer};

/// A fleet that has its packages from the registry, which needs a password.
async fn fleet(server: &RegistryServer) -> Fleet {
    server.push_examples();
    let fleet = Fleet::start(FleetOptions::default()).await;
    let secret = fleet.path("controller/secrets/registry");
    fs::create_dir_all(&secret).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&secret, private).unwrap();
    fs::write(secret.join("username"), REGISTRY_USER).unwrap();
    fs::write(secret.join("password"), REGISTRY_PASSWORD).unwrap();
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
    let Some(server) = RegistryServer::private() else {
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
    assert!(!log.contains(REGISTRY_PASSWORD), "no secret is logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_goes_away_while_modules_travel_is_waited_for() {
    let Some(mut server) = RegistryServer::private() else {
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
    fleet.decide(&rollout, "--force", "it is late");
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
