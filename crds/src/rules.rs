//! CEL rules: those of the schemas (`x-kubernetes-validations`), evaluated as an API server does,
//! and the limits within which any rule is accepted.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr};
use cel::objects::{Key, Map as CelMap};
use cel::parser::{Expression, Parser};
use cel::{Context, Value as Cel};
use jiff::tz::TimeZoneDatabase;
use placet_model::visible;
use serde_json::Value;

use crate::fault::{Finding, Step};

/// The longest rule, in bytes.
const SOURCE_MAX: usize = 4_096;
/// How deep a rule may nest. Deep expressions cost the stack of whoever evaluates them.
const NESTING_MAX: u16 = 32;
/// How deep comprehensions (`all`, `exists`, `filter`, `map`) may nest: each multiplies the cost by
/// the size of a list.
const COMPREHENSIONS_MAX: usize = 2;
/// The largest estimated number of steps of one evaluation.
const COST_MAX: u64 = 1_000_000;
/// What the parser may use. Its recursion is deeper than that of the expression by far.
const PARSER_STACK: usize = 16 << 20;

/// Why a rule is not accepted, or could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleError {
    #[error("the rule has {0} bytes; at most {SOURCE_MAX} are allowed")]
    TooLong(usize),
    #[error("the rule is not a CEL expression of at most {NESTING_MAX} levels: {0}")]
    Syntax(String),
    #[error("the rule nests comprehensions deeper than {COMPREHENSIONS_MAX}")]
    Comprehensions,
    #[error("the rule would take more than {COST_MAX} steps")]
    Cost,
    #[error("the rule could not be evaluated: {0}")]
    Failed(String),
    #[error("the rule gives no truth value")]
    NotBoolean,
}

/// A rule that keeps the limits.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    expression: Expression,
    is_transition: bool,
}

impl Rule {
    pub(crate) fn new(source: &str) -> Result<Self, RuleError> {
        if source.len() > SOURCE_MAX {
            return Err(RuleError::TooLong(source.len()));
        }
        let expression = parse(source.to_owned())?;
        if comprehensions(&expression) > COMPREHENSIONS_MAX {
            return Err(RuleError::Comprehensions);
        }
        let is_transition = expression.references().has_variable("oldSelf");
        Ok(Self {
            expression,
            is_transition,
        })
    }

    /// Whether the rule holds for `value`, which was `old` before.
    fn holds(&self, value: &Value, old: Option<&Value>) -> Result<bool, RuleError> {
        let widest = widest(value).max(old.map_or(0, widest));
        if cost(&self.expression, widest) > COST_MAX {
            return Err(RuleError::Cost);
        }
        let mut context = Context::default();
        context.add_variable_from_value("self", to_cel(value));
        if let Some(old) = old {
            context.add_variable_from_value("oldSelf", to_cel(old));
        }
        match Cel::resolve(&self.expression, &context) {
            Ok(Cel::Bool(holds)) => Ok(holds),
            Ok(_) => Err(RuleError::NotBoolean),
            Err(error) => Err(RuleError::Failed(error.to_string())),
        }
    }
}

/// Parses on a thread of its own, whose stack is large enough and whose end ends nobody else.
fn parse(source: String) -> Result<Expression, RuleError> {
    std::thread::Builder::new()
        .name("cel".to_owned())
        .stack_size(PARSER_STACK)
        .spawn(move || {
            Parser::new()
                .max_recursion_depth(NESTING_MAX)
                .parse(&source)
                .map_err(|errors| {
                    let text = errors.to_string();
                    text.lines().next().unwrap_or_default().to_owned()
                })
        })
        .map_err(|error| RuleError::Failed(error.to_string()))?
        .join()
        .unwrap_or_else(|_| Err("the parser gave up".to_owned()))
        .map_err(RuleError::Syntax)
}

/// The expressions directly inside `expression`.
fn children(expression: &IdedExpr) -> Vec<&IdedExpr> {
    fn entry(entry: &IdedEntryExpr) -> Vec<&IdedExpr> {
        match &entry.expr {
            EntryExpr::StructField(field) => vec![&field.value],
            EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        }
    }
    match &expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect(),
        Expr::Comprehension(it) => vec![
            &it.iter_range,
            &it.accu_init,
            &it.loop_cond,
            &it.loop_step,
            &it.result,
        ],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(entry).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Struct(it) => it.entries.iter().flat_map(entry).collect(),
    }
}

fn comprehensions(expression: &IdedExpr) -> usize {
    let inner = children(expression)
        .into_iter()
        .map(comprehensions)
        .max()
        .unwrap_or(0);
    inner + usize::from(matches!(expression.expr, Expr::Comprehension(_)))
}

/// An upper bound of the steps of one evaluation if no list has more than `widest` entries.
fn cost(expression: &IdedExpr, widest: u64) -> u64 {
    let sum = |expressions: Vec<&IdedExpr>| {
        expressions
            .into_iter()
            .map(|inner| cost(inner, widest))
            .fold(1, u64::saturating_add)
    };
    match &expression.expr {
        Expr::Comprehension(it) => sum(vec![&it.iter_range, &it.accu_init, &it.result])
            .saturating_add(sum(vec![&it.loop_cond, &it.loop_step]).saturating_mul(widest.max(16))),
        _ => sum(children(expression)),
    }
}

/// The size of the largest list or map in `value`.
fn widest(value: &Value) -> u64 {
    let (size, inner) = match value {
        Value::Array(items) => (items.len(), items.iter().map(widest).max()),
        Value::Object(map) => (map.len(), map.values().map(widest).max()),
        _ => (0, None),
    };
    (size as u64).max(inner.unwrap_or(0))
}

/// As an API server gives values to rules: whole numbers are `int`.
fn to_cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => number
            .as_i64()
            .map(Cel::Int)
            .or_else(|| number.as_u64().map(Cel::UInt))
            .unwrap_or_else(|| Cel::Float(number.as_f64().unwrap_or_default())),
        Value::String(text) => Cel::String(text.clone().into()),
        Value::Array(items) => Cel::List(items.iter().map(to_cel).collect::<Vec<_>>().into()),
        Value::Object(map) => {
            let entries: HashMap<Key, Cel> = map
                .iter()
                .map(|(key, value)| (Key::String(key.clone().into()), to_cel(value)))
                .collect();
            Cel::Map(CelMap {
                map: entries.into(),
            })
        }
    }
}

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
            Some(Ok(rule)) if rule.is_transition && old.is_none() => Ok(true),
            Some(Ok(rule)) => rule.holds(value, old),
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

/// The entry of `old` with the keys of `item`, for lists that are maps; there is none otherwise.
fn counterpart<'a>(schema: &Value, old: &'a Value, item: &Value) -> Option<&'a Value> {
    let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
    old.as_array()?.iter().find(|before| {
        keys.iter()
            .filter_map(Value::as_str)
            .all(|key| before.get(key) == item.get(key))
    })
}

/// What people wrote into a resource and no schema can tell: rules that do not keep the limits, and
/// time zones that there are not.
pub(crate) fn unacceptable(kind: &str, value: &Value) -> Vec<Finding> {
    if kind != "NodeClass" {
        return Vec::new();
    }
    let mut findings = unknown_zones(value);
    let rules = value["spec"]["vetoRules"].as_array();
    let rules = rules.into_iter().flatten().enumerate();
    findings.extend(rules.filter_map(|(index, rule)| {
        let error = Rule::new(rule["rule"].as_str()?).err()?;
        let path = place(&["spec", "vetoRules"], index, "rule");
        Some(Finding::new(&path, visible(&error.to_string()).to_string()))
    }));
    findings
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
    use super::{COMPILED, Rule, RuleError, cost, to_cel, widest};
    use serde_json::json;

    #[test]
    fn every_rule_of_the_schemas_compiles() {
        assert!(COMPILED.len() >= 8, "{}", COMPILED.len());
        for (source, rule) in COMPILED.iter() {
            assert!(rule.is_ok(), "{source}: {rule:?}");
        }
    }

    #[test]
    fn rules_beyond_the_limits_are_refused() {
        let long = format!("self == '{}'", "x".repeat(4_096));
        assert!(matches!(Rule::new(&long), Err(RuleError::TooLong(_))));
        let deep = format!("{}true{}", "(".repeat(200), ")".repeat(200));
        assert!(matches!(Rule::new(&deep), Err(RuleError::Syntax(_))));
        assert!(matches!(Rule::new("self =="), Err(RuleError::Syntax(_))));
        let nested = "self.all(a, self.all(b, self.all(c, true)))";
        assert!(matches!(Rule::new(nested), Err(RuleError::Comprehensions)));

        let square = Rule::new("self.all(a, self.all(b, a != b || a == b))").unwrap();
        let few = json!(["a", "b"]);
        assert_eq!(square.holds(&few, None), Ok(true));
        let many = json!((0..5_000).collect::<Vec<_>>());
        assert_eq!(square.holds(&many, None), Err(RuleError::Cost));
        assert!(cost(&square.expression, widest(&few)) < cost(&square.expression, widest(&many)));
    }

    #[test]
    fn numbers_compare_as_at_an_api_server() {
        assert_eq!(to_cel(&json!(1)), cel::Value::Int(1));
        let rule = Rule::new("self.a == 1 && self.b >= self.a").unwrap();
        assert_eq!(rule.holds(&json!({"a": 1, "b": 2}), None), Ok(true));
        assert!(matches!(
            rule.holds(&json!({"a": 1}), None),
            Err(RuleError::Failed(_))
        ));
    }
}
