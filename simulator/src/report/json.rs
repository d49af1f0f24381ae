//! The effect for programs.

use serde::Serialize;

use crate::effect::Effect;

/// Names the shape of the JSON report; a change that readers could trip over gives it another
/// number.
pub const SCHEMA: &str = "placet.dev/check/v1";

/// Where the JSON Schema of the report is published.
#[cfg(feature = "schema")]
const SCHEMA_ID: &str = "https://placet.dev/docs/check.schema.json";

#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Report"))]
struct Document<'a> {
    /// `placet.dev/check/v1`.
    schema: &'static str,
    #[serde(flatten)]
    effect: &'a Effect,
}

/// The JSON Schema of the report, as it is published.
#[cfg(feature = "schema")]
pub(crate) fn schema() -> String {
    published::<Document<'_>>("The report of `placet check -o json`", SCHEMA, SCHEMA_ID)
}

/// The JSON Schema of a document whose member `schema` is `version`.
#[cfg(feature = "schema")]
pub(crate) fn published<T: schemars::JsonSchema>(title: &str, version: &str, id: &str) -> String {
    let mut schema = schemars::schema_for!(T);
    schema.insert("$id".to_owned(), id.into());
    schema.insert("title".to_owned(), title.into());
    let constant = serde_json::json!({"type": "string", "const": version});
    if let Some(properties) = schema
        .get_mut("properties")
        .and_then(|it| it.as_object_mut())
    {
        properties.insert("schema".to_owned(), constant);
    }
    format!("{:#}\n", schema.as_value())
}

/// The effect as JSON, described in `docs/check.md`.
#[expect(
    clippy::missing_panics_doc,
    reason = "effects have nothing that JSON cannot hold"
)]
pub fn json(effect: &Effect) -> String {
    let document = Document {
        schema: SCHEMA,
        effect,
    };
    let mut text = serde_json::to_string_pretty(&document).expect("effects serialise to JSON");
    text.push('\n');
    text
}
