//! A value against a structural schema: unknown and missing fields, types, values and bounds.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};

use placet_model::visible;
use regex::Regex;
use serde_json::{Map, Value};

use crate::fault::{Finding, Step, list, nearest};

/// More findings than this help nobody and cost memory.
const FINDINGS_MAX: usize = 200;

/// Everything in `value` that `schema` does not allow.
pub(crate) fn check(schema: &Value, value: &Value) -> Vec<Finding> {
    let mut check = Check {
        path: Vec::new(),
        findings: Vec::new(),
    };
    check.value(schema, value);
    check.findings
}

struct Check {
    path: Vec<Step>,
    findings: Vec<Finding>,
}

impl Check {
    fn say(&mut self, message: impl Into<String>) {
        if !self.is_full() {
            self.findings.push(Finding::new(&self.path, message));
        }
    }

    fn within(&mut self, step: Step, then: impl FnOnce(&mut Self)) {
        self.path.push(step);
        then(self);
        self.path.pop();
    }

    fn is_full(&self) -> bool {
        self.findings.len() >= FINDINGS_MAX
    }

    fn value(&mut self, schema: &Value, value: &Value) {
        // Below a value whose unknown fields are kept there is no schema.
        if schema.is_null() || self.is_full() {
            return;
        }
        let wanted = schema["type"].as_str().unwrap_or_default();
        if !is_a(wanted, value) {
            self.say(wrong_type(wanted, value, schema));
            return;
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            self.say(not_allowed(allowed, value));
            return;
        }
        match value {
            Value::Object(map) => self.object(schema, map),
            Value::Array(items) => self.array(schema, items),
            Value::String(text) => self.text(schema, text),
            Value::Number(_) => self.number(schema, value),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn object(&mut self, schema: &Value, map: &Map<String, Value>) {
        let properties = schema["properties"].as_object();
        for (key, value) in map {
            if self.is_full() {
                return;
            }
            let inner = properties
                .and_then(|properties| properties.get(key))
                .or_else(|| {
                    schema
                        .get("additionalProperties")
                        .filter(|it| it.is_object())
                });
            self.within(Step::Key(key.clone()), |check| match inner {
                Some(inner) => check.value(inner, value),
                None if keeps_unknown(schema) => {}
                None => check.say(unknown(key, properties)),
            });
        }
        for name in texts(&schema["required"]) {
            if !map.contains_key(name) {
                let hint = hint(&schema["properties"][name]);
                self.within(Step::Key(name.to_owned()), |check| {
                    check.say(format!("this field is required and missing{hint}"));
                });
            }
        }
        self.count(
            schema,
            ["minProperties", "maxProperties"],
            map.len(),
            "entries",
        );
        if let Some(variants) = schema["oneOf"].as_array() {
            self.one_of(variants, map);
        }
    }

    /// What is left of an enum with data: each variant requires its own field.
    fn one_of(&mut self, variants: &[Value], map: &Map<String, Value>) {
        let fits =
            |variant: &&Value| texts(&variant["required"]).all(|name| map.contains_key(name));
        if variants.iter().filter(fits).count() != 1 {
            let names = variants
                .iter()
                .flat_map(|variant| texts(&variant["required"]));
            self.say(format!("exactly one of {} is set here", list(names)));
        }
    }

    fn array(&mut self, schema: &Value, items: &[Value]) {
        self.count(schema, ["minItems", "maxItems"], items.len(), "entries");
        for (index, item) in items.iter().enumerate() {
            self.within(Step::Index(index), |check| {
                check.value(&schema["items"], item);
            });
        }
        if schema["x-kubernetes-list-type"] == "map" {
            self.distinct(schema, items);
        }
    }

    /// A list that is a map has each of its keys once.
    fn distinct(&mut self, schema: &Value, items: &[Value]) {
        let mut seen = HashSet::new();
        for (index, item) in items.iter().enumerate() {
            let key: Vec<String> = texts(&schema["x-kubernetes-list-map-keys"])
                .map(|name| item[name].as_str().unwrap_or_default().to_owned())
                .collect();
            let shown = key.join("/");
            if !seen.insert(key) {
                self.within(Step::Index(index), |check| {
                    check.say(format!(
                        "`{}` stands in the list already; remove one of the two",
                        visible(&shown)
                    ));
                });
            }
        }
    }

    fn text(&mut self, schema: &Value, text: &str) {
        let length = text.chars().count();
        let said = self.findings.len();
        self.count(schema, ["minLength", "maxLength"], length, "characters");
        if let Some(pattern) = schema["pattern"].as_str()
            && said == self.findings.len()
            && !matches(pattern, text)
        {
            self.say(wrong_form(pattern, text, schema));
        }
        if schema["format"] == "date-time" && text.parse::<jiff::Timestamp>().is_err() {
            self.say(format!(
                "`{}` is not a time; expected one as in 2026-01-31T12:00:00Z",
                visible(text)
            ));
        }
    }

    fn number(&mut self, schema: &Value, value: &Value) {
        let number = value.as_f64().unwrap_or_default();
        let bound = |name: &str| schema[name].as_f64();
        let low = bound("minimum").is_some_and(|least| number < least);
        let high = bound("maximum").is_some_and(|most| number > most);
        if low || high {
            let side = |name: &str, word: &str| {
                let bound = &schema[name];
                (!bound.is_null()).then(|| format!("{word} {bound}"))
            };
            let expected: Vec<String> = [side("minimum", "at least"), side("maximum", "at most")]
                .into_iter()
                .flatten()
                .collect();
            let expected = expected.join(" and ");
            self.say(format!(
                "{value} is out of bounds; expected {expected}{}",
                hint(schema)
            ));
        }
    }

    fn count(&mut self, schema: &Value, [least, most]: [&str; 2], count: usize, what: &str) {
        let bound = |name: &str| {
            schema[name]
                .as_u64()
                .and_then(|it| usize::try_from(it).ok())
        };
        if let Some(least) = bound(least)
            && count < least
        {
            self.say(format!(
                "{count} {what}; at least {least} are needed{}",
                hint(schema)
            ));
        }
        if let Some(most) = bound(most)
            && count > most
        {
            self.say(format!(
                "{count} {what}; at most {most} are allowed{}",
                hint(schema)
            ));
        }
    }
}

fn keeps_unknown(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true
}

fn is_a(wanted: &str, value: &Value) -> bool {
    match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

fn wrong_type(wanted: &str, value: &Value, schema: &Value) -> String {
    let expected = match wanted {
        "object" => "fields (`name: value`)",
        "array" => "a list (`- entry`)",
        "string" => "text",
        "boolean" => "`true` or `false`",
        "integer" => "a whole number",
        _ => "a number",
    };
    let found = match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
        Value::String(text) => format!("the text `{}`", visible(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "fields".to_owned(),
    };
    let advice = match (wanted, value) {
        ("string", Value::Bool(_) | Value::Number(_)) => "; put it in quotes",
        ("integer" | "boolean" | "number", Value::String(_)) => "; write it without quotes",
        _ => "",
    };
    format!("expected {expected}, found {found}{advice}{}", hint(schema))
}

/// The documentation says it better than a regular expression; where there is none, that has to do.
fn wrong_form(pattern: &str, text: &str, schema: &Value) -> String {
    let hint = hint(schema);
    let text = visible(text);
    if hint.is_empty() {
        format!("`{text}` is not of the form `{pattern}`")
    } else {
        format!("`{text}` is not what is expected here{hint}")
    }
}

fn not_allowed(allowed: &[Value], value: &Value) -> String {
    let found = value.as_str().unwrap_or_default();
    let allowed = || allowed.iter().filter_map(Value::as_str);
    let meant = nearest(found, allowed())
        .map(|word| format!("; did you mean `{word}`?"))
        .unwrap_or_default();
    format!(
        "`{}` is not one of {}{meant}",
        visible(found),
        list(allowed())
    )
}

fn unknown(key: &str, properties: Option<&Map<String, Value>>) -> String {
    let known = || {
        properties
            .into_iter()
            .flat_map(|it| it.keys().map(String::as_str))
    };
    let key_shown = visible(key);
    match nearest(key, known()) {
        Some(word) => format!("unknown field `{key_shown}`; did you mean `{word}`?"),
        None => format!(
            "unknown field `{key_shown}`; remove it. Known here: {}",
            list(known())
        ),
    }
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// The first sentence of the field's documentation.
fn hint(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let sentence = paragraph
        .split_once(". ")
        .map_or(paragraph, |(first, _)| first);
    if sentence.is_empty() {
        String::new()
    } else {
        format!(" ({})", sentence.trim_end_matches('.'))
    }
}

/// True if `pattern` is found in `text`. Patterns come from the schemas, so their number is small.
fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(regex) = compiled.get(pattern) {
        return regex.is_match(text);
    }
    let regex = Regex::new(pattern).expect("a test compiles every pattern of the schemas");
    let fits = regex.is_match(text);
    compiled.insert(pattern.to_owned(), regex);
    fits
}
