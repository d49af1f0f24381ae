//! Removing packages from a registry.

use placet_package::trust::Attachment;
use placet_tests::RegistryServer;
use serde_json::json;

use crate::line::package;
use crate::{json, open, reference, run, text};

#[tokio::test]
async fn a_removed_package_is_gone_with_what_refers_to_it() {
    let Some(server) = RegistryServer::deleting() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    let digest = package(&from, "many", &[10]);
    for tag in ["1", "2"] {
        let place = server.at(&format!("many:{tag}"));
        json(&["package", "push", &text(&from), &place]);
    }
    let place = reference(&server.at("many:1"));
    let registry = open(&place);
    let kind = "application/vnd.example+json";
    let document = Attachment::new(kind, b"{}".to_vec());
    let referrer = registry.attach(&place, &digest, &document).await.unwrap();

    let one = json(&["package", "remove", &server.at("many:1")]);
    assert_eq!(
        (&one["tags"], &one["staysAs"]),
        (&json!(["1"]), &json!(["2"]))
    );
    assert_eq!(
        registry.tags(&place).await.unwrap().len(),
        2,
        "one is the list's"
    );
    let gone = json(&["package", "remove", &server.at("many:2")]);
    assert_eq!(gone["digest"], digest.to_string());
    assert_eq!(
        gone["referrers"],
        json!([{"type": kind, "digest": referrer}])
    );
    for digest in [digest, referrer] {
        let place = server.at(&format!("many@{digest}"));
        let again = run(&["package", "remove", &place]);
        let said = String::from_utf8_lossy(&again.stderr);
        assert!(said.contains("does not have"), "{said}");
    }
    assert!(registry.tags(&place).await.unwrap().is_empty());
}

#[test]
fn a_registry_that_deletes_nothing_says_so() {
    let Some(server) = RegistryServer::open() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    package(&from, "many", &[10]);
    json(&["package", "push", &text(&from), &server.at("many")]);
    let place = server.at("many:1.0.0");
    let refused = run(&["package", "remove", &place]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("does not delete"), "{said}");
    json(&[
        "package",
        "copy",
        &place,
        &format!("oci-layout:{}", text(&folder.path().join("to"))),
    ]);
}
