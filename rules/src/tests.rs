use serde_json::json;

use super::{Rule, RuleError, Variable, limits, to_cel};

fn holds(source: &str, it: &serde_json::Value) -> Result<bool, RuleError> {
    Rule::new(source)?.holds(&[&Variable::of_json("self", it)])
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
    assert_eq!(square.holds(&[&Variable::of_json("self", &few)]), Ok(true));
    let many = json!((0..5_000).collect::<Vec<_>>());
    assert_eq!(
        square.holds(&[&Variable::of_json("self", &many)]),
        Err(RuleError::Cost)
    );
    assert!(limits::cost(&square.0, 2) < limits::cost(&square.0, 5_000));
}

#[test]
fn chains_that_would_exhaust_the_stack_are_refused() {
    for chain in ["1+", "self.", "self[0]==", "true?1:"] {
        let source = format!("{}self", chain.repeat(4_000 / chain.len()));
        assert!(Rule::new(&source).is_err(), "{chain}");
    }
    let selects = format!("self{}", ".a".repeat(2_000));
    assert!(Rule::new(&selects).is_err());
    let indexes = format!("self{}", "[0]".repeat(1_300));
    assert!(Rule::new(&indexes).is_err());
    let calls = format!("self{}", ".size()".repeat(500));
    assert!(Rule::new(&calls).is_err());
}

#[test]
fn rules_name_what_they_do_not_know() {
    let known = ["node", "change"];
    let bound = "change.modules.exists(m, m.path == node.name)";
    assert!(Rule::with_variables(bound, &known).is_ok());
    let error = Rule::with_variables("nodes.type == 'core'", &known).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the rule uses `nodes`, which is not known here; known are node and change"
    );
}

#[test]
fn numbers_compare_as_at_an_api_server() {
    assert_eq!(to_cel(&json!(1)), cel::Value::Int(1));
    let source = "self.a == 1 && self.b >= self.a";
    assert_eq!(holds(source, &json!({"a": 1, "b": 2})), Ok(true));
    assert!(matches!(
        holds(source, &json!({"a": 1})),
        Err(RuleError::Failed(_))
    ));
    assert_eq!(holds("1 + 1", &json!({})), Err(RuleError::NotBoolean));
}

#[test]
fn what_is_negated_twice_is_refused() {
    for rule in [
        "!!true",
        "! !true",
        "!(!(! !true))",
        "1 - -1 == 2",
        "--1 == 1",
    ] {
        assert!(
            matches!(Rule::new(rule), Err(RuleError::Doubled(_))),
            "{rule}"
        );
    }
    assert_eq!(
        holds("self != '!!' && !(self == '--')", &json!("a")),
        Ok(true)
    );
    assert_eq!(holds("!(!(self == 'a'))", &json!("a")), Ok(true));
}
