//! The effect for programs.

use serde::Serialize;

use crate::effect::Effect;

/// Names the shape of the JSON report; a change that readers could trip over gives it another
/// number.
pub const SCHEMA: &str = "placet.dev/check/v1";

/// The effect as JSON, described in `docs/check.md`.
#[expect(
    clippy::missing_panics_doc,
    reason = "effects have nothing that JSON cannot hold"
)]
pub fn json(effect: &Effect) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: &'static str,
        #[serde(flatten)]
        effect: &'a Effect,
    }
    let document = Document {
        schema: SCHEMA,
        effect,
    };
    let mut text = serde_json::to_string_pretty(&document).expect("effects serialise to JSON");
    text.push('\n');
    text
}
