//! The definitions of our kinds, as people meet them with kubectl.

use placet_tests::KubeFleet;
use serde_json::Value;

use crate::common::kubernetes;

/// The path of every field of a schema.
fn fields(schema: &Value, path: &str, all: &mut Vec<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        for (name, field) in properties {
            let path = format!("{path}.{name}");
            all.push(path.clone());
            fields(field, &path, all);
        }
    }
    if schema["items"].is_object() {
        fields(&schema["items"], path, all);
    }
    if schema["additionalProperties"].is_object() {
        fields(&schema["additionalProperties"], path, all);
    }
}

#[test]
fn every_field_is_explained() {
    let Some(fleet) = kubernetes(&[]) else { return };
    let mut explained = 0;
    for definition in fleet.objects("crd") {
        let kind = definition["spec"]["names"]["plural"]
            .as_str()
            .expect("a name");
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut all = Vec::new();
        for part in ["spec", "status"] {
            fields(
                &schema["properties"][part],
                &format!("{kind}.{part}"),
                &mut all,
            );
        }
        // One call for each top field: what is below is in the recursive text.
        for path in all {
            let parts: Vec<_> = path.split('.').collect();
            let described = description(schema, &parts[1..]);
            assert!(
                described.is_some_and(|text| text.len() > 2),
                "{path} is not explained"
            );
            explained += 1;
        }
        let text = fleet.kubectl(&["explain", &format!("{kind}.spec"), "--recursive"]);
        for field in schema["properties"]["spec"]["properties"]
            .as_object()
            .expect("fields")
            .keys()
        {
            assert!(text.contains(field), "kubectl explain {kind} shows {field}");
        }
    }
    assert!(explained > 150, "{explained}");
}

/// The description of a field, or of what its items are.
fn description<'a>(schema: &'a Value, path: &[&str]) -> Option<&'a str> {
    let mut now = schema;
    for part in path {
        while now["properties"].get(part).is_none() {
            now = match (&now["items"], &now["additionalProperties"]) {
                (items, _) if items.is_object() => items,
                (_, more) if more.is_object() => more,
                _ => return None,
            };
        }
        now = &now["properties"][part];
    }
    now["description"].as_str()
}

fn refused(fleet: &KubeFleet, text: &str) -> String {
    let answer = fleet.apply(text, &["--dry-run=server"]);
    assert!(
        !answer.contains("(server dry run)"),
        "it is refused: {answer}"
    );
    answer
}

#[test]
fn the_api_server_refuses_what_the_commands_refuse_and_names_the_field() {
    let Some(fleet) = kubernetes(&[]) else { return };
    let head = "apiVersion: placet.dev/v1alpha1\n";
    for (text, field) in [
        (
            "kind: NodeClass\nmetadata: {name: c}\nspec: {packageSets: [a, a]}\n",
            "spec.packageSets",
        ),
        (
            "kind: NodeClass\nmetadata: {name: c}\nspec: {strategy: {maxUnavailable: 0}}\n",
            "spec.strategy.maxUnavailable",
        ),
        (
            "kind: NodeClass\nmetadata: {name: c}\nspec: {strategy: {voteSeconds: 60, promiseSeconds: 30}}\n",
            "spec.strategy",
        ),
        (
            "kind: PackageSet\nmetadata: {name: p}\nspec: {packages: [{name: a, version: one, reference: 'oci-layout:a:1'}]}\n",
            "spec.packages[0].version",
        ),
        (
            "kind: GitSource\nmetadata: {name: g}\nspec: {}\n",
            "spec.url",
        ),
    ] {
        let text = format!("{head}{text}");
        let answer = refused(&fleet, &text);
        assert!(answer.contains(field), "{field}: {answer}");
        let file = placet_crds::SourceFile {
            name: "f.yaml".to_owned(),
            text,
        };
        let faults = placet_crds::load(&[file]).expect_err("the commands refuse it too");
        assert!(
            faults
                .iter()
                .any(|fault| fault.field.starts_with(field.trim_end_matches(".version"))),
            "{faults:?}"
        );
    }
}
