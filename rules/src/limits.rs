//! What a rule may cost, found by looking at its expression.

use std::collections::BTreeSet;

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr};
use serde_json::Value;

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

pub(crate) fn depth(expression: &IdedExpr) -> usize {
    let inner = children(expression).into_iter().map(depth).max();
    1 + inner.unwrap_or(0)
}

pub(crate) fn comprehensions(expression: &IdedExpr) -> usize {
    let inner = children(expression)
        .into_iter()
        .map(comprehensions)
        .max()
        .unwrap_or(0);
    inner + usize::from(matches!(expression.expr, Expr::Comprehension(_)))
}

/// A variable that is neither `known` nor bound by a comprehension around it.
pub(crate) fn unknown(expression: &IdedExpr, known: &[&str]) -> Option<String> {
    let bound = known.iter().map(|name| (*name).to_owned()).collect();
    unbound(expression, &bound)
}

fn unbound(expression: &IdedExpr, bound: &BTreeSet<String>) -> Option<String> {
    match &expression.expr {
        Expr::Ident(name) => (!bound.contains(name)).then(|| name.clone()),
        Expr::Comprehension(it) => {
            let outside = [&it.iter_range, &it.accu_init];
            let found = outside.into_iter().find_map(|it| unbound(it, bound));
            found.or_else(|| {
                let mut bound = bound.clone();
                bound.extend([it.iter_var.clone(), it.accu_var.clone()]);
                bound.extend(it.iter_var2.clone());
                let inside = [&it.loop_cond, &it.loop_step, &it.result];
                inside.into_iter().find_map(|it| unbound(it, &bound))
            })
        }
        _ => children(expression)
            .into_iter()
            .find_map(|it| unbound(it, bound)),
    }
}

/// A sign that stands twice in a row, in front of something, outside of texts.
pub(crate) fn doubled(source: &str) -> Option<char> {
    let (mut quote, mut escaped, mut before) = (None, false, ' ');
    for character in source.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some(own) if character == own => quote = None,
            None if matches!(character, '!' | '-') && before == character => {
                return Some(character);
            }
            None if matches!(character, '\'' | '"') => quote = Some(character),
            Some(_) | None => {}
        }
        if !character.is_whitespace() {
            before = character;
        }
    }
    None
}

/// An upper bound of the steps of one evaluation if no list has more than `widest` entries.
pub(crate) fn cost(expression: &IdedExpr, widest: u64) -> u64 {
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
pub(crate) fn widest(value: &Value) -> u64 {
    let (size, inner) = match value {
        Value::Array(items) => (items.len(), items.iter().map(widest).max()),
        Value::Object(map) => (map.len(), map.values().map(widest).max()),
        _ => (0, None),
    };
    (size as u64).max(inner.unwrap_or(0))
}
