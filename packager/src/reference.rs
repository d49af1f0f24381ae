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
    let mut text = section("The package", schema);
    let definitions = schema["$defs"].as_object();
    for (name, definition) in definitions.into_iter().flatten() {
        if definition.get("properties").is_some() {
            text.push_str(&section(&title(name), definition));
        }
    }
    text
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

fn section(title: &str, schema: &Value) -> String {
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|it| it.iter().any(|it| it == name));
    let mut text = format!("### {title}\n\n| field | type | meaning |\n|---|---|---|\n");
    let fields = schema["properties"].as_object().into_iter().flatten();
    for (name, field) in fields {
        let needed = if is_required(name) { ", required" } else { "" };
        let meaning = meaning(field);
        writeln!(text, "| `{name}` | {}{needed} | {meaning} |", kind(field))
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

/// The type in a word or two, with a link where it has a table of its own.
fn kind(field: &Value) -> String {
    if let Some(reference) = field["$ref"].as_str() {
        return linked(reference);
    }
    let choices = field["anyOf"].as_array().or(field["oneOf"].as_array());
    if let Some(choices) = choices {
        let mut kinds: Vec<_> = choices
            .iter()
            .filter(|it| it["type"] != "null")
            .map(kind)
            .collect();
        kinds.dedup();
        return kinds.join(" or ");
    }
    if let Some(value) = field["const"].as_str() {
        return format!("`{value}`");
    }
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
        return format!("`{}`", values.join("`, `"));
    }
    match main_type(field) {
        "array" => format!("list of {}", plural(&kind(&field["items"]))),
        "object" => match field["properties"].as_object() {
            Some(properties) => only_key(properties),
            None => format!("map of {}", plural(&kind(&field["additionalProperties"]))),
        },
        "integer" => "number".to_owned(),
        "string" => "text".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        other => other.to_owned(),
    }
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

fn linked(reference: &str) -> String {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    let title = title(name);
    let anchor = title.to_lowercase().replace(' ', "-");
    format!("[{}](#{anchor})", title.to_lowercase())
}
