//! The reference page of the package file, with a table of fields made from the schema.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::schema::schema;

/// The page around the tables.
const PAGE: &str = include_str!("package-file.md");
/// What stands in it for the tables.
const FIELDS: &str = "{{fields}}\n";

/// Generated files, by path from the root of the repository: the schema, and the reference page.
pub fn generated() -> [(&'static str, String); 2] {
    let schema = schema();
    let page = PAGE.replace(FIELDS, &tables(&schema));
    [
        ("docs/package.schema.json", format!("{schema:#}\n")),
        ("docs/package-file.md", page),
    ]
}

fn tables(schema: &Value) -> String {
    let definitions = &schema["$defs"];
    let mut text = section("The package", schema, definitions);
    for (name, definition) in definitions.as_object().into_iter().flatten() {
        if has_fields(definition) {
            text.push_str(&section(&title(name), definition, definitions));
        }
    }
    text
}

fn has_fields(definition: &Value) -> bool {
    definition.get("properties").is_some()
}

/// `ModuleEntry` is `Module`, `RemoteRequirementEntry` is `Remote requirement`.
fn title(name: &str) -> String {
    let name = name.strip_suffix("Entry").unwrap_or(name);
    let mut title = String::new();
    for (index, letter) in name.chars().enumerate() {
        if index > 0 && letter.is_uppercase() {
            title.push(' ');
            title.extend(letter.to_lowercase());
        } else {
            title.push(letter);
        }
    }
    title
}

fn section(title: &str, schema: &Value, definitions: &Value) -> String {
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|it| it.iter().any(|it| it == name));
    let mut text = format!("### {title}\n\n| field | type | meaning |\n|---|---|---|\n");
    let fields = schema["properties"].as_object().into_iter().flatten();
    for (name, field) in fields {
        let needed = if is_required(name) { ", required" } else { "" };
        let meaning = meaning(field);
        let kind = kind(field, definitions);
        writeln!(text, "| `{name}` | {kind}{needed} | {meaning} |")
            .expect("writing to a string does not fail");
    }
    text.push('\n');
    text
}

/// The description in one line, with what each of several values means.
fn meaning(field: &Value) -> String {
    let text = field["description"].as_str().unwrap_or_default();
    text.replace("\n\n", " ")
        .replace('\n', " ")
        .replace('|', "\\|")
}

/// The type in a word or two: the values that there are, or a link where it has a table of its own.
fn kind(field: &Value, definitions: &Value) -> String {
    if let Some(reference) = field["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        let definition = &definitions[name];
        return if has_fields(definition) {
            linked(name)
        } else {
            kind(definition, definitions)
        };
    }
    let choices = field["anyOf"].as_array().or(field["oneOf"].as_array());
    if let Some(choices) = choices {
        let choices = choices.iter().filter(|it| it["type"] != "null");
        let mut kinds: Vec<_> = choices.map(|it| kind(it, definitions)).collect();
        kinds.dedup();
        return kinds.join(" or ");
    }
    if let Some(value) = field["const"].as_str() {
        return format!("`{value}`");
    }
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
        return format!("`{}`", values.join("` or `"));
    }
    match main_type(field) {
        "array" => format!("list of {}", plural(&kind(&field["items"], definitions))),
        "object" => object(field, definitions),
        "integer" => "number".to_owned(),
        "string" => "text".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        other => other.to_owned(),
    }
}

/// A value with the one key that it has, or a map from any key.
fn object(field: &Value, definitions: &Value) -> String {
    if let Some(properties) = field["properties"].as_object() {
        return only_key(properties);
    }
    let patterns = field["patternProperties"].as_object();
    let values = patterns.and_then(|it| it.values().next());
    let values = values.unwrap_or(&field["additionalProperties"]);
    format!("map of {}", plural(&kind(values, definitions)))
}

fn only_key(properties: &Map<String, Value>) -> String {
    let keys: Vec<_> = properties.keys().map(|key| format!("`{key}: N`")).collect();
    keys.join(", ")
}

/// The type that is not null.
fn main_type(field: &Value) -> &str {
    let types = field["type"].as_array().into_iter().flatten();
    let named = types.filter_map(Value::as_str).find(|it| *it != "null");
    named.or(field["type"].as_str()).unwrap_or("any")
}

fn plural(kind: &str) -> String {
    match kind {
        "text" => "texts".to_owned(),
        "number" => "numbers".to_owned(),
        kind => kind.to_owned(),
    }
}

fn linked(name: &str) -> String {
    let title = title(name);
    let anchor = title.to_lowercase().replace(' ', "-");
    format!("[{}](#{anchor})", title.to_lowercase())
}
