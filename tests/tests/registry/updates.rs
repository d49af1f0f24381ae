//! Updates of packages in a registry, made where they are.

use std::sync::atomic::Ordering;

use placet_tests::RegistryServer;

use crate::line::{Line, package};
use crate::{json, run, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_shaded_and_compared_in_the_registry_and_no_module_travels() {
    let Some(server) = RegistryServer::open() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    let digest = package(&from, "large", &[2_000_000, 10]);
    json(&["package", "push", &text(&from), &server.at("large")]);

    let line = Line::to(server.port()).await;
    let place = format!("oci+http://127.0.0.1:{}/large", line.port);
    let original = format!("{place}:1.0.0");
    let shade = ["package", "shade", &original, "--gray", "share/0000"];
    let update = tokio::task::block_in_place(|| json(&shade));
    assert_eq!(update["reference"], format!("{place}:1.0.0_1.gray"));
    let derived = &update["config"]["derived"];
    assert_eq!(derived["digest"], digest.to_string());
    assert_eq!(derived["shaded"], serde_json::json!(["share/0000"]));

    let diff = ["package", "diff", &original, ":1.0.0_1.gray", "-o", "json"];
    let output = tokio::task::block_in_place(|| run(&diff));
    assert_eq!(output.status.code(), Some(1), "something differs");
    let diff: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        diff["counts"],
        serde_json::json!({"changed": 1, "unchanged": 1})
    );
    assert_eq!(diff["modules"][0]["path"], "share/0000");
    let moved = line.moved.load(Ordering::Relaxed);
    assert!(moved < 100_000, "{moved} bytes came over the line");

    // The next one counts on, and what was made is whole.
    let again = tokio::task::block_in_place(|| json(&["package", "shade", &original, "--white"]));
    assert_eq!(again["reference"], format!("{place}:1.0.0_2.white"));
    let to = text(&folder.path().join("to"));
    let gray = server.at("large:1.0.0_1.gray");
    let pulled = json(&["package", "pull", &gray, &to]);
    assert_eq!(pulled["digest"], update["digest"]);
}
