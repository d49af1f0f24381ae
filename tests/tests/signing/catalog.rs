//! What the controller makes of signatures before it plans anything.

use std::path::Path;

use placet_controller::catalog::{LookedUp, MODULES_MOST, Packages, WantedPackage};
use placet_controller::secrets::Secrets;
use placet_model::{PackageReference, PublicKey};
use placet_planner::Unresolved;
use placet_tests::RegistryServer;

use crate::{folder_of, json, package, pair, text};

fn key(file: &str) -> PublicKey {
    std::fs::read_to_string(file).unwrap().parse().unwrap()
}

fn wanted(reference: &str, keys: Option<Vec<PublicKey>>) -> WantedPackage {
    let reference = PackageReference {
        name: "note".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        reference: reference.to_owned(),
    };
    WantedPackage {
        keys,
        ..WantedPackage::from(&reference)
    }
}

/// Why the package is not to be had, and whether it is worth looking again.
fn refused(looked: LookedUp) -> (String, bool) {
    match looked.catalog.entries.into_values().next().unwrap() {
        Err(Unresolved::Untrusted(why)) => (why, looked.is_open),
        other => panic!("{other:?}"),
    }
}

fn is_found(looked: &LookedUp) -> bool {
    looked.catalog.entries.values().all(Result::is_ok)
}

#[test]
fn a_package_of_a_layout_counts_once_a_listed_key_has_signed_it() {
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = pair(folder.path(), "release");
    let (_, other) = pair(folder.path(), "other");
    let reference = package(folder.path(), "1.0.0");
    let packages = Packages::new();
    let look =
        |keys: Option<Vec<PublicKey>>| packages.look_up([wanted(&reference, keys)], Path::new("/"));
    assert!(is_found(&look(None)), "nobody wants a signature");
    let (why, is_open) = refused(look(Some(vec![key(&public)])));
    assert!(
        why.contains(&reference) && why.contains("it has no signature"),
        "{why}"
    );
    assert!(why.contains(&key(&public).id().short()), "{why}");
    assert!(is_open, "somebody may sign it");

    json(&["package", "sign", &reference, "--key", &private]);
    assert!(is_found(&look(Some(vec![key(&other), key(&public)]))));
    let (why, _) = refused(look(Some(vec![key(&other)])));
    assert!(why.contains("is not listed"), "{why}");
    // What is declared and cannot be read has signed nothing.
    refused(look(Some(Vec::new())));

    // A tag that names something else now is another package.
    std::fs::write(folder.path().join("source/note"), "swapped\n").unwrap();
    let file = text(&folder.path().join("source/package.yaml"));
    let to = format!("oci-layout:{}", folder_of(&reference).display());
    json(&["package", "build", &file, "--to", &to]);
    refused(look(Some(vec![key(&public)])));
    assert!(is_found(&look(None)));
}

#[test]
fn a_boot_image_counts_once_a_key_of_its_class_has_signed_it() {
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = pair(folder.path(), "release");
    let reference = package(folder.path(), "1.0.0");
    let image = |keys: &[String]| {
        let class = serde_json::json!({
            "apiVersion": "placet.dev/v1alpha1",
            "kind": "NodeClass",
            "metadata": {"name": "core"},
            "spec": {"packageSets": [], "bootImages": [{
                "name": "note",
                "version": "1.0.0",
                "reference": reference,
                "keys": keys,
                "install": ["install"],
                "confirm": ["confirm"],
            }]},
        });
        let file = placet_crds::SourceFile {
            name: "class.yaml".into(),
            text: class.to_string(),
        };
        let loaded = placet_crds::load_all(&[file]).unwrap();
        WantedPackage::named_by(&loaded.objects[0], |_| None)
    };
    let packages = Packages::new();
    let look = |keys: &[String]| packages.look_up(image(keys), Path::new("/"));
    let listed = [std::fs::read_to_string(&public).unwrap()];
    assert!(is_found(&look(&[])), "nobody wants a signature");
    let (why, _) = refused(look(&listed));
    assert!(why.contains("it has no signature"), "{why}");
    json(&["package", "sign", &reference, "--key", &private]);
    assert!(is_found(&look(&listed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_verified_needs_no_registry_any_more() {
    let Some(mut server) = RegistryServer::open() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = pair(folder.path(), "release");
    let (_, other) = pair(folder.path(), "other");
    let reference = package(folder.path(), "1.0.0");
    let place = server.at("fleet/note:1.0.0");
    json(&["package", "push", &text(&folder_of(&reference)), &place]);
    let state = folder.path().join("state");
    let open = || {
        let secrets = Secrets::Folder(state.join("secrets"));
        Packages::with_registries(&state, MODULES_MOST, secrets)
    };
    let look = async |packages: &Packages, file: &str| {
        let (packages, wanted) = (packages.clone(), wanted(&place, Some(vec![key(file)])));
        let look = move || packages.look_up([wanted], Path::new("/"));
        tokio::task::spawn_blocking(look).await.unwrap()
    };
    let packages = open();
    let (why, is_open) = refused(look(&packages, &public).await);
    assert!(why.contains("it has no signature") && is_open, "{why}");
    json(&["package", "sign", &place, "--key", &private]);
    assert!(is_found(&look(&packages, &public).await));
    let (why, _) = refused(look(&packages, &other).await);
    assert!(why.contains("is not listed"), "{why}");

    server.kill();
    assert!(is_found(&look(&packages, &public).await), "it is known");
    assert!(
        is_found(&look(&open(), &public).await),
        "it is in the cache"
    );
    let other = look(&open(), &other).await;
    assert!(
        !is_found(&other) && other.is_open,
        "who else signed it is not known now"
    );
}
