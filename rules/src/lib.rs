//! CEL rules, and the limits within which any rule is accepted: those of the schemas
//! (`x-kubernetes-validations`) and those that people declare with a class.
//!
//! **Invariant:** whatever the source and the values, a rule costs bounded time and memory, and
//! neither it nor its limits can be made to panic or to exhaust the stack: what goes too far is
//! refused when it is declared ([`Rule::new`]) or before it is evaluated ([`Rule::holds`]).

mod limits;

use std::collections::HashMap;

use cel::objects::{Key, Map as CelMap};
use cel::parser::{Expression, Parser};
use cel::{Context, Value as Cel};
use serde::Serialize;
use serde_json::Value;

/// The longest rule, in bytes.
const SOURCE_MAX: usize = 4_096;
/// How deep a rule may nest as it is written.
const NESTING_MAX: u16 = 32;
/// How deep comprehensions (`all`, `exists`, `filter`, `map`) may nest: each multiplies the cost by
/// the size of a list.
const COMPREHENSIONS_MAX: usize = 2;
/// The largest estimated number of steps of one evaluation.
const COST_MAX: u64 = 1_000_000;
/// How deep the expression may be once macros are expanded and chains (`a + b + c`) are nested:
/// it is evaluated on the stack of whoever asks.
const DEPTH_MAX: usize = 96;
/// What the parser may use. Its recursion is deeper than that of the expression by far.
const PARSER_STACK: usize = 16 << 20;

/// Why a rule is not accepted, or could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It is too long.
    #[error("the rule has {0} bytes; at most {SOURCE_MAX} are allowed")]
    TooLong(usize),
    /// It is no expression, or nests too deep.
    #[error("the rule is not a CEL expression of at most {NESTING_MAX} levels: {0}")]
    Syntax(String),
    /// It negates what it negates.
    #[error("the rule holds `{0}{0}`; leave both out")]
    Doubled(char),
    /// Its expression is too deep.
    #[error("the rule chains or nests more than {DEPTH_MAX} operations; divide it into several")]
    Depth,
    /// Its comprehensions nest too deep.
    #[error("the rule nests comprehensions deeper than {COMPREHENSIONS_MAX}")]
    Comprehensions,
    /// It names something that there is not.
    #[error("the rule uses `{name}`, which is not known here; known are {known}")]
    Unknown {
        /// The variable.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// It could take too long with the values at hand.
    #[error("the rule would take more than {COST_MAX} steps")]
    Cost,
    /// Something in it failed, as the use of a field that is not there.
    #[error("the rule could not be evaluated: {0}")]
    Failed(String),
    /// Its value is neither true nor false.
    #[error("the rule gives no truth value")]
    NotBoolean,
}

/// A rule that keeps the limits.
#[derive(Debug, Clone)]
pub struct Rule(Expression);

/// A value by the name that rules know it by.
#[derive(Debug, Clone)]
pub struct Variable {
    name: &'static str,
    value: Cel,
    widest: u64,
}

impl Variable {
    /// The value that `it` serialises to; what cannot be serialised to JSON is null.
    pub fn new(name: &'static str, it: &impl Serialize) -> Self {
        let value = serde_json::to_value(it).unwrap_or_default();
        Self::of_json(name, &value)
    }

    /// A value that is JSON already.
    pub fn of_json(name: &'static str, value: &Value) -> Self {
        Self {
            name,
            value: to_cel(value),
            widest: limits::widest(value),
        }
    }
}

impl Rule {
    /// Accepts a rule that keeps the limits.
    pub fn new(source: &str) -> Result<Self, RuleError> {
        if source.len() > SOURCE_MAX {
            return Err(RuleError::TooLong(source.len()));
        }
        // The parser takes `!!a` for `!a`, and `--a` for `-a`.
        if let Some(sign) = limits::doubled(source) {
            return Err(RuleError::Doubled(sign));
        }
        parse(source.to_owned()).map(Self)
    }

    /// As [`Rule::new`], if the rule names no variables but `known`, its own apart.
    pub fn with_variables(source: &str, known: &[&str]) -> Result<Self, RuleError> {
        let rule = Self::new(source)?;
        match limits::unknown(&rule.0, known) {
            None => Ok(rule),
            Some(name) => Err(RuleError::Unknown {
                name,
                known: known.join(" and "),
            }),
        }
    }

    /// Whether it names the variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.0.references().has_variable(variable)
    }

    /// Whether the rule holds for `variables`.
    pub fn holds(&self, variables: &[&Variable]) -> Result<bool, RuleError> {
        let widest = variables.iter().map(|it| it.widest).max().unwrap_or(0);
        if limits::cost(&self.0, widest) > COST_MAX {
            return Err(RuleError::Cost);
        }
        let mut context = Context::default();
        for variable in variables {
            context.add_variable_from_value(variable.name, variable.value.clone());
        }
        match Cel::resolve(&self.0, &context) {
            Ok(Cel::Bool(holds)) => Ok(holds),
            Ok(_) => Err(RuleError::NotBoolean),
            Err(error) => Err(RuleError::Failed(error.to_string())),
        }
    }
}

/// Parses on a thread of its own, whose stack is large enough and whose end ends nobody else. What
/// is too deep for other stacks is dropped there too.
fn parse(source: String) -> Result<Expression, RuleError> {
    std::thread::Builder::new()
        .name("cel".to_owned())
        .stack_size(PARSER_STACK)
        .spawn(move || {
            let parser = Parser::new().max_recursion_depth(NESTING_MAX);
            let expression = parser.parse(&source).map_err(|errors| {
                let text = errors.to_string();
                RuleError::Syntax(text.lines().next().unwrap_or_default().to_owned())
            })?;
            if limits::depth(&expression) > DEPTH_MAX {
                return Err(RuleError::Depth);
            }
            if limits::comprehensions(&expression) > COMPREHENSIONS_MAX {
                return Err(RuleError::Comprehensions);
            }
            Ok(expression)
        })
        .map_err(|error| RuleError::Failed(error.to_string()))?
        .join()
        .unwrap_or_else(|_| Err(RuleError::Syntax("the parser gave up".to_owned())))
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

#[cfg(test)]
mod tests;
