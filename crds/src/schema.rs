//! From what schemars and kube derive to what a Kubernetes API server wants and people read.

use serde_json::{Map, Value, json};

use crate::API_VERSION;

/// Makes a derived schema plain: no `nullable` (a field that is not there is not there), no
/// formats that Kubernetes does not know, descriptions as running text.
pub(crate) fn tidy(schema: &mut Value) {
    let Value::Object(node) = schema else { return };
    node.remove("nullable");
    node.remove("title");
    if node.get("default").is_some_and(Value::is_null) {
        node.remove("default");
    }
    if let Some(Value::Array(values)) = node.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::String(text)) = node.get_mut("description") {
        *text = running(text);
    }
    tidy_format(node);
    for keyword in ["properties"] {
        if let Some(Value::Object(properties)) = node.get_mut(keyword) {
            properties.values_mut().for_each(tidy);
        }
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = node.get_mut(keyword) {
            tidy(inner);
        }
    }
}

/// Kubernetes knows `int32` and `int64` only; what else the Rust type says becomes a bound, so that
/// whatever passes the schema fits the type.
fn tidy_format(node: &mut Map<String, Value>) {
    let maximum = match node.get("format").and_then(Value::as_str) {
        Some("uint8") => u32::from(u8::MAX),
        Some("uint16") => u32::from(u16::MAX),
        Some("uint32") => u32::MAX,
        Some("uint64" | "uint") => {
            node.insert("format".to_owned(), "int64".into());
            return;
        }
        _ => return,
    };
    node.insert("format".to_owned(), "int64".into());
    node.entry("maximum").or_insert_with(|| maximum.into());
}

/// One line per paragraph, links of the Rust documentation as plain words.
fn running(text: &str) -> String {
    text.replace("[`", "`")
        .replace("`]", "`")
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n\n")
}

/// Whole numbers without a fraction, keys in order: the text does not depend on how numbers are
/// kept or on whether a JSON map keeps its order.
pub(crate) fn canonical(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "bounds are far from 2^53")]
            Some(float) if number.is_f64() && float.fract() == 0.0 => (float as i64).into(),
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(canonical).collect(),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|left, right| left.0.cmp(&right.0));
            entries
                .into_iter()
                .map(|(key, value)| (key, canonical(value)))
                .collect()
        }
        scalar => scalar,
    }
}

/// The schema of a whole resource of `kind`: with what the API server itself checks in it.
pub(crate) fn whole(schema: &Value, kind: &str) -> Value {
    let mut schema = schema.clone();
    let properties = &mut schema["properties"];
    properties["apiVersion"] = json!({
        "type": "string",
        "enum": [API_VERSION],
        "description": "The group and version of the resource.",
    });
    properties["kind"] = json!({"type": "string", "enum": [kind], "description": "The kind."});
    properties["metadata"] = metadata();
    schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
    schema
}

/// The metadata of an object of cluster scope.
fn metadata() -> Value {
    let texts = |description: &str| {
        json!({
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": description,
        })
    };
    let kept = |kind: &str| json!({"type": kind, "x-kubernetes-preserve-unknown-fields": true});
    let text = json!({"type": "string"});
    let time = json!({"type": "string", "format": "date-time"});
    json!({
        "type": "object",
        "description": "What every resource has.",
        "required": ["name"],
        "properties": {
            "name": {
                "type": "string",
                "minLength": 1,
                "maxLength": 253,
                "pattern": crate::kinds::NAME,
                "description": "The name of the resource: lower-case letters, digits, `-` and \
                    `.`, starting and ending with a letter or digit.",
            },
            "labels": texts("Labels, each a text."),
            "annotations": texts("Annotations, each a text."),
            "finalizers": {"type": "array", "items": text},
            "uid": text,
            "resourceVersion": text,
            "selfLink": text,
            "generation": {"type": "integer"},
            "creationTimestamp": time,
            "deletionTimestamp": time,
            "deletionGracePeriodSeconds": {"type": "integer"},
            "managedFields": kept("array"),
            "ownerReferences": kept("array"),
        },
    })
}

/// Leaves out fields that are null, as the API server does with fields that are not nullable.
pub(crate) fn prune_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(prune_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(prune_nulls),
        _ => {}
    }
}

/// Fills in defaults as the API server does: before rules are evaluated.
pub(crate) fn fill_defaults(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(properties) = schema["properties"].as_object() {
                for (name, inner) in properties {
                    if let (None, Some(default)) = (map.get(name), inner.get("default")) {
                        map.insert(name.clone(), default.clone());
                    }
                    if let Some(value) = map.get_mut(name) {
                        fill_defaults(inner, value);
                    }
                }
            } else if let Some(inner) = schema.get("additionalProperties") {
                map.values_mut()
                    .for_each(|value| fill_defaults(inner, value));
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|value| fill_defaults(&schema["items"], value)),
        _ => {}
    }
}
