use std::collections::BTreeMap;

use placet_model::{
    Architecture, Because, ChangeSet, NodeFacts, ProcessAction, ProcessChange, ProcessKind,
    VetoRule,
};

use super::{ChangeView, NodeView, Rules};

fn objections(rule: &str) -> Vec<String> {
    let facts = NodeFacts {
        kind: Some("core".to_owned()),
        architecture: Some(Architecture("x86_64".to_owned())),
        ..NodeFacts::default()
    };
    let labels = BTreeMap::from([("site".to_owned(), "north".to_owned())]);
    let node = NodeView::new(&"core-1".parse().unwrap(), "cores", &facts, &labels);
    let change = ChangeSet {
        modules: Vec::new(),
        processes: vec![ProcessChange {
            name: "chatd".parse().unwrap(),
            path: "bin/chatd".parse().unwrap(),
            kind: ProcessKind::Simple,
            action: ProcessAction::Restart,
            because: vec![Because::OwnModule],
            handover: None,
            rules: Vec::new(),
        }],
        ..ChangeSet::default()
    };
    let declared = VetoRule {
        name: "guard".parse().unwrap(),
        rule: rule.to_owned(),
        message: "not here".to_owned(),
    };
    let objections = Rules::new(&[declared]).objections(&node, &ChangeView::new(&change));
    objections.into_iter().map(|it| it.message).collect()
}

#[test]
fn a_rule_objects_where_it_is_true() {
    let restarts = "change.processes.exists(p, p.name == 'chatd' && p.action == 'restart')";
    assert_eq!(objections(restarts), ["not here"]);
    assert_eq!(
        objections(&format!("node.type == 'core' && {restarts}")),
        ["not here"]
    );
    assert!(objections(&format!("node.type == 'edge' && {restarts}")).is_empty());
    assert!(objections("node.labels.site == 'south'").is_empty());
}

#[test]
fn facts_that_nobody_told_are_empty() {
    assert!(objections("node.location == 'cellar' || 'bgp' in node.features").is_empty());
}

#[test]
fn a_rule_that_cannot_be_evaluated_objects() {
    for (rule, why) in [
        ("node.colour == 'red'", "could not be evaluated"),
        ("1 + 1", "gives no truth value"),
        ("node.", "not a CEL expression"),
        ("1 / 0 == 1", "could not be evaluated"),
    ] {
        let objections = objections(rule);
        assert!(objections[0].contains(why), "{rule}: {objections:?}");
    }
}
