//! The effect as SARIF 2.1.0 (OASIS), which hosts of git show beside the lines of a change.

use std::fmt::Write as _;

use placet_model::visible;
use serde_json::{Value, json};

use super::findings::{Finding, Level, RULES, findings};
use super::result;
use crate::effect::{Effect, Outcome};
use crate::place::Place;

/// The schema that the report follows.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// The root of the repository, which paths are relative to.
const ROOT: &str = "SRCROOT";

/// One run with a result for each finding. One that the older revision has too is `unchanged`, any
/// other `new`.
#[expect(
    clippy::missing_panics_doc,
    reason = "a JSON value serialises to JSON, and writing to a string does not fail"
)]
pub fn sarif(effect: &Effect) -> String {
    let rules = RULES.map(|(id, about)| {
        json!({"id": id, "shortDescription": {"text": about}, "fullDescription": {"text": about}})
    });
    let results: Vec<_> = findings(effect).iter().map(one).collect();
    let document = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "placet check",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "automationDetails": {"id": "placet/check/"},
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": effect.outcome != Outcome::Unknown,
                "exitCode": effect.outcome.exit_code(),
                "toolExecutionNotifications": [{
                    "level": "note",
                    "message": {"text": result(effect)},
                }],
            }],
            "properties": {"from": visible(&effect.from).to_string(), "to": visible(&effect.to).to_string()},
            "results": results,
        }],
    });
    let mut text = serde_json::to_string_pretty(&document).expect("a JSON value is JSON");
    text.push('\n');
    text
}

fn one(finding: &Finding<'_>) -> Value {
    let mut result = json!({
        "ruleId": finding.rule,
        "level": match finding.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "note",
        },
        "message": {"text": finding.message},
        "baselineState": if finding.is_old { "unchanged" } else { "new" },
    });
    let mut places = finding.places.iter().filter_map(location);
    if let Some(first) = places.next() {
        result["locations"] = json!([first]);
        let related: Vec<_> = places.collect();
        if !related.is_empty() {
            result["relatedLocations"] = Value::from(related);
        }
    }
    result
}

fn location(place: &Place) -> Option<Value> {
    let file = place.file.as_ref()?;
    let mut physical = json!({
        "artifactLocation": {"uri": percent_encoded(file), "uriBaseId": ROOT},
    });
    if let Some(line) = place.line {
        physical["region"] = json!({"startLine": line});
        if let Some(column) = place.column {
            physical["region"]["startColumn"] = column.into();
        }
    }
    let name = format!("{} {}", place.resource, place.field);
    Some(json!({
        "physicalLocation": physical,
        "logicalLocations": [{"fullyQualifiedName": name}],
    }))
}

/// A path as a relative URI reference (RFC 3986, section 4.2).
fn percent_encoded(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            write!(uri, "%{byte:02X}").expect("writing to a string does not fail");
        }
    }
    uri
}
