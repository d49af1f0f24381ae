//! YAML as JSON values with the place of every value, within limits.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_yaml::budget::BudgetBreach;
use serde_yaml::{Error, Location, Spanned, UserMessageFormatter};

use crate::fault::Step;

/// One document of a file.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// Where a value stands, and where those inside it do.
#[derive(Debug, Default)]
pub(crate) struct Place {
    line: usize,
    column: usize,
    keys: BTreeMap<String, Self>,
    items: Vec<Self>,
}

/// What the parser says of a text that is no YAML, or is beyond the limits.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) place: Option<(usize, usize)>,
    pub(crate) message: String,
}

impl Place {
    fn at(location: Location) -> Self {
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            line: number(location.line()),
            column: number(location.column()),
            ..Self::default()
        }
    }

    /// The place of the value at `path`, or of the innermost value around it that exists.
    pub(crate) fn find(&self, path: &[Step]) -> (usize, usize) {
        let inner = path.split_first().and_then(|(step, rest)| {
            let place = match step {
                Step::Key(key) => self.keys.get(key),
                Step::Index(index) => self.items.get(*index),
            };
            place.map(|place| place.find(rest))
        });
        inner.unwrap_or((self.line, self.column))
    }
}

/// Reads all documents of `text`; empty ones are left out.
pub(crate) fn read(text: &str) -> Result<Vec<Document>, Unreadable> {
    let documents: Vec<Spanned<Node>> = serde_yaml::from_multiple_with_options(text, options())
        .map_err(|error| Unreadable {
            place: error
                .location()
                .map(Place::at)
                .filter(|place| place.line > 0)
                .map(|place| (place.line, place.column)),
            message: explain(&error),
        })?;
    Ok(documents
        .into_iter()
        .map(|document| {
            let (value, place) = split(document);
            Document { value, place }
        })
        .collect())
}

/// What is wrong and what to do, without the place, which is told apart.
fn explain(error: &Error) -> String {
    match error.without_snippet() {
        Error::AliasError { error, .. } => explain(error),
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            format!("aliases repeat more than {REPEATED_MAX} values; write the values out instead")
        }
        Error::Budget {
            breach: BudgetBreach::Depth { .. },
            ..
        } => format!("nested deeper than {DEPTH_MAX} levels; no resource needs that"),
        Error::Budget {
            breach: BudgetBreach::Documents { .. },
            ..
        } => format!("more than {DOCUMENTS_MAX} documents; split the file"),
        Error::Budget { .. } => {
            format!("more than {VALUES_MAX} values, or too many aliases; split the file")
        }
        error => {
            let text = error.render_with_formatter(&UserMessageFormatter);
            let text = text.split(" at line ").next().unwrap_or_default();
            format!("this YAML cannot be read: {text}")
        }
    }
}

/// How deep a file may nest.
const DEPTH_MAX: usize = 32;
/// How many values a file may hold.
const VALUES_MAX: usize = 50_000;
/// How many documents a file may hold: more than fit into its size.
const DOCUMENTS_MAX: usize = 20_000;
/// How many values aliases may repeat in all.
const REPEATED_MAX: usize = 10_000;

/// Limits far above what people write and far below what hurts.
pub(crate) fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: VALUES_MAX,
            max_events: 3 * VALUES_MAX,
            max_documents: DOCUMENTS_MAX,
            max_anchors: 1_000,
            max_aliases: 1_000,
            max_merge_keys: 1_000,
            max_recorded_anchor_events: VALUES_MAX,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: REPEATED_MAX,
            max_replay_stack_depth: 16,
            max_alias_expansions_per_anchor: 1_000,
        },
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// A YAML value of any kind.
#[derive(Debug)]
enum Node {
    Scalar(Value),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

/// Parts a value from its places. A field stands where its key does.
fn split(node: Spanned<Node>) -> (Value, Place) {
    let mut place = Place::at(node.referenced);
    let value = match node.value {
        Node::Scalar(value) => value,
        Node::List(items) => {
            let (values, places) = items.into_iter().map(split).unzip();
            place.items = places;
            Value::Array(values)
        }
        Node::Map(entries) => {
            let mut map = Map::new();
            for (key, node) in entries {
                let key_place = Place::at(key.referenced);
                let (value, mut inner) = split(node);
                if key_place.line > 0 {
                    (inner.line, inner.column) = (key_place.line, key_place.column);
                }
                place.keys.insert(key.value.clone(), inner);
                map.insert(key.value, value);
            }
            Value::Object(map)
        }
    };
    (value, place)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true, false, a list or fields")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries: Vec<(Spanned<String>, Spanned<Node>)> = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        // Keys that the parser tells apart may be equal as text (`1` and `"1"`).
        let mut keys: Vec<&str> = entries.iter().map(|(key, _)| key.value.as_str()).collect();
        keys.sort_unstable();
        if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            let key = placet_model::visible(pair[0]);
            return Err(de::Error::custom(format!("the key `{key}` stands twice")));
        }
        Ok(Node::Map(entries))
    }
}
