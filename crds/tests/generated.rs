//! The generated definitions are current, and are what a Kubernetes API server accepts.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::path::Path;

use placet_crds::{generated, kinds};
use serde_json::Value;

#[test]
fn the_files_of_the_chart_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/placet/definitions");
    for (name, text) in generated() {
        let path = folder.join(name);
        if std::env::var_os("PLACET_UPDATE").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == text,
            "{} is not current; run `cargo xtask generate`",
            path.display()
        );
    }
}

#[test]
fn the_yaml_says_what_the_definition_says() {
    for ((_, text), info) in generated().iter().zip(kinds()) {
        let read: Value = serde_yaml::from_str(text).unwrap();
        assert_eq!(read, info.definition);
    }
}

#[test]
fn names_and_columns_are_as_people_expect() {
    let names: Vec<_> = kinds()
        .iter()
        .map(|it| {
            (
                it.kind.as_str(),
                it.plural.as_str(),
                it.short_names.join(","),
            )
        })
        .collect();
    let expected = [
        ("GitSource", "gitsources", "gsrc"),
        ("NodeClass", "nodeclasses", "ncls"),
        ("PackageSet", "packagesets", "pset"),
        ("FleetNode", "fleetnodes", "fnode"),
        ("Rollout", "rollouts", "ro"),
    ];
    assert_eq!(
        names,
        expected.map(|(kind, plural, short)| (kind, plural, short.to_owned()))
    );
    for info in kinds() {
        let spec = &info.definition["spec"];
        assert_eq!(spec["scope"], "Cluster");
        assert_eq!(spec["group"], "placet.dev");
        assert_eq!(spec["names"]["categories"], serde_json::json!(["placet"]));
        assert_eq!(spec["versions"][0]["name"], "v1alpha1");
        assert!(spec["versions"][0]["subresources"]["status"].is_object());
        assert!(info.columns.len() >= 4, "{}", info.kind);
        assert_eq!(info.columns.last().unwrap().kind, "date");
        for text in [
            &info.kind,
            &info.plural,
            &info.singular,
            &info.short_names[0],
        ] {
            assert_eq!(placet_crds::find_kind(text).unwrap().kind, info.kind);
        }
    }
    assert!(placet_crds::find_kind("pod").is_none());
}

/// The rules for structural schemas, and our own: every field is documented.
#[test]
fn schemas_are_structural_and_documented() {
    for info in kinds() {
        let schema = &info.definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        structural(schema, &info.kind);
        documented(schema, &info.kind);
    }
}

/// The keywords that the checks of this crate know; another one would be passed over.
const KNOWN: [&str; 24] = [
    "type",
    "description",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "pattern",
    "format",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "oneOf",
    "x-kubernetes-validations",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
];

fn structural(schema: &Value, at: &str) {
    let node = schema
        .as_object()
        .unwrap_or_else(|| panic!("{at} has no schema: {schema}"));
    assert!(node.contains_key("type"), "{at} has no type: {schema}");
    for keyword in node.keys() {
        assert!(KNOWN.contains(&keyword.as_str()), "{at}: {keyword}");
    }
    assert!(
        !node.contains_key("x-kubernetes-preserve-unknown-fields"),
        "{at}"
    );
    assert!(
        !(node.contains_key("properties") && node.contains_key("additionalProperties")),
        "{at} has both fields and free keys"
    );
    if let Some(pattern) = schema["pattern"].as_str() {
        regex::Regex::new(pattern).unwrap();
    }
    if let Some(format) = schema["format"].as_str() {
        assert!(
            ["int32", "int64", "date-time"].contains(&format),
            "{at}: {format}"
        );
    }
    for variant in schema["oneOf"].as_array().into_iter().flatten() {
        let keys: Vec<_> = variant.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["required"], "{at}");
    }
    for (name, inner) in properties(schema) {
        structural(inner, &format!("{at}.{name}"));
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(keyword) {
            structural(inner, &format!("{at}[]"));
        }
    }
}

fn documented(schema: &Value, at: &str) {
    for (name, inner) in properties(schema) {
        let at = format!("{at}.{name}");
        if at.matches('.').count() > 1 {
            let text = inner["description"].as_str().unwrap_or_default();
            assert!(
                text.ends_with(['.', '`', ')']) && text.len() >= 4,
                "{at} is not documented in sentences: {text:?}"
            );
        }
        documented(inner, &at);
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(keyword) {
            documented(inner, at);
        }
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}
