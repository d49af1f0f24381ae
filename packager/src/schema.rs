//! JSON Schema of the package file, for editors.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::file::PackageFile;
use crate::glob::{Glob, Globs};
use crate::variable::VariableName;

/// The JSON Schema (draft 2020-12) of `package.yaml`.
///
/// It describes what the reader accepts, one field at a time; what two fields say against each other
/// is found by the build alone.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(AsRead);
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<PackageFile>();
    schema.insert("title".to_owned(), json!("Placet package file"));
    schema.to_value()
}

/// Brings the schema of Rust's types to what the reader does with YAML.
#[derive(Debug, Clone)]
struct AsRead;

impl Transform for AsRead {
    fn transform(&mut self, schema: &mut Schema) {
        // What is said twice in a set is there once.
        schema.remove("uniqueItems");
        let bounds = match schema.get("format").and_then(Value::as_str) {
            Some("int32") => Some((json!(i32::MIN), json!(i32::MAX))),
            Some("uint32") => Some((json!(0), json!(u32::MAX))),
            _ => None,
        };
        if let Some((least, most)) = bounds {
            schema.ensure_object().entry("minimum").or_insert(least);
            schema.insert("maximum".to_owned(), most);
        }
        schema.remove("format");
        transform_subschemas(self, schema);
    }
}

/// Versions: semantic ones, Debian's and RPM's.
pub(crate) fn version(_: &mut SchemaGenerator) -> Schema {
    let number = r"(0|[1-9]\d*)";
    let part = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)";
    let build = "[0-9a-zA-Z-]+";
    let semantic =
        format!(r"{number}\.{number}\.{number}(-{part}(\.{part})*)?(\+{build}(\.{build})*)?");
    json_schema!({"type": "string", "pattern": format!("^({semantic}|deb:{DEBIAN}|rpm:{RPM})$")})
}

/// Ranges of versions: comparators with commas between them.
pub(crate) fn version_range(_: &mut SchemaGenerator) -> Schema {
    let number = r"(0|[1-9]\d*)";
    let rest = r"(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?";
    let semantic = format!(r"(=|>|>=|<|<=|~|\^)? *{number}(\.({number}|[*xX])){{0,2}}{rest}");
    let debian = format!(r"(<<|<=|=|>=|>>) *{DEBIAN}");
    let rpm = format!(r"(<|<=|=|>=|>) *{RPM}");
    let list = |one: &str| format!(r" *(\*|{one}( *, *{one})*) *");
    let (semantic, debian, rpm) = (list(&semantic), list(&debian), list(&rpm));
    json_schema!({"type": "string", "pattern": format!("^({semantic}|deb:{debian}|rpm:{rpm})$")})
}

const DEBIAN: &str = r"([0-9]+:)?[A-Za-z0-9][A-Za-z0-9.+~:-]*";
const RPM: &str = r"([0-9]+:)?[A-Za-z0-9._+~^]+(-[A-Za-z0-9._+~^]+)?";

impl JsonSchema for Glob {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Glob".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1, "maxLength": 1024})
    }
}

impl JsonSchema for Globs {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Globs".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let glob = generator.subschema_for::<Glob>();
        json_schema!({"anyOf": [glob, {"type": "array", "items": glob, "minItems": 1}]})
    }
}

impl JsonSchema for VariableName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "VariableName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 128,
            "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
            "not": {"enum": ["SOURCE_DATE_EPOCH", "PWD"]},
        })
    }
}
