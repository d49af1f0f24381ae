//! What decision logic is asked, as one JSON document.

use std::collections::BTreeMap;

use placet_model::{ChangeSet, ModulePath, NodeDescription, ProcessChange};
use serde::Serialize;
use serde_json::Value;

/// The largest file that is handed to decision logic, in bytes.
pub const FILE_MOST: u64 = 256 << 10;

/// The version of the document; one that readers could trip over gets another number.
const VERSION: u32 = 1;

/// Contents of files by path; none for one that the node does not have.
pub(crate) type Files = BTreeMap<ModulePath, Option<String>>;

/// The input of a decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Question(Value);

impl Question {
    /// What `change` does to `process` of `node`.
    pub fn new(
        process: &ProcessChange,
        node: &NodeDescription,
        change: &ChangeSet,
        files: &BTreeMap<ModulePath, Option<String>>,
    ) -> Self {
        #[derive(Serialize)]
        struct Document<'a> {
            version: u32,
            process: &'a ProcessChange,
            node: &'a NodeDescription,
            change: &'a ChangeSet,
            files: &'a Files,
        }
        let document = Document {
            version: VERSION,
            process,
            node,
            change,
            files,
        };
        Self(serde_json::to_value(document).unwrap_or_default())
    }

    /// The value at a JSON pointer, as a module is given it.
    pub(crate) fn text(&self, pointer: &str) -> Option<String> {
        self.0.pointer(pointer).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }

    /// How many elements the list or object at a JSON pointer has.
    pub(crate) fn count(&self, pointer: &str) -> Option<usize> {
        match self.0.pointer(pointer)? {
            Value::Array(items) => Some(items.len()),
            Value::Object(fields) => Some(fields.len()),
            _ => None,
        }
    }
}
