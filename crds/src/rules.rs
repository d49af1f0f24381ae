//! CEL rules of the schemas (`x-kubernetes-validations`), evaluated as an API server does; and which
//! rules of people are accepted.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::tz::TimeZoneDatabase;
use placet_model::{PublicKey, visible};
use placet_rules::{Rule, RuleError, Variable};
use serde_json::Value;

use crate::fault::{Finding, Step};

/// Every rule of every schema, compiled once.
static COMPILED: LazyLock<BTreeMap<String, Result<Rule, RuleError>>> = LazyLock::new(|| {
    let mut rules = BTreeMap::new();
    for kind in crate::kinds() {
        collect(&kind.schema, &mut rules);
    }
    rules
});

fn collect(schema: &Value, rules: &mut BTreeMap<String, Result<Rule, RuleError>>) {
    for rule in validations(schema) {
        if let Some(source) = rule["rule"].as_str()
            && !rules.contains_key(source)
        {
            rules.insert(source.to_owned(), Rule::new(source));
        }
    }
    let inner = schema["properties"].as_object().into_iter();
    inner
        .flat_map(|it| it.values())
        .for_each(|it| collect(it, rules));
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(keyword) {
            collect(inner, rules);
        }
    }
}

fn validations(schema: &Value) -> impl Iterator<Item = &Value> {
    schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
}

/// Everything in `value` that breaks a rule of `schema`. Transition rules are evaluated where
/// there is an old value to compare with, as an API server does.
pub(crate) fn broken(schema: &Value, value: &Value, old: Option<&Value>) -> Vec<Finding> {
    let mut findings = Vec::new();
    walk(schema, value, old, &mut Vec::new(), &mut findings);
    findings
}

fn walk(
    schema: &Value,
    value: &Value,
    old: Option<&Value>,
    path: &mut Vec<Step>,
    findings: &mut Vec<Finding>,
) {
    for validation in validations(schema) {
        let source = validation["rule"].as_str().unwrap_or_default();
        let outcome = match COMPILED.get(source) {
            Some(Ok(rule)) => holds(rule, value, old),
            Some(Err(error)) => Err(error.clone()),
            None => Err(RuleError::Failed("it is unknown".to_owned())),
        };
        let message = validation["message"].as_str().unwrap_or(source);
        match outcome {
            Ok(true) => {}
            Ok(false) => findings.push(Finding::new(path, message)),
            Err(error) => findings.push(Finding::new(path, format!("{message} ({error})"))),
        }
    }
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let schema = match &schema["properties"][key] {
                    Value::Null => &schema["additionalProperties"],
                    schema => schema,
                };
                let old = old.and_then(|old| old.get(key));
                path.push(Step::Key(key.clone()));
                walk(schema, inner, old, path, findings);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                let old = old.and_then(|old| counterpart(schema, old, inner));
                path.push(Step::Index(index));
                walk(&schema["items"], inner, old, path, findings);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Whether a rule holds for `value`, which was `old` before.
fn holds(rule: &Rule, value: &Value, old: Option<&Value>) -> Result<bool, RuleError> {
    let now = Variable::of_json("self", value);
    match old {
        None if rule.uses("oldSelf") => Ok(true),
        None => rule.holds(&[&now]),
        Some(old) => rule.holds(&[&now, &Variable::of_json("oldSelf", old)]),
    }
}

/// The entry of `old` with the keys of `item`, for lists that are maps; there is none otherwise.
fn counterpart<'a>(schema: &Value, old: &'a Value, item: &Value) -> Option<&'a Value> {
    let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
    old.as_array()?.iter().find(|before| {
        keys.iter()
            .filter_map(Value::as_str)
            .all(|key| before.get(key) == item.get(key))
    })
}

/// What rules of people may look at.
const RULE_VARIABLES: [&str; 2] = ["node", "change"];

/// What people wrote into a resource and no schema can tell: rules that do not keep the limits, time
/// zones that there are not, and keys that are none.
pub(crate) fn unacceptable(kind: &str, value: &Value) -> Vec<Finding> {
    match kind {
        "NodeClass" => [bad_rules(value), bad_image_keys(value)].concat(),
        "PackageSet" => bad_keys(&value["spec"], &[Step::Key("spec".to_owned())]),
        _ => Vec::new(),
    }
}

fn bad_rules(value: &Value) -> Vec<Finding> {
    let mut findings = unknown_zones(value);
    let rules = value["spec"]["vetoRules"].as_array();
    let rules = rules.into_iter().flatten().enumerate();
    findings.extend(rules.filter_map(|(index, rule)| {
        let error = Rule::with_variables(rule["rule"].as_str()?, &RULE_VARIABLES).err()?;
        let path = place(&["spec", "vetoRules"], index, "rule");
        Some(Finding::new(&path, visible(&error.to_string()).to_string()))
    }));
    findings
}

/// Keys of boot images that none could be verified with.
fn bad_image_keys(value: &Value) -> Vec<Finding> {
    let images = value["spec"]["bootImages"].as_array();
    let images = images.into_iter().flatten().enumerate();
    let findings = images.flat_map(|(index, image)| {
        let keys = ["spec", "bootImages"].map(|key| Step::Key(key.to_owned()));
        let path: Vec<_> = keys.into_iter().chain([Step::Index(index)]).collect();
        bad_keys(image, &path)
    });
    findings.collect()
}

/// Keys that no package could be verified with, of what stands at `place`.
fn bad_keys(value: &Value, place: &[Step]) -> Vec<Finding> {
    let keys = value["keys"].as_array();
    let keys = keys.into_iter().flatten().enumerate();
    keys.filter_map(|(index, key)| {
        let error = key.as_str()?.parse::<PublicKey>().err()?;
        let last = [Step::Key("keys".to_owned()), Step::Index(index)];
        let path = [place, &last].concat();
        Some(Finding::new(&path, error.to_string()))
    })
    .collect()
}

fn place(list: &[&str], index: usize, field: &str) -> Vec<Step> {
    let keys = list.iter().map(|key| Step::Key((*key).to_owned()));
    keys.chain([Step::Index(index), Step::Key(field.to_owned())])
        .collect()
}

/// Windows whose time zone is not in the database that is built in.
fn unknown_zones(value: &Value) -> Vec<Finding> {
    let windows = value["spec"]["strategy"]["windows"].as_array();
    let windows = windows.into_iter().flatten().enumerate();
    windows
        .filter_map(|(index, window)| {
            let zone = window["timeZone"].as_str()?;
            TimeZoneDatabase::bundled().get(zone).err()?;
            let path = place(&["spec", "strategy", "windows"], index, "timeZone");
            let message = format!(
                "there is no time zone `{}`; name one as in the time zone database, as `Europe/Stockholm` or `UTC`",
                visible(zone)
            );
            Some(Finding::new(&path, message))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::COMPILED;

    #[test]
    fn every_rule_of_the_schemas_compiles() {
        assert!(COMPILED.len() >= 8, "{}", COMPILED.len());
        for (source, rule) in COMPILED.iter() {
            assert!(rule.is_ok(), "{source}: {rule:?}");
        }
    }
}
